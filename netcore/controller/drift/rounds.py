"""When each network and sandbox has its turn to be compared though nobody told of a change: a few at a time, all in one round.

A thousand at once would keep names and operations waiting. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from netcore import limits
from netcore.plan.drift import Concern


class Rounds:
    """See the module. *everything*: what there is, in the order of the turns. Times are seconds of one clock."""

    def __init__(self, everything: Callable[[], Sequence[Concern]], now: float) -> None:
        self._everything = everything
        self._waiting: deque[Concern] = deque()
        self._total = 0
        self._is_short = False
        self._begun, self._length = now, limits.DRIFT_INTERVAL
        self._next = now + limits.DRIFT_INTERVAL

    def next_turn(self) -> float:
        """Return when `take` has something to return, at the earliest."""
        return self._next

    def take(self, now: float) -> list[Concern]:
        """Return those whose turn it is, or has been since the last call; most often none."""
        if now < self._next:
            return []
        if not self._waiting:
            self._begin(now, limits.DRIFT_INTERVAL, is_short=False)
        step = max(limits.DRIFT_PAUSE, self._length / self._total)
        left = round(self._total * max(0.0, 1 - (now + step - self._begun) / self._length))
        turns = [self._waiting.popleft() for _ in range(max(1, len(self._waiting) - left))]
        self._next = now + step if self._waiting else max(now + step, self._begun + self._length)
        return turns

    def begin_anew(self, now: float) -> None:
        """Have all compared soon, because notifications were lost; while a round is as short as that, it goes on."""
        if not (self._is_short and now < self._begun + self._length):
            self._begin(now, limits.DRIFT_FULL_PAUSE, is_short=True)

    def _begin(self, now: float, length: float, *, is_short: bool) -> None:
        self._waiting = deque(self._everything())
        self._total = len(self._waiting)
        self._begun, self._length, self._is_short = now, max(length, self._total / limits.DRIFT_RATE), is_short
        self._next = now
