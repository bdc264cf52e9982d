"""The store of one host: SQLite in WAL mode, one writer thread. `database` opens it.

What is to be written while something is being written goes together: for the file it is one transaction.

Layout: `item` has one row for each key, with the revision of its last change. A deleted key stays as a row without a
value for a while, so that a watch can catch up. `meta` has the schema version.

The files stay small whatever comes and goes: old rows without a value are deleted, pages that are free go back to the file system,
and the log is bounded. A copy is made after changes; `last_copy` has what becomes of it.

While nothing can be written (a full or read-only file system), what is stored can be read and every change is refused. At a start
it is read into memory then. It is tried again on a period, so that the store knows by itself when it can go on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

from netcore import limits
from netcore.errors import NetcoreError, Unavailable
from netcore.store import database, last_copy
from netcore.store.database import Opened
from netcore.store.protocol import Change, Compacted, CompareFailed, Item, Snapshot, Transaction
from netcore.threads import Threads

log = logging.getLogger(__name__)

_T = TypeVar("_T")


class SqliteStore:
    """See `protocol.Store`. Made by `open_store`. A disk that is full or fails makes an operation raise Unavailable.

    *recovered*: what was done about a database that could not be used, None if it could. *on_writable*: is told on the loop why
    nothing can be written, and None when it can again.
    """

    def __init__(self, directory: str, opened: Opened, thread: Threads, second_directory: str | None, owner: str) -> None:
        self.recovered = opened.recovered
        self.on_writable: Callable[[str | None], None] = lambda _: None
        self._second_directory = second_directory
        self._directory = directory
        self._owner = owner
        self._connection = opened.connection
        self._thread = thread
        self._lock = opened.lock
        self._changed = asyncio.Event()
        self._forgotten = 0
        self._commits = 0
        self._queued: list[tuple[Transaction, asyncio.Future[int]]] = []
        self._is_writing = False
        self._copying: asyncio.TimerHandle | None = None
        self._is_copy_old = False
        self._unwritable: str | None = None
        self._trying: asyncio.TimerHandle | None = None
        self._is_closed = False
        # What the database said that is in memory, and so must still be in the directory when that can be written: key → value.
        self._read: dict[str, bytes] | None = None
        if opened.unwritable is not None:
            self._read = _items(self._connection)
            self._note(opened.unwritable)

    async def _run(self, body: Callable[[], _T]) -> _T:
        try:
            return await self._thread.hand_over(body)
        except sqlite3.Error as error:
            raise _unavailable(self._directory, str(error)) from error

    # --- whether it can be written ------------------------------------------------------------------------------

    @property
    def unwritable(self) -> str | None:
        """Why nothing can be written now, None if it can."""
        return self._unwritable

    def _note(self, unwritable: str | None) -> None:
        """Note why nothing can be written, or that it can; try again later as long as it can't."""
        before, self._unwritable = self._unwritable, unwritable
        if unwritable is not None and self._trying is None and not self._is_closed:
            self._trying = asyncio.get_running_loop().call_later(limits.STATE_RETRY, self._try_later)
        if unwritable is not None and before is None:
            log.error("the state can't be written, changes are refused directory=%s reason=%s", self._directory, unwritable)
        elif unwritable is None and before is not None:
            log.warning("the state can be written again directory=%s", self._directory)
        if (unwritable is None) is not (before is None):
            self.on_writable(unwritable)

    def _try_later(self) -> None:
        self._trying = None
        asyncio.get_running_loop().create_task(self._try_again())

    async def _try_again(self) -> None:
        reason: str | None = None
        try:
            await self._thread.hand_over(self._write_again)
        except database.NOT_WRITABLE as error:
            reason = database.describe(error)
        except (NetcoreError, sqlite3.Error) as error:
            reason = str(error)
        except RuntimeError:
            # The store is being closed.
            return
        self._note(reason)
        if reason is None:
            self.copy_later()

    def _write_again(self) -> None:
        """Write to the directory; if the database is in memory, go on with the one in the directory. Raises what keeps it from that."""
        if self._read is None:
            database.write_nothing_new(self._connection)
            return
        lock = database.take_lock_too(self._directory, self._lock, self._owner)
        if self._lock is not None and self._lock != lock:
            os.close(self._lock)
        self._lock = lock
        connection, _ = database.open_to_write(self._directory, self._second_directory)
        try:
            if _items(connection) != self._read:
                raise Unavailable(f"the state in {self._directory}", "it is another one than was read at the start; restart the daemon")
            _bring_over(self._connection, connection)
        except BaseException:
            connection.close()
            raise
        self._connection.close()
        self._connection, self._read = connection, None

    # --- what it is for -----------------------------------------------------------------------------------------

    async def load(self) -> Snapshot:
        def read() -> Snapshot:
            rows = self._connection.execute("SELECT key, value, revision, session FROM item").fetchall()
            revision = max((row[2] for row in rows), default=0)
            return Snapshot(revision, {row[0]: Item(row[1], row[2], row[3] or None) for row in rows if row[1] is not None})

        return await self._run(read)

    async def commit(self, transaction: Transaction) -> int:
        if self._read is not None:
            reason = f"it can't be written ({self._unwritable}), and changes are refused until it can"
            raise Unavailable(f"the state in {self._directory}", reason)
        try:
            revision = await self._queue(transaction)
        except sqlite3.Error as error:
            self._note(str(error))
            raise _unavailable(self._directory, str(error)) from error
        if self._unwritable is not None:
            self._note(None)
        self._wake()
        self.copy_later()
        return revision

    def _queue(self, transaction: Transaction) -> asyncio.Future[int]:
        """Have *transaction* written as soon as the one before is, in one go with whatever else comes until then."""
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queued.append((transaction, answer))
        if not self._is_writing:
            self._write_queued()
        return answer

    def _write_queued(self) -> None:
        queued, self._queued, self._is_writing = self._queued, [], True
        written = self._thread.hand_over(lambda: self._commit([transaction for transaction, _ in queued]))
        written.add_done_callback(lambda written: self._written([answer for _, answer in queued], written.result()))

    def _written(self, answers: Sequence[asyncio.Future[int]], results: Sequence[int | Exception]) -> None:
        self._is_writing = False
        if self._queued:
            self._write_queued()
        for answer, result in zip(answers, results, strict=True):
            if answer.done():
                # Who waited has been cancelled.
                continue
            if isinstance(result, Exception):
                answer.set_exception(result)
            else:
                answer.set_result(result)

    def copy_later(self) -> None:
        """Have a copy made in a while, so that many changes in a row mean one. Of what can't be written there is one already."""
        if self._read is not None or self._is_closed:
            return
        self._is_copy_old = True
        if self._copying is None:
            loop = asyncio.get_running_loop()
            self._copying = loop.call_later(limits.STATE_COPY_AFTER, self._thread.hand_over, self._copy)

    def _copy(self) -> None:
        self._copying, self._is_copy_old = None, False
        try:
            last_copy.make(self._connection, self._directory)
            if self._second_directory is not None:
                last_copy.make(self._connection, self._second_directory)
        except (sqlite3.Error, OSError) as error:
            self._is_copy_old = True
            log.warning("no copy of the state could be made reason=%s", error)

    def _commit(self, transactions: Sequence[Transaction]) -> list[int | Exception]:
        """Return the revision of each of *transactions*, or why it could not be written."""
        results = self._attempt(transactions)
        if len(transactions) > 1 and isinstance(results[0], Exception):
            # None is written; alone each says for itself whether it can be.
            results = [result for transaction in transactions for result in self._attempt([transaction])]
        revisions = [result for result in results if isinstance(result, int)]
        before, self._commits = self._commits, self._commits + len(revisions)
        if revisions and self._commits // limits.STATE_TIDY_EVERY != before // limits.STATE_TIDY_EVERY:
            self._tidy(revisions[-1])
        return results

    def _attempt(self, transactions: Sequence[Transaction]) -> list[int | Exception]:
        """Write all *transactions* or none, each with a revision of its own."""
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                return [self._write(transaction) for transaction in transactions]
        except Exception as error:  # for who waits
            return [error] * len(transactions)

    def _write(self, transaction: Transaction) -> int:
        for key, expected in transaction.compares.items():
            row = self._connection.execute("SELECT revision FROM item WHERE key = ? AND value IS NOT NULL", (key,)).fetchone()
            if (row[0] if row else 0) != expected:
                raise CompareFailed(key)
        revision = self._next_revision()
        self._connection.executemany(
            "INSERT INTO item (key, value, revision, session) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE"
            " SET value = excluded.value, revision = excluded.revision, session = excluded.session",
            [
                (key, value, revision, "" if key in transaction.lasting else transaction.session or "")
                for key, value in transaction.writes.items()
            ],
        )
        return revision

    def _next_revision(self) -> int:
        revision: int = self._connection.execute("SELECT COALESCE(MAX(revision), 0) + 1 FROM item").fetchone()[0]
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
                self._connection.execute(
                    "UPDATE item SET value = NULL, revision = ? WHERE session = ? AND value IS NOT NULL",
                    (self._next_revision(), session),
                )

        # In memory too: so nothing of an earlier boot is restored.
        await self._run(end)
        self._wake()

    async def close(self) -> None:
        self._is_closed = True
        if self._trying is not None:
            self._trying.cancel()
        if self._copying is not None:
            self._copying.cancel()
        if self._queued:
            self._write_queued()
        if self._is_copy_old:
            await self._run(self._copy)
        await self._run(self._connection.close)
        await self._thread.close()
        if self._lock is not None:
            os.close(self._lock)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


async def open_store(directory: str, second_directory: str | None = None, owner: str = "") -> SqliteStore:
    """Open or make the store in *directory*; Conflict if another daemon has it, Unavailable if a newer berth wrote it.

    *second_directory*: where a second copy goes. *owner*: what another daemon is told of who has the directory.
    """
    thread = Threads(1, "store")
    try:
        opened = await thread.hand_over(lambda: database.open_database(directory, second_directory, owner))
    except sqlite3.Error as error:
        await thread.close()
        raise _unavailable(directory, str(error)) from error
    store = SqliteStore(directory, opened, thread, second_directory, owner)
    # There may be none yet, and the start itself has changed something.
    store.copy_later()
    return store


def _unavailable(directory: str, reason: str) -> Unavailable:
    return Unavailable(f"the state in {directory}", f"{reason}; is the file system of {directory} full, read-only or damaged?")


def _items(connection: sqlite3.Connection) -> dict[str, bytes]:
    return dict(connection.execute("SELECT key, value FROM item WHERE value IS NOT NULL").fetchall())


def _bring_over(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Have in *target* what was changed in *source*, which was read from it: what of an earlier boot has ended."""
    kept = _items(source)
    with target:
        target.execute("BEGIN IMMEDIATE")
        newest = "SELECT COALESCE(MAX(revision), 0) + 1 FROM item"
        revision = max(connection.execute(newest).fetchone()[0] for connection in (source, target))
        gone = [(revision, key) for key in _items(target) if key not in kept]
        target.executemany("UPDATE item SET value = NULL, revision = ? WHERE key = ?", gone)
