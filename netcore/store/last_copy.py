"""The last good copy of the state of one host: made after changes, used when the database is damaged. Blocking.

The database is `berth.db`. Its copy is `berth.db.copy`, made by `VACUUM INTO` beside it, synced, checked, and renamed into place:
so there is always a whole one. A damaged database is renamed and stays for somebody to look into.

A second copy is in the run directory, for the case that the whole state directory is lost. It is never used by itself: somebody
may have emptied the state on purpose. It is put apart as `berth.db.before`, and `berth doctor --adopt` takes records from it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from netcore.store.protocol import Item

DATABASE, COPY, BEFORE = "berth.db", "berth.db.copy", "berth.db.before"
_BESIDE = ("", "-wal", "-shm")
"""What SQLite has beside a database: the log of the last commits, and its index."""

_OBJECTS = {
    ("table", "meta"): [("name", 1), ("value", 0)],
    ("table", "item"): [("key", 1), ("value", 0), ("revision", 0), ("session", 0)],
    ("index", "item_revision"): [],
}
"""What there is in a database; of a table its columns, each with its place in the primary key."""
_DIGITS = 10
"""No schema version is as long."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """A database that could not be used, and what was done: *damaged*, the path it has now. *copy*: whether the copy took its place.

    *reason*: what SQLite said of it. *since*: seconds since the epoch of the last change that the copy has, None without one.
    """

    reason: str
    damaged: str | None
    copied: bool
    since: float | None

    def describe(self) -> str:
        """Return one line for the status and the log."""
        kept = f"; it is kept as {self.damaged}" if self.damaged is not None else ""
        if self.copied and self.since is not None:
            when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.since))
            return f"the state was damaged ({self.reason}): the copy of {when} is used{kept}. See `berth doctor` for what it lacks"
        return f"the state was damaged ({self.reason}) and there is no copy: it begins empty{kept}. See `berth doctor` for what exists"


def make(connection: sqlite3.Connection, directory: str) -> None:
    """Copy the database of *connection* to *directory*; raises sqlite3.Error or OSError, and then the last copy is still there."""
    write(connection, Path(directory, COPY))


def write(connection: sqlite3.Connection, target: Path) -> None:
    """Copy the database of *connection* to the file *target*, as a whole or not at all; raises sqlite3.Error or OSError."""
    fresh = target.with_name(f"{target.name}.new")
    remove(fresh)
    try:
        connection.execute("VACUUM INTO ?", (str(fresh),))
        reason = why_damaged(fresh)
        if reason is not None:
            raise sqlite3.DatabaseError(reason)
        fresh.chmod(0o600)
        sync(fresh)
        fresh.replace(target)
        sync(target.parent)
    finally:
        with contextlib.suppress(OSError):
            remove(fresh)


def put_apart(directory: str) -> None:
    """Keep the copy in the run *directory* from being replaced by one of a state that begins empty; none there is done."""
    copy = Path(directory, COPY)
    if copy.is_file() and why_damaged(copy) is None and read(str(copy)):
        copy.replace(copy.with_name(BEFORE))


def read(path: str) -> dict[str, Item]:
    """Return the items of a copy; none if it is not there or damaged."""
    copy = Path(path)
    if not copy.is_file() or why_damaged(copy) is not None:
        return {}
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        rows = connection.execute("SELECT key, value, revision, session FROM item WHERE value IS NOT NULL").fetchall()
    return {row[0]: Item(row[1], row[2], row[3] or None) for row in rows}


def recover(directory: str) -> Recovered | None:
    """Put the copy in the place of a database that is damaged or lost; None if the database is whole, or there never was one."""
    database, copy = Path(directory, DATABASE), Path(directory, COPY)
    reason = why_damaged(database)
    has_copy = copy.is_file() and why_damaged(copy) is None
    if reason is None or (not database.exists() and not has_copy):
        return None
    damaged = take_the_place(directory, copy if has_copy else None, "damaged")
    return Recovered(reason, damaged, has_copy, copy.stat().st_mtime if has_copy else None)


def take_the_place(directory: str, source: Path | None, why: str) -> str | None:
    """Put a copy of *source* (None: nothing) in the place of the database; return the path that this is kept at, None if there was none.

    *why*: a word of that path.
    """
    database, fresh = Path(directory, DATABASE), Path(directory, f"{DATABASE}.new")
    if source is not None:
        remove(fresh)
        shutil.copyfile(source, fresh)
        fresh.chmod(0o600)
        sync(fresh)
    kept = _put_away(database, why)
    if source is not None:
        fresh.replace(database)
        sync(Path(directory))
    return kept


def why_damaged(path: Path) -> str | None:
    """Return why the database at *path* can't be used, None if it can. It is looked at without its lock, before it is opened."""
    if not path.exists():
        return "it is gone"
    if not path.is_file():
        return "it is not a file"
    log = path.with_name(f"{path.name}-wal")
    if path.stat().st_size == 0 and not (log.is_file() and log.stat().st_size):
        return "it is empty"
    try:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            return why_unusable(connection)
    except sqlite3.OperationalError as error:
        # Full, read-only, locked: that is no damage, and opening it will say so.
        return None if not is_damage(error) else str(error)
    except sqlite3.DatabaseError as error:
        return str(error)


def why_unusable(connection: sqlite3.Connection) -> str | None:
    """Return why the database of *connection* is damaged or none of ours, None if it can be used; sqlite3.DatabaseError says that too."""
    rows = connection.execute("PRAGMA quick_check(1)").fetchall()
    if rows == [("ok",)]:
        return _why_none_of_ours(connection)
    return str(rows[0][0]).splitlines()[0] if rows else "it can't be checked"


def _why_none_of_ours(connection: sqlite3.Connection) -> str | None:
    """Return why a whole database is none of ours. One without tables is new.

    What else is in it counts too: a view or a trigger can do anything at the next write.
    """
    found = connection.execute("SELECT type, name FROM sqlite_master WHERE substr(name, 1, 7) <> 'sqlite_'").fetchall()
    for kind, name in found:
        if (kind, name) not in _OBJECTS:
            return f"it has a {kind} {name}, which no state of berth has"
        columns = [(row[1], row[5]) for row in connection.execute(f"PRAGMA table_info({name})")]
        if kind == "table" and columns != _OBJECTS[kind, name]:
            return f"its table {name} is not one of berth"
    row = connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone() if ("table", "meta") in found else None
    schema = str(row[0]) if row is not None else "1"
    is_number = schema.isascii() and schema.isdigit() and len(schema) < _DIGITS and int(schema) > 0
    return None if is_number else f"its schema version is {schema!r:.80}"


def is_damage(error: sqlite3.OperationalError) -> bool:
    """Return whether *error* says that a database is damaged, and not that it can't be read or written now."""
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)


def _put_away(database: Path, why: str) -> str | None:
    """Rename the database with what is beside it; return its new path, None if there was nothing."""
    if not database.exists() or (database.is_file() and database.stat().st_size == 0):
        for suffix in _BESIDE:
            remove(database.with_name(f"{database.name}{suffix}"))
        return None
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    kept = database.with_name(f"{database.name}.{why}-{stamp}")
    number = 1
    while kept.exists():
        number += 1
        kept = database.with_name(f"{database.name}.{why}-{stamp}-{number}")
    for suffix in _BESIDE:
        with contextlib.suppress(FileNotFoundError):
            database.with_name(f"{database.name}{suffix}").rename(kept.with_name(f"{kept.name}{suffix}"))
    return str(kept)


def remove(path: Path) -> None:
    """Remove a file; one that is not there is done."""
    path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have what is in the file or directory at *path* on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
