"""The state of one host in one file, made while the daemon runs, and put back while none does. Blocking.

A backup is a database like the store's own, with this host's id in a cluster (`node` in `meta`) beside the schema version.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from pathlib import Path

from netcore.errors import InvalidRequest, KernelError, NotFound, Unavailable
from netcore.store import database as databases
from netcore.store import last_copy
from netcore.store.upgrade import why_unreadable

NODE = "node"
"""The file with this host's id, and its row in a backup."""


def back_up(directory: str, target: str) -> None:
    """Write the state in *directory* to the file *target*, which is replaced as a whole; it is readable by its owner only.

    NotFound if there is no state; InvalidRequest if *target* must not be replaced or has no directory; Unavailable if the state can't
    be read or written.
    """
    database = Path(directory, last_copy.DATABASE)
    if not database.is_file():
        raise NotFound("state", str(database))
    _check_target(Path(target), Path(directory))
    fresh = Path(f"{target}.new")
    parent = Path(target).absolute().parent
    if not parent.is_dir():
        raise InvalidRequest("backup", f"{target}: there is no directory {parent}")
    try:
        last_copy.remove(fresh)
        with contextlib.closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("VACUUM INTO ?", (str(fresh),))
        fresh.chmod(0o600)
        _note_node(fresh, Path(directory, NODE))
        reason = last_copy.why_damaged(fresh)
        if reason is not None:
            raise sqlite3.DatabaseError(reason)
        last_copy.sync(fresh)
        fresh.replace(target)
        last_copy.sync(Path(target).absolute().parent)
    except sqlite3.Error as error:
        raise Unavailable(f"a backup of {database}", str(error)) from error
    except OSError as error:
        raise KernelError("write", target, error.errno or 0) from error
    finally:
        with contextlib.suppress(OSError):
            last_copy.remove(fresh)


def _check_target(target: Path, state: Path) -> None:
    """Raise InvalidRequest if something at *target* would be lost: a device, or what the daemon has in its state directory."""
    if target.absolute().parent.resolve() == state.resolve() and (
        target.name == NODE or target.name.startswith(("lock", last_copy.DATABASE))
    ):
        raise InvalidRequest("file", f"{target} is where the state itself is; choose another path for the backup")
    try:
        mode = target.stat().st_mode
    except OSError:
        # There is none, or writing it says why not.
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InvalidRequest("file", f"{target} is not a regular file; give the path of a file for the backup")


def _note_node(backup: Path, node: Path) -> None:
    with contextlib.closing(sqlite3.connect(backup, isolation_level=None)) as connection, contextlib.suppress(FileNotFoundError):
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (NODE, node.read_text().strip()))


def restore(directory: str, source: str) -> str | None:
    """Put the backup *source* in the place of the state in *directory*; return where that is kept, None if there was none.

    Conflict while a daemon uses the directory; InvalidRequest if *source* is no backup that this berth reads.
    """
    node = _check(source)
    lock = databases.take_lock(directory)
    try:
        kept = last_copy.take_the_place(directory, Path(source), "before-restore")
        if node is not None:
            Path(directory, NODE).write_text(f"{node}\n")
    except OSError as error:
        raise KernelError("restore", directory, error.errno or 0) from error
    finally:
        os.close(lock)
    return kept


def _check(source: str) -> str | None:
    """Return the host's id in a backup; InvalidRequest says why *source* is none."""
    reason = last_copy.why_damaged(Path(source))
    if reason is not None:
        raise InvalidRequest("backup", f"{source}: {reason}")
    try:
        with contextlib.closing(sqlite3.connect(f"{Path(source).absolute().as_uri()}?mode=ro", uri=True)) as connection:
            meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
            connection.execute("SELECT key, value, revision, session FROM item LIMIT 1").fetchall()
    except sqlite3.Error as error:
        raise InvalidRequest("backup", f"{source} is no backup of berth: {error}") from error
    schema = str(meta.get("schema", ""))
    unreadable = why_unreadable(int(schema)) if schema else "it names no schema version"
    if unreadable is not None:
        raise InvalidRequest("backup", f"{source}: {unreadable}")
    return meta.get(NODE)
