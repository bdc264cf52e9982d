"""Attempts to escape from the egress rules of an ordinary user's berth, a part of them by chance: nothing arrives that must not.

With and without /dev/net/tun, and with subordinate ids and one id; each host has a part of its own. The runtimes are `berth run`, and
the user's own podman and bubblewrap. The whole, on all hosts, is `tests/campaign/test_user_escapes.py`.
"""

import os
import shutil
from dataclasses import dataclass

import pytest

from tests.escape import user_containers
from tests.escape.attempts import USERS_RUNTIMES, all_attempts, part_of
from tests.escape.moments import chosen
from tests.escape.owners import User
from tests.escape.test_escapes import Run, run_in
from tests.escape.world import World
from tests.support.user_lab import UserLab, why_no_user

WHY_NOT = why_no_user()
if WHY_NOT:
    pytest.skip(WHY_NOT, allow_module_level=True)

SEED = os.environ.get("SEED", "an ordinary user")
HOSTS = {
    "tun, sub-ids": UserLab, "no tun, sub-ids": lambda: UserLab(tun=False), "tun, one id": lambda: UserLab(sub_ids=False),
    "no tun, one id": lambda: UserLab(tun=False, sub_ids=False),
}  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class OnHost:
    """What came of it on one kind of host. *lacking*: why runtimes can't be tried there."""

    run: Run
    lacking: dict[str, str]


def lacking(lab: UserLab) -> dict[str, str]:
    """Return why each runtime that this user can't have is not there."""
    found = {}
    for runtime, program, ask in (
        ("podman", "podman", user_containers.why_no_podman),
        ("bwrap", "bubblewrap", user_containers.why_no_bwrap),
    ):
        why = f"{program} is not installed (package {program})" if shutil.which(runtime) is None else ask(lab)
        if why:
            found[runtime] = why
    return found


def run(host: str, share: int, share_of_moments: int, times: int) -> OnHost:
    """Make one of *share* attempts by chance, and one of *share_of_moments* at each moment, *times* each, in each runtime."""
    with HOSTS[host]() as lab:
        owner, seed = User(lab), f"{SEED}, {host}"
        missing = lacking(lab)
        runtimes = [name for name in USERS_RUNTIMES if name not in missing]
        world = World(lab, runtimes, owner)
        return OnHost(run_in(world, part_of(all_attempts(), seed, share), chosen(seed, share_of_moments), times, runtimes), missing)


@pytest.fixture(scope="module", params=HOSTS)
def on_host(request) -> OnHost:
    return run(request.param, 80, 16, 1)


@pytest.mark.parametrize("runtime", USERS_RUNTIMES)
def test_nothing_gets_through(on_host, runtime):
    if why := on_host.lacking.get(runtime):
        pytest.skip(why)
    on_host.run.check(runtime)


def test_without_rules_something_of_each_kind_does(on_host):
    on_host.run.check_control()
