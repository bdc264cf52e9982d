"""Tiers and guards: which tests need what, and nothing of the host may change, whatever the tests do in their namespaces."""

from __future__ import annotations

import asyncio
import inspect
import os
import secrets
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.support import host_guard
from tests.support.lab import why_no_lab

TESTS = Path(__file__).parent

# How long one example takes says more about the machine than about the code.
settings.register_profile("berth", deadline=None)
settings.load_profile("berth")
TIERS = {
    "unit": "unit", "style": "unit", "fuzz": "unit", "loop": "unit",
    "netns": "netns", "daemon": "netns", "campaign": "netns", "escape": "netns",
}  # fmt: skip
"""Folder of tests → the tier of its tests. Not of the unit tier is what is marked `timed`, `slow` or `campaign`, and what starts an etcd."""
POLLING = 0.02
"""Seconds that a test may pause between two looks at what it waits for."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder not in TIERS:
            raise pytest.UsageError(f"tests/{folder} has no tier; add it to TIERS in tests/conftest.py")
        # By its name or its parameter.
        if "etcd" in item.nodeid:
            item.add_marker("timed")
        if TIERS[folder] != "unit" or not any(item.get_closest_marker(name) for name in ("timed", "slow", "campaign")):
            item.add_marker(TIERS[folder])


_why_no_lab = cache(why_no_lab)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("netns") and (reason := _why_no_lab()):
        assert not os.environ.get("CI"), f"CI must be able to build labs: {reason}"
        pytest.skip(f"no lab: {reason}")


@pytest.fixture(autouse=True)
def unit_tests_do_not_sleep(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a unit test that waits for a time instead of for the thing itself."""
    if request.node.get_closest_marker("unit"):
        for module in (time, asyncio):
            monkeypatch.setattr(module, "sleep", _sleepless(module.sleep))


def _sleepless(sleep: Any) -> Any:
    def refuse(delay: float, *arguments: Any) -> Any:
        frame = inspect.currentframe()
        caller = frame.f_back.f_code.co_filename if frame and frame.f_back else ""
        assert not (delay > POLLING and caller.startswith(str(TESTS))), (
            "a unit test must not sleep: wait for the thing itself, hand in a clock, or mark the test `timed`"
        )
        return sleep(delay, *arguments)

    return refuse


@pytest.fixture(scope="session", autouse=True)
def host_is_left_alone() -> Iterator[None]:
    """Fail the session if links, routes, rules, mounts, sysctls or files of the host differ afterwards, or a process is left behind."""
    session = secrets.token_hex(8)
    os.environ[host_guard.SESSION_VARIABLE] = session
    before = host_guard.host_state()
    yield
    left = host_guard.processes_left_by(session)
    changed = host_guard.changes(before, host_guard.host_state())
    assert not left, "the tests left processes behind:\n" + "\n".join(left)
    assert not changed, "the tests changed the host:\n" + "\n".join(changed)
