"""Drift: what others have changed of what must exist, and how often it is put right. Pure.

Nobody gains from a fight: each object is repaired a bounded number of times in an hour and then left, with a warning, until
it is as it should be again, or an hour has passed. What a sandbox's own root breaks in its own namespace is repaired once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from netcore import limits

Key = tuple[str | None, ...]


class Part(Enum):
    """What a comparison is about; the value is how people call it."""

    NETWORK = "network"
    SANDBOX = "sandbox"
    TABLES = "firewall"


@dataclass(frozen=True, slots=True)
class Concern:
    """One network or sandbox (*identity*: its id), or the firewall tables."""

    part: Part
    identity: str = ""


TABLES = Concern(Part.TABLES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One object that is not as it should be.

    *key*: what tells it from others. *kind*: for metrics. *description*: the object, as `--dry-run` prints it. *owner*: name of
    the network or sandbox that it belongs to. *inside*: it is in a sandbox, where the sandbox's own root may have broken it.
    """

    key: Key
    kind: str
    description: str
    concern: Concern
    owner: str
    inside: bool = False

    def describe(self) -> str:
        """Return the object and whose it is."""
        return f"{self.description} ({self.concern.part.value} {self.owner})" if self.owner else self.description


@dataclass(slots=True)
class _Attempts:
    damage: Damage
    times: list[float] = field(default_factory=list)
    is_left: bool = False
    problem: str | None = None


class Repairs:
    """How often each object was put right, and which are left alone. *counts*: repairs by kind of object, since the start."""

    def __init__(self) -> None:
        self._attempts: dict[Key, _Attempts] = {}
        self.counts: Counter[str] = Counter()

    def choose(self, damages: Iterable[Damage], now: float) -> tuple[list[Damage], list[Damage]]:
        """Return (those to put right now, those that are left alone from now on)."""
        chosen: list[Damage] = []
        given_up: list[Damage] = []
        for damage in damages:
            attempts = self._attempts.setdefault(damage.key, _Attempts(damage))
            attempts.times = [time for time in attempts.times if time > now - limits.DRIFT_PERIOD]
            attempts.is_left &= bool(attempts.times)
            if attempts.is_left:
                continue
            if len(attempts.times) >= (limits.DRIFT_ATTEMPTS_INSIDE if damage.inside else limits.DRIFT_ATTEMPTS):
                attempts.is_left = True
                given_up.append(damage)
            else:
                chosen.append(damage)
        return chosen, given_up

    def done(self, damage: Damage, now: float, problem: str | None) -> None:
        """Note that *damage* was put right, or why it could not be."""
        attempts = self._attempts.setdefault(damage.key, _Attempts(damage))
        attempts.times.append(now)
        attempts.problem = problem
        if problem is None:
            self.counts[damage.kind] += 1

    def settle(self, concern: Concern, damages: Collection[Damage], now: float) -> None:
        """Forget what is as it should be again and was left alone, and what was long ago. *damages*: all that *concern* has now."""
        present = {damage.key for damage in damages}
        for key, attempts in [*self._attempts.items()]:
            if attempts.damage.concern != concern or key in present:
                continue
            is_over = attempts.is_left or not attempts.times or attempts.times[-1] <= now - limits.DRIFT_PERIOD
            if is_over:
                del self._attempts[key]
            else:
                attempts.problem = None

    def forget(self, concern: Concern) -> None:
        """Forget all about a network or sandbox that is gone."""
        for key in [key for key, attempts in self._attempts.items() if attempts.damage.concern == concern]:
            del self._attempts[key]

    def left(self) -> list[Damage]:
        """Return what is left alone."""
        return [attempts.damage for attempts in self._attempts.values() if attempts.is_left]

    def warnings(self, now: float) -> tuple[str, ...]:
        """Return what others change, for the status."""
        lines = []
        for attempts in self._attempts.values():
            described, times = attempts.damage.describe(), len(attempts.times)
            again = "once" if times == 1 else f"{times} times"
            if attempts.is_left:
                lines.append(f"{described} was changed again after berth had repaired it {again}; it is left alone now")
            elif attempts.problem is not None:
                lines.append(f"{described} is not as it should be and could not be repaired: {attempts.problem}")
            elif attempts.times and attempts.times[-1] > now - limits.DRIFT_PERIOD:
                lines.append(f"{described} was changed by another program; berth has repaired it {again} in the last hour")
        return bounded(lines)


def bounded(lines: Sequence[str]) -> tuple[str, ...]:
    """Return *lines*, or the first of them and how many more there are."""
    if len(lines) <= limits.DRIFT_WARNINGS:
        return tuple(lines)
    return (*lines[: limits.DRIFT_WARNINGS], f"{len(lines) - limits.DRIFT_WARNINGS} more objects were changed by other programs")
