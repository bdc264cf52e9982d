"""The store of one host: SQLite in WAL mode, one writer thread, a lock against a second daemon.

Layout: `item` has one row for each key, with the revision of its last change. A deleted key stays as a row without a
value until the next start, so that a watch can catch up. `meta` has the schema version.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from netcore.errors import Conflict, KernelError, Unavailable
from netcore.store import earlier_schema
from netcore.store.protocol import Change, CompareFailed, Item, Snapshot, Transaction
from netcore.store.upgrade import SCHEMA_VERSION, upgraded, why_unreadable

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS item (
  key TEXT PRIMARY KEY, value BLOB, revision INTEGER NOT NULL, session TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS item_revision ON item (revision);
"""

_T = TypeVar("_T")


class SqliteStore:
    """See `protocol.Store`. Made by `open_store`. A disk that is full or fails makes an operation raise Unavailable."""

    def __init__(self, directory: str, connection: sqlite3.Connection, thread: ThreadPoolExecutor, lock: int) -> None:
        self._directory = directory
        self._connection = connection
        self._thread = thread
        self._lock = lock
        self._changed = asyncio.Event()

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
        return revision

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
        return revision

    async def watch(self, revision: int) -> AsyncIterator[Change]:
        reached = revision
        while True:
            changed = self._changed
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
        await self._run(self._connection.close)
        self._thread.shutdown()
        os.close(self._lock)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


async def open_store(directory: str) -> SqliteStore:
    """Open or make the store in *directory*; Conflict if another daemon has it, Unavailable if a newer berth wrote it."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="store")
    loop = asyncio.get_running_loop()
    try:
        connection, lock = await loop.run_in_executor(thread, _open, directory)
    except sqlite3.Error as error:
        raise _unavailable(directory, error) from error
    return SqliteStore(directory, connection, thread, lock)


def _unavailable(directory: str, error: sqlite3.Error) -> Unavailable:
    return Unavailable(f"the state in {directory}", f"{error}; is the file system of {directory} full, read-only or damaged?")


def _open(directory: str) -> tuple[sqlite3.Connection, int]:
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
    # Nobody else reads what is stored; SQLite gives its other files the same mode.
    os.close(os.open(Path(directory, "berth.db"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(Path(directory, "berth.db"), isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    # A power cut may lose the last commits, never the file; a killed daemon loses nothing.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.executescript(_SCHEMA)
    row = connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
    if row is None:
        connection.execute("INSERT INTO meta VALUES ('schema', ?)", (str(SCHEMA_VERSION),))
    else:
        reason = why_unreadable(int(row[0]))
        if reason is not None:
            connection.close()
            os.close(lock)
            raise Unavailable(f"the state in {directory}", reason)
        _upgrade(connection, int(row[0]))
    # The newest row stays, so that no revision is ever used twice.
    connection.execute("DELETE FROM item WHERE value IS NULL AND revision < (SELECT MAX(revision) FROM item)")
    return connection, lock


def _upgrade(connection: sqlite3.Connection, schema: int) -> None:
    """Bring all records of *schema* to SCHEMA_VERSION in one transaction."""
    if schema == SCHEMA_VERSION:
        return
    # An older berth can't read it afterwards.
    earlier_schema.keep_copy(connection, schema)
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for key, value in connection.execute("SELECT key, value FROM item WHERE value IS NOT NULL").fetchall():
            record = upgraded(schema, key, json.loads(value))
            connection.execute("UPDATE item SET value = ? WHERE key = ?", (json.dumps(record).encode(), key))
        connection.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (str(SCHEMA_VERSION),))
