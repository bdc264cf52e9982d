"""Drift: what others have changed of what must exist, and how often it is put right. Pure.

Nobody gains from a fight: each object of the host is repaired a bounded number of times in an hour and then left, with a
warning, until it is as it should be again, or an hour has passed. What is inside a sandbox's namespace its own root may have
broken: that is repaired once and then left, also when it was right meanwhile, until somebody asks (`berth doctor --fix`) or
the sandbox is gone. Otherwise that root could have it repaired without end.
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
    UPLINKS = "uplinks"
    ENCRYPTION = "encryption"
    PORTS = "ports"


@dataclass(frozen=True, slots=True)
class Concern:
    """One network or sandbox (*identity*: its id), or something of the host that all share: the firewall tables, what networks
    need of the links that traffic leaves by, encryption between hosts, published ports.
    """

    part: Part
    identity: str = ""


TABLES = Concern(Part.TABLES)
UPLINKS = Concern(Part.UPLINKS)
ENCRYPTION = Concern(Part.ENCRYPTION)
PORTS = Concern(Part.PORTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One object that is not as it should be.

    *key*: what tells it from others. *kind*: for metrics. *description*: the object, as `--dry-run` prints it. *owner*: name of
    the network or sandbox that it belongs to. *inside*: it is in a sandbox, where the sandbox's own root may have broken it.
    *needs*: keys of other damage without whose repair this one can't be repaired. *consequence*: what it means if it is left.
    """

    key: Key
    kind: str
    description: str
    concern: Concern
    owner: str
    inside: bool = False
    needs: frozenset[Key] = frozenset()
    consequence: str = ""

    def describe(self) -> str:
        """Return the object and whose it is."""
        return f"{self.description} ({self.concern.part.value} {self.owner})" if self.owner else self.description


@dataclass(slots=True)
class _Attempts:
    """*is_present*: the damage was there when it was last looked for. *is_waiting*: it needs something that is left alone."""

    damage: Damage
    times: list[float] = field(default_factory=list)
    is_left: bool = False
    is_present: bool = True
    is_waiting: bool = False
    problem: str | None = None


class Repairs:
    """How often each object was put right, and which are left alone: rules DR-5 to DR-7.

    *counts*: repairs by kind of object, since the start.
    """

    def __init__(self) -> None:
        self._attempts: dict[Key, _Attempts] = {}
        self.counts: Counter[str] = Counter()

    def choose(self, damages: Iterable[Damage], now: float) -> tuple[list[Damage], list[Damage]]:
        """Return (those to put right now, those that are left alone from now on)."""
        chosen: list[Damage] = []
        given_up: list[Damage] = []
        # What others need comes before them.
        for damage in sorted(damages, key=lambda damage: len(damage.needs)):
            attempts = self._attempts.setdefault(damage.key, _Attempts(damage))
            attempts.damage, attempts.is_present = damage, True
            if not damage.inside:
                attempts.times = [time for time in attempts.times if time > now - limits.DRIFT_PERIOD]
                attempts.is_left &= bool(attempts.times)
            attempts.is_waiting = any(needed in self._attempts and self._attempts[needed].is_left for needed in damage.needs)
            if attempts.is_left or attempts.is_waiting:
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
        """Take note of what is as it should be again, and forget what was long ago. *damages*: all that *concern* has now."""
        present = {damage.key for damage in damages}
        for key, attempts in [*self._attempts.items()]:
            if attempts.damage.concern != concern or key in present:
                continue
            attempts.is_present, attempts.is_waiting, attempts.problem = False, False, None
            is_used_up = attempts.damage.inside and attempts.times
            is_over = attempts.is_left or not attempts.times or attempts.times[-1] <= now - limits.DRIFT_PERIOD
            if is_over and not is_used_up:
                del self._attempts[key]

    def forget(self, concern: Concern) -> None:
        """Forget all about a network or sandbox that is gone."""
        for key in [key for key, attempts in self._attempts.items() if attempts.damage.concern == concern]:
            del self._attempts[key]

    def left(self) -> list[Damage]:
        """Return what is left alone."""
        return [attempts.damage for attempts in self._attempts.values() if attempts.is_left and attempts.is_present]

    def warnings(self, now: float) -> tuple[str, ...]:
        """Return what others change, for the status; what is left alone comes first."""
        lines: dict[bool, list[str]] = {True: [], False: []}
        for attempts in self._attempts.values():
            line = _warning(attempts, now)
            if line is not None:
                lines[attempts.is_left and attempts.is_present].append(line)
        return bounded([*lines[True], *lines[False]])


def _warning(attempts: _Attempts, now: float) -> str | None:
    damage, times = attempts.damage, len(attempts.times)
    described, again = damage.describe(), "once" if times == 1 else f"{times} times"
    if attempts.is_waiting:
        # What it needs is said already.
        return None
    if attempts.is_left and attempts.is_present:
        consequence = f"; {damage.consequence}" if damage.consequence else ""
        return f"{described} was changed again after berth had repaired it {again}; it is left alone now{consequence}"
    if attempts.problem is not None:
        return f"{described} is not as it should be and could not be repaired: {attempts.problem}"
    if attempts.times and attempts.times[-1] > now - limits.DRIFT_PERIOD:
        return f"{described} was changed by another program; berth has repaired it {again} in the last hour"
    return None


def bounded(lines: Sequence[str]) -> tuple[str, ...]:
    """Return *lines*, or the first of them and how many more there are."""
    if len(lines) <= limits.DRIFT_WARNINGS:
        return tuple(lines)
    return (*lines[: limits.DRIFT_WARNINGS], f"{len(lines) - limits.DRIFT_WARNINGS} more objects were changed by other programs")
