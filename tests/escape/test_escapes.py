"""A tenth of the attempts to escape from egress rules, by chance, in each runtime: nothing arrives that must not.

The whole is `tests/campaign/test_escapes.py`; `python -m tests.escape.attempts` lists it.
"""

import os
from dataclasses import dataclass

import pytest

from tests.escape import findings, report
from tests.escape.attempts import RUNTIMES, Attempt, all_attempts, kinds, part_of
from tests.escape.findings import Outcome
from tests.escape.moments import Moments, chosen
from tests.escape.world import World, missing
from tests.support.lab import Lab

SEED = os.environ.get("SEED", "a tenth")
SHARE = 10

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Run:
    """What was made, and what came of it. *runtimes*: those that are here."""

    attempts: list[Attempt]
    moments: Moments
    found: dict[int, Outcome]
    packets: dict[str, int]
    working: dict[str, bool]

    @property
    def runtimes(self) -> list[str]:
        return list(self.working)

    def check(self, runtime: str) -> None:
        """Nothing that this runtime has sent has arrived, and it still reaches what it may."""
        escaped = report.escapes(self.attempts, self.found, runtime) + report.escapes(self.moments.attempts.values(), self.found, runtime)
        assert not escaped, f"{len(escaped)} attempts got through:\n" + "\n".join(escaped)
        assert self.packets[runtime] == 0
        assert self.working[runtime]

    def check_control(self) -> None:
        """Of each kind something gets through where there are no rules, so that its failure says something."""
        silent = {one.kind for one in self.attempts} - {one.kind for one in self.attempts if findings.is_shown(self.found, one.number)}
        made = [
            f"{one.line}: {[self.found[who].made.get(one.number) for who in findings.CONTROLS]}"
            for one in self.attempts
            if one.kind in silent
        ]
        assert not silent, f"nothing of these kinds arrives without rules: {silent}\n" + "\n".join(made)
        shown: dict[str, list[bool]] = {}
        for one in self.moments.attempts.values():
            moment, _, name = str(one.arguments["moment"]).rpartition(", ")
            if name == "free":
                shown.setdefault(moment, []).append(findings.is_shown(self.found, one.number))
        assert all(sum(some) > len(some) / 2 for some in shown.values()), shown
        assert self.packets["free"] > 0
        assert self.packets["bare"] > 0


def run(attempts: list[Attempt], at_moments: list[Attempt], times: int, runtimes: list[str]) -> Run:
    """Make *attempts*, and *at_moments* at each moment, *times* each, against root's berth; print the figures."""
    with Lab() as lab:
        return run_in(World(lab, runtimes), attempts, at_moments, times, runtimes)


def run_in(world: World, attempts: list[Attempt], at_moments: list[Attempt], times: int, runtimes: list[str]) -> Run:
    """Do what `run` does, in a world."""
    try:
        world.make(attempts, patience=3600)
        moments = Moments(world, at_moments)
        working = {name: world.still_works(name) for name in runtimes}
        moments.all(runtimes, times)
        world.fence()
        found = world.outcomes()
        working = {name: working[name] and world.still_works(name) for name in runtimes}
        made = Run(attempts, moments, found, world.packets_to_fresh(), working)
    finally:
        world.close()
    failed = [said["error"] for outcome in found.values() for said in outcome.made.values() if "error" in said]
    assert not failed, failed[0]
    print(report.table(attempts, found, runtimes))
    print(report.moments(moments, found, runtimes))
    print(f"packets to addresses that nobody may reach: {made.packets}")
    return made


@pytest.fixture(scope="module")
def tenth() -> Run:
    return run(part_of(all_attempts(), SEED, SHARE), chosen(SEED, 4), 1, [name for name in RUNTIMES if not missing(name)])


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_nothing_gets_through(tenth, runtime):
    if why := missing(runtime):
        pytest.skip(why)
    tenth.check(runtime)


def test_without_rules_something_of_each_kind_does(tenth):
    tenth.check_control()


def test_there_are_enough_and_each_is_another_one():
    attempts = all_attempts()
    assert len(attempts) > 4000
    assert len({attempt.line for attempt in attempts}) == len(attempts)
    assert len({(attempt.kind, tuple(attempt.arguments.items())) for attempt in attempts}) == len(attempts)
    assert {attempt.kind for attempt in part_of(attempts, SEED, SHARE)} == set(kinds())
