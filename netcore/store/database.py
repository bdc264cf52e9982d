"""The database of one host's state, opened: the lock, the file, its tables and its schema. Blocking.

A state directory that can't be written is read into memory (`read_to_memory`), so that a start serves what it says.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path

from netcore import limits
from netcore.errors import Conflict, KernelError, Unavailable
from netcore.store import earlier_schema, last_copy
from netcore.store.last_copy import Recovered
from netcore.store.upgrade import SCHEMA_VERSION, upgraded, why_unreadable

log = logging.getLogger(__name__)

LOCK = "lock"
_LONGEST_OWNER = 1000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS item (
  key TEXT PRIMARY KEY, value BLOB, revision INTEGER NOT NULL, session TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS item_revision ON item (revision);
"""

_INCREMENTAL = 2
"""The value of `PRAGMA auto_vacuum` for a file that can give free pages back."""

NOT_WRITABLE = (OSError, sqlite3.OperationalError)
"""What opening or writing raises where the file system, its room or its rights are the reason. A damaged file raises others."""


@dataclass(frozen=True, slots=True)
class Opened:
    """*unwritable*: why the database is in memory and not in its directory; None: it is there. *recovered*: see `last_copy`.

    *lock*: a descriptor; None: the directory could not even be opened.
    """

    connection: sqlite3.Connection
    lock: int | None
    recovered: Recovered | None
    unwritable: str | None


def open_database(directory: str, second_directory: str | None, owner: str = "") -> Opened:
    """Open or make the database in *directory*, or read it into memory if it can't be written. *owner*: who has it then, for others.

    Conflict if another daemon has it; Unavailable if a newer berth wrote it, or if nothing of it can be read.
    """
    lock: int | None = None
    try:
        try:
            lock = _take_lock(directory, owner)
            connection, recovered = open_to_write(directory, second_directory)
        except NOT_WRITABLE as error:
            reason = describe(error)
            lock = lock if lock is not None else lock_to_read(directory)
            connection, recovered = read_to_memory(directory, second_directory)
            return Opened(connection, lock, recovered, reason)
    except BaseException:
        if lock is not None:
            os.close(lock)
        raise
    return Opened(connection, lock, recovered, None)


def describe(error: Exception) -> str:
    """Return what a person is told of one of `NOT_WRITABLE`."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror.lower()}: {error.filename}" if error.filename else error.strerror.lower()
    return str(error)


# --- the lock -------------------------------------------------------------------------------------------------------


def take_lock(directory: str) -> int:
    """Take the lock of *directory*, which is made if it is missing; Conflict if another daemon has it."""
    try:
        return _take_lock(directory, "")
    except OSError as error:
        raise KernelError("create", directory, error.errno or 0) from error


def _take_lock(directory: str, owner: str) -> int:
    Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = _locked(os.open(Path(directory, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), directory)
    with contextlib.suppress(OSError):
        os.ftruncate(lock, 0)
        os.pwrite(lock, owner.encode(), 0)
    return lock


def lock_to_read(directory: str) -> int | None:
    """Take the lock of a *directory* that can't be written: that of the directory itself if there is no file for it yet."""
    for path, flags in ((Path(directory, LOCK), os.O_RDONLY), (Path(directory), os.O_RDONLY | os.O_DIRECTORY)):
        try:
            lock = os.open(path, flags | os.O_CLOEXEC)
        except OSError:
            continue
        return _locked(lock, directory)
    return None


def take_lock_too(directory: str, held: int | None, owner: str) -> int:
    """Return the lock of *directory*, which can be written now: *held* if that is it; OSError, Conflict."""
    if held is not None:
        try:
            there = Path(directory, LOCK).stat()
        except FileNotFoundError:
            there = None
        if there is not None and os.path.samestat(there, os.fstat(held)):
            return held
    return _take_lock(directory, owner)


def _locked(lock: int, directory: str) -> int:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = _owner(lock)
        os.close(lock)
        because = f"another berth daemon is using it{owner and ': '}{owner}; stop that one, or give this one a directory of its own "
        raise Conflict("state directory", directory, because=f"{because}(--state-dir, BERTH_STATE_DIR)") from error
    return lock


def _owner(lock: int) -> str:
    """Return what the daemon that holds *lock* says of itself, "" if that is not known."""
    try:
        return os.pread(lock, _LONGEST_OWNER, 0).decode(errors="replace")
    except OSError:
        # The directory itself is locked, say.
        return ""


# --- a database that can be written ---------------------------------------------------------------------------------


def open_to_write(directory: str, second_directory: str | None) -> tuple[sqlite3.Connection, Recovered | None]:
    """Open the database in *directory*, whose lock is held, and write to it once. Raises one of `NOT_WRITABLE`, Unavailable."""
    recovered = last_copy.recover(directory)
    if recovered is not None:
        log.error("the state is damaged reason=%s", recovered.describe())
    path = Path(directory, last_copy.DATABASE)
    # Nobody else reads what is stored; SQLite gives its other files the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection, directory)
        write_nothing_new(connection)
        if second_directory is not None and _is_empty(connection):
            with contextlib.suppress(OSError):
                last_copy.put_apart(second_directory)
    except BaseException:
        connection.close()
        raise
    return connection, recovered


def write_nothing_new(connection: sqlite3.Connection) -> None:
    """Write what is there already, so that sqlite3.OperationalError says whether anything can be written."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE meta SET value = value")


def _is_empty(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM item WHERE value IS NOT NULL LIMIT 1").fetchone() is None


def _prepare(connection: sqlite3.Connection, directory: str) -> None:
    """Make the tables of a new database; bring those of an older one to this version."""
    if connection.execute("PRAGMA auto_vacuum").fetchone()[0] != _INCREMENTAL:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        if connection.execute("PRAGMA page_count").fetchone()[0]:
            # A database of an earlier version learns it by being written anew, once.
            connection.execute("VACUUM")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {limits.STATE_LOG_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {limits.STATE_LOG_BYTES}")
    # A power cut may lose the last commits, never the file; a killed daemon loses nothing.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.executescript(_SCHEMA)
    row = connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
    if row is None:
        connection.execute("INSERT INTO meta VALUES ('schema', ?)", (str(SCHEMA_VERSION),))
    else:
        reason = why_unreadable(int(row[0]))
        if reason is not None:
            raise Unavailable(f"the state in {directory}", reason)
        _upgrade(connection, int(row[0]))
    # The newest row stays, so that no revision is ever used twice.
    connection.execute("DELETE FROM item WHERE value IS NULL AND revision < (SELECT MAX(revision) FROM item)")


def _upgrade(connection: sqlite3.Connection, schema: int) -> None:
    """Bring all records of *schema* to SCHEMA_VERSION in one transaction."""
    if schema == SCHEMA_VERSION:
        return
    # An older berth can't read it afterwards.
    earlier_schema.keep_copy(connection, schema)
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for key, value in connection.execute("SELECT key, value FROM item WHERE value IS NOT NULL").fetchall():
            try:
                record = upgraded(schema, key, json.loads(value))
            except (ValueError, TypeError, LookupError, AttributeError) as error:
                # Whoever reads it sets it aside.
                log.error("a record could not be brought to this version key=%s reason=%s", key, error)
                continue
            connection.execute("UPDATE item SET value = ? WHERE key = ?", (json.dumps(record).encode(), key))
        connection.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (str(SCHEMA_VERSION),))


# --- one that can't be written --------------------------------------------------------------------------------------


def read_to_memory(directory: str, second_directory: str | None) -> tuple[sqlite3.Connection, Recovered | None]:
    """Return a database in memory with what the one in *directory* says, or its last copy if that is damaged; nothing is written.

    If the one that is there can't be read at all, the copy in *second_directory* is used. Without that it is Unavailable: to begin
    empty would take everything from the sandboxes that run.
    """
    database = Path(directory, last_copy.DATABASE)
    found, reason, is_damaged = _try_to_read(database, second_directory)
    if found is None and reason is not None:
        places = [directory] if is_damaged or second_directory is None else [directory, second_directory]
        for copy in (Path(place, last_copy.COPY) for place in places):
            found, _, _ = _try_to_read(copy, second_directory)
            if found is not None:
                return _prepared(found, directory), Recovered(reason, None, True, copy.stat().st_mtime)
        if not is_damaged:
            raise Unavailable(f"the state in {directory}", f"{reason}, and there is no copy of it")
    made = _prepared(found if found is not None else _in_memory(), directory)
    return made, None if reason is None or reason == _GONE else Recovered(reason, None, False, None)


_GONE = "it is gone"


def _try_to_read(path: Path, second_directory: str | None) -> tuple[sqlite3.Connection | None, str | None, bool]:
    """Return the database at *path* in memory, or why there is none, and whether it is damaged or gone rather than out of reach."""
    try:
        reason = last_copy.why_damaged(path)
        if reason is not None:
            return None, reason, True
        found = _copied_to_memory(path, second_directory)
        reason = last_copy.why_unusable(found)
    except sqlite3.OperationalError as error:
        return None, str(error), last_copy.is_damage(error)
    except sqlite3.DatabaseError as error:
        return None, str(error), True
    except OSError as error:
        return None, f"it can't be read ({describe(error)})", False
    return (found, None, False) if reason is None else (None, reason, True)


def _in_memory() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)


def _prepared(connection: sqlite3.Connection, directory: str) -> sqlite3.Connection:
    try:
        _prepare(connection, directory)
    except BaseException:
        connection.close()
        raise
    return connection


def _copied_to_memory(path: Path, second_directory: str | None) -> sqlite3.Connection:
    """Return a copy in memory of the database at *path*, with the last commits, which may still be in its log."""
    memory, address = _in_memory(), path.absolute().as_uri()
    log_beside = path.with_name(f"{path.name}-wal")
    try:
        try:
            _back_up(f"{address}?mode=ro", memory)
        except sqlite3.OperationalError as error:
            if last_copy.is_damage(error):
                raise
            # SQLite can't make the index of the log beside it.
            if log_beside.is_file() and log_beside.stat().st_size:
                _back_up_elsewhere((path, log_beside), second_directory, memory)
            else:
                _back_up(f"{address}?immutable=1", memory)
    except BaseException:
        memory.close()
        raise
    return memory


def _back_up(address: str, memory: sqlite3.Connection) -> None:
    with contextlib.closing(sqlite3.connect(address, uri=True)) as source:
        source.backup(memory)


def _back_up_elsewhere(paths: tuple[Path, Path], second_directory: str | None, memory: sqlite3.Connection) -> None:
    """Back up a database with its log from a place that can be written."""
    failure: OSError | None = None
    for place in (second_directory, None):
        try:
            with tempfile.TemporaryDirectory(dir=place) as directory:
                for path in paths:
                    shutil.copyfile(path, Path(directory, path.name))
                _back_up(Path(directory, paths[0].name).absolute().as_uri(), memory)
        except OSError as error:
            failure = error
        else:
            return
    assert failure is not None
    raise failure
