"""A store in memory: the whole `Store` protocol without a file or a server. It is empty at the start and gone at the end. No I/O.

Several users may share one object, as several hosts share etcd. Only the last changes are remembered: a watch from an
older revision raises Compacted, as etcd does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping

from netcore.store.protocol import (
    EVERYTHING,
    NO_CONDITIONS,
    Change,
    Compacted,
    CompareFailed,
    Conditions,
    Item,
    KeyRange,
    Snapshot,
    Transaction,
)

HISTORY = 10_000
"""Changes that a watch can catch up on."""


class MemoryStore:
    """See `protocol.SharedStore`. *history*: number of changes to remember."""

    def __init__(self, history: int = HISTORY) -> None:
        self._items: dict[str, Item] = {}
        self._revision = 0
        self._changes: deque[Change] = deque(maxlen=history)
        self._forgotten = 0
        self._changed = asyncio.Event()

    async def load(self, scope: KeyRange = EVERYTHING) -> Snapshot:
        return Snapshot(self._revision, {key: item for key, item in self._items.items() if key in scope})

    async def commit(self, transaction: Transaction, conditions: Conditions = NO_CONDITIONS) -> int:
        for key, expected in transaction.compares.items():
            item = self._items.get(key)
            if (item.revision if item is not None else 0) != expected:
                raise CompareFailed(key)
        for key, value in conditions.values.items():
            if key not in self._items or self._items[key].value != value:
                raise CompareFailed(key)
        for scope in conditions.empty:
            if any(key in scope for key in self._items):
                raise CompareFailed(scope.first)
        return self._write(transaction.writes, transaction.session, transaction.lasting)

    async def watch(self, revision: int, scope: KeyRange = EVERYTHING) -> AsyncIterator[Change]:
        reached = revision
        while True:
            changed = self._changed
            if reached < self._forgotten:
                raise Compacted(reached)
            missed = [change for change in self._changes if change.revision > reached]
            for change in missed:
                if change.key in scope:
                    yield change
                reached = change.revision
            if not missed:
                await changed.wait()

    async def keep_session(self, session: str) -> frozenset[str]:
        return frozenset(key for key, item in self._items.items() if item.session == session)

    async def end_session(self, session: str) -> None:
        self._write({key: None for key, item in self._items.items() if item.session == session}, None, frozenset())

    async def probe(self) -> None:
        """Return: memory is always there."""

    async def close(self) -> None:
        """Nothing is open."""

    def _write(self, writes: Mapping[str, bytes | None], session: str | None, lasting: frozenset[str]) -> int:
        self._revision += 1
        for key, value in writes.items():
            if value is None:
                if self._items.pop(key, None) is None:
                    continue
            else:
                self._items[key] = Item(value, self._revision, None if key in lasting else session)
            if len(self._changes) == self._changes.maxlen:
                self._forgotten = self._changes[0].revision
            self._changes.append(Change(key, value, self._revision))
        self._changed.set()
        self._changed = asyncio.Event()
        return self._revision
