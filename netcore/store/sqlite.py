"""The store of one host: SQLite in WAL mode, one writer thread, a lock against a second daemon.

Layout: `item` has one row for each key, with the revision of its last change. A deleted key stays as a row without a
value for a while, so that a watch can catch up. `meta` has the schema version.

The files stay small whatever comes and goes: old rows without a value are deleted, pages that are free go back to the file system,
and the log is bounded. A copy is made after changes; `last_copy` has what becomes of it.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from netcore import limits
from netcore.errors import Conflict, KernelError, Unavailable
from netcore.store import last_copy
from netcore.store.last_copy import Recovered
from netcore.store.protocol import Change, Compacted, CompareFailed, Item, Snapshot, Transaction
from netcore.store.upgrade import SCHEMA_VERSION, upgraded, why_unreadable

log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS item (
  key TEXT PRIMARY KEY, value BLOB, revision INTEGER NOT NULL, session TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS item_revision ON item (revision);
"""

_INCREMENTAL = 2
"""The value of `PRAGMA auto_vacuum` for a file that can give free pages back."""

_T = TypeVar("_T")


class SqliteStore:
    """See `protocol.Store`. Made by `open_store`. A disk that is full or fails makes an operation raise Unavailable.

    *recovered*: what was done about a database that could not be used, None if it could.
    """

    def __init__(
        self,
        directory: str,
        connection: sqlite3.Connection,
        thread: ThreadPoolExecutor,
        lock: int,
        recovered: Recovered | None,
        second_directory: str | None,
    ) -> None:
        self.recovered = recovered
        self._second_directory = second_directory
        self._directory = directory
        self._connection = connection
        self._thread = thread
        self._lock = lock
        self._changed = asyncio.Event()
        self._forgotten = 0
        self._commits = 0
        self._copying: asyncio.TimerHandle | None = None
        self._is_copy_old = False

    async def _run(self, body: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, body)
        except sqlite3.Error as error:
            raise _unavailable(self._directory, error) from error

    async def load(self) -> Snapshot:
        def read() -> Snapshot:
            rows = self._connection.execute("SELECT key, value, revision, session FROM item").fetchall()
            revision = max((row[2] for row in rows), default=0)
            return Snapshot(revision, {row[0]: Item(row[1], row[2], row[3] or None) for row in rows if row[1] is not None})

        return await self._run(read)

    async def commit(self, transaction: Transaction) -> int:
        revision = await self._run(lambda: self._commit(transaction))
        self._wake()
        self.copy_later()
        return revision

    def copy_later(self) -> None:
        """Have a copy made in a while, so that many changes in a row mean one."""
        self._is_copy_old = True
        if self._copying is None:
            loop = asyncio.get_running_loop()
            self._copying = loop.call_later(limits.STATE_COPY_AFTER, lambda: loop.run_in_executor(self._thread, self._copy))

    def _copy(self) -> None:
        self._copying, self._is_copy_old = None, False
        try:
            last_copy.make(self._connection, self._directory)
            if self._second_directory is not None:
                last_copy.make(self._connection, self._second_directory)
        except (sqlite3.Error, OSError) as error:
            self._is_copy_old = True
            log.warning("no copy of the state could be made reason=%s", error)

    def _commit(self, transaction: Transaction) -> int:
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            for key, expected in transaction.compares.items():
                row = self._connection.execute("SELECT revision FROM item WHERE key = ? AND value IS NOT NULL", (key,)).fetchone()
                if (row[0] if row else 0) != expected:
                    raise CompareFailed(key)
            revision: int = self._connection.execute("SELECT COALESCE(MAX(revision), 0) + 1 FROM item").fetchone()[0]
            self._connection.executemany(
                "INSERT INTO item (key, value, revision, session) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE"
                " SET value = excluded.value, revision = excluded.revision, session = excluded.session",
                [(key, value, revision, transaction.session or "") for key, value in transaction.writes.items()],
            )
        self._commits += 1
        if self._commits % limits.STATE_TIDY_EVERY == 0:
            self._tidy(revision)
        return revision

    def _tidy(self, revision: int) -> None:
        """Forget old deletions, and give pages that are free back. The commit before it holds, so a failure only delays this."""
        kept = revision - limits.STATE_TIDY_EVERY
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.execute("DELETE FROM item WHERE value IS NULL AND revision < ?", (kept,))
            self._forgotten = max(self._forgotten, kept)
            self._connection.execute("PRAGMA incremental_vacuum").fetchall()
        except sqlite3.Error as error:
            log.warning("the state could not be tidied up reason=%s", error)

    async def watch(self, revision: int) -> AsyncIterator[Change]:
        reached = revision
        while True:
            changed = self._changed
            if reached < self._forgotten:
                raise Compacted(reached)
            rows = await self._run(
                lambda reached=reached: self._connection.execute(  # type: ignore[misc]
                    "SELECT key, value, revision FROM item WHERE revision > ? ORDER BY revision", (reached,)
                ).fetchall()
            )
            for key, value, changed_in in rows:
                reached = changed_in
                yield Change(key, value, changed_in)
            if not rows:
                await changed.wait()

    async def end_session(self, session: str) -> None:
        def end() -> None:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                revision: int = self._connection.execute("SELECT COALESCE(MAX(revision), 0) + 1 FROM item").fetchone()[0]
                self._connection.execute(
                    "UPDATE item SET value = NULL, revision = ? WHERE session = ? AND value IS NOT NULL",
                    (revision, session),
                )

        await self._run(end)
        self._wake()

    async def close(self) -> None:
        if self._copying is not None:
            self._copying.cancel()
        if self._is_copy_old:
            await self._run(self._copy)
        await self._run(self._connection.close)
        self._thread.shutdown()
        os.close(self._lock)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


async def open_store(directory: str, second_directory: str | None = None) -> SqliteStore:
    """Open or make the store in *directory*; Conflict if another daemon has it, Unavailable if a newer berth wrote it.

    *second_directory*: where a second copy goes.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix="store")
    loop = asyncio.get_running_loop()
    try:
        connection, lock, recovered = await loop.run_in_executor(thread, _open, directory, second_directory)
    except sqlite3.Error as error:
        thread.shutdown()
        raise _unavailable(directory, error) from error
    store = SqliteStore(directory, connection, thread, lock, recovered, second_directory)
    # There may be none yet, and the start itself has changed something.
    store.copy_later()
    return store


def _unavailable(directory: str, error: sqlite3.Error) -> Unavailable:
    return Unavailable(f"the state in {directory}", f"{error}; is the file system of {directory} full, read-only or damaged?")


def _open(directory: str, second_directory: str | None) -> tuple[sqlite3.Connection, int, Recovered | None]:
    lock = take_lock(directory)
    try:
        try:
            recovered = last_copy.recover(directory)
        except OSError as error:
            raise KernelError("recover", directory, error.errno or 0) from error
        if recovered is not None:
            log.error("the state is damaged reason=%s", recovered.describe())
        connection = _connect(directory)
        if second_directory is not None and _is_empty(connection):
            last_copy.put_apart(second_directory)
    except BaseException:
        os.close(lock)
        raise
    return connection, lock, recovered


def _is_empty(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM item WHERE value IS NOT NULL LIMIT 1").fetchone() is None


def take_lock(directory: str) -> int:
    """Take the lock of *directory*, which is made if it is missing; Conflict if another daemon has it."""
    try:
        Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(Path(directory, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise KernelError("create", directory, error.errno or 0) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise Conflict("state directory", directory, because="another berth daemon is using it; stop it or give --state-dir") from error
    return lock


def _connect(directory: str) -> sqlite3.Connection:
    path = Path(directory, last_copy.DATABASE)
    # Nobody else reads what is stored; SQLite gives its other files the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection, directory)
    except BaseException:
        connection.close()
        raise
    return connection


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
