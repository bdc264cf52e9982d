"""Locks by key, taken in sorted order, so that two operations that need several never wait for each other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import TracebackType


class _Lock:
    """The lock of one key, and how many hold it or wait for it."""

    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


class Hold:
    """A block for whose length the locks of *keys* are held. Made by `KeyedLocks.hold`."""

    def __init__(self, locks: dict[str, _Lock], keys: Iterable[str]) -> None:
        self._locks = locks
        self._keys = sorted({*keys})
        self._held: list[str] = []

    async def __aenter__(self) -> None:
        for key in self._keys:
            entry = self._locks.setdefault(key, _Lock())
            entry.users += 1
            try:
                await entry.lock.acquire()
            except BaseException:
                self._leave(key)
                self._release()
                raise
            self._held.append(key)

    async def __aexit__(self, _: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._release()

    def _release(self) -> None:
        while self._held:
            key = self._held.pop()
            self._locks[key].lock.release()
            self._leave(key)

    def _leave(self, key: str) -> None:
        entry = self._locks[key]
        entry.users -= 1
        if not entry.users:
            del self._locks[key]


class KeyedLocks:
    """One `asyncio.Lock` for each key in use; a lock that nobody holds or waits for is forgotten."""

    def __init__(self) -> None:
        self._locks: dict[str, _Lock] = {}

    def hold(self, keys: Iterable[str]) -> Hold:
        """Hold the locks of all *keys*."""
        return Hold(self._locks, keys)
