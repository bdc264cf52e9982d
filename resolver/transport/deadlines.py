"""Time-outs of many questions behind one timer of the loop: a timer for each would cost a tenth of what forwarding does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

_TICKS = 100.0


class Waiting(Protocol):
    """What has a deadline, until it is done."""

    deadline: float
    done: bool

    def on_deadline(self, now: float) -> None:
        """Do what is due."""


class Deadlines:
    """Calls each item at its deadline, a hundredth of a second late at most. An item whose deadline moves is added again."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        self._loop = loop
        self._clock = clock
        self._buckets: dict[int, list[Waiting]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._looked = 0

    def add(self, item: Waiting, now: float) -> None:
        """Call *item* at its deadline, if it is not done by then and its deadline not moved."""
        tick = int(item.deadline * _TICKS) + 1
        bucket = self._buckets.get(tick)
        if bucket is None:
            self._buckets[tick] = [item]
            if self._timer is None:
                self._looked = int(now * _TICKS)
                self._timer = self._loop.call_later(1 / _TICKS, self._run)
        else:
            bucket.append(item)

    def _run(self) -> None:
        now = self._clock()
        current = int(now * _TICKS)
        for tick in range(self._looked, current + 1):
            for item in self._buckets.pop(tick, ()):
                if not item.done and item.deadline <= now:
                    item.on_deadline(now)
        self._looked = current
        self._timer = self._loop.call_later(1 / _TICKS, self._run) if self._buckets else None

    def close(self) -> None:
        """Call nobody any more."""
        self._buckets.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
