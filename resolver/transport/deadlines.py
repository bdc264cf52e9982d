"""The one clock of forwarding: time-outs of many queries behind one timer of the loop. A timer for each would cost a tenth
of what forwarding does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

_TICKS = 100.0
"""Ticks in a second."""

_STOOD_STILL = 10
"""Ticks between two runs after which the process stood still: stopped, or kept from a processor."""


class Waiting(Protocol):
    """What must be called at its deadline."""

    def on_deadline(self, now: float) -> None:
        """Do what is due."""


Bucket = dict[Waiting, None]
"""Those whose deadlines are in the same tick; whoever need not be called any more is taken out."""


class Deadlines:
    """Calls each `Waiting` once, at its deadline or a hundredth of a second later.

    When the process stood still, what came meanwhile is read first, so nobody is called for an answer that is there: uvloop
    looks at its timers before it looks at sockets.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        self._loop = loop
        self._clock = clock
        self._buckets: dict[int, Bucket] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._tick = self._newest = 0
        self._is_put_off = False

    def add(self, waiting: Waiting, deadline: float, now: float) -> Bucket:
        """Call *waiting* at *deadline*, unless it is taken out of the bucket returned."""
        tick = int(deadline * _TICKS) + 1
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._new_bucket(tick, now)
        bucket[waiting] = None
        return bucket

    def _new_bucket(self, tick: int, now: float) -> Bucket:
        if self._timer is None:
            self._tick = int(now * _TICKS)
            self._timer = self._loop.call_later(1 / _TICKS, self._run)
        # A deadline that has passed is due at the next tick.
        tick = max(tick, self._tick + 1)
        bucket = self._buckets.get(tick)
        if bucket is None:
            # Nearly always all in the last bucket have been answered: it serves again.
            bucket = self._buckets.pop(self._newest) if self._buckets.get(self._newest) == {} else {}
            self._buckets[tick] = bucket
            self._newest = tick
        return bucket

    def _run(self) -> None:
        now = int(self._clock() * _TICKS)
        self._is_put_off = not self._is_put_off and now - self._tick > _STOOD_STILL
        if self._is_put_off:
            self._timer = self._loop.call_later(1 / _TICKS, self._run)
            return
        before, self._tick = self._tick, now
        for tick in range(before + 1, self._tick + 1):
            bucket = self._buckets.pop(tick, None)
            for waiting in list(bucket or ()):
                # One may have taken another out.
                if bucket is not None and waiting in bucket:
                    del bucket[waiting]
                    waiting.on_deadline(self._clock())
        self._timer = self._loop.call_later(1 / _TICKS, self._run) if self._buckets else None

    def close(self) -> None:
        """Call nobody any more."""
        self._buckets.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
