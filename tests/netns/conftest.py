"""A lab with a daemon for each module, and helpers to make networks and sandboxes in it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.lab import OUTSIDE_ADDRESS, Lab, why_no_lab

UPSTREAM = str(Path(__file__).parents[1] / "support" / "upstream.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = why_no_lab()
    if not reason:
        return
    assert not os.environ.get("CI"), f"CI must be able to build labs: {reason}"
    for item in items:
        if "netns" in str(item.fspath) or "daemon" in str(item.fspath):
            item.add_marker(pytest.mark.skip(reason=f"no lab: {reason}"))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab with a daemon and a name server outside."""
    with Lab() as made:
        upstream(made, OUTSIDE_ADDRESS, where="outside")
        made.start_daemon()
        yield made


def upstream(lab: Lab, address: str, behaviour: str = "ok", where: str = "outside"):
    """Start a scripted name server and return its process."""
    process = lab.start(sys.executable, UPSTREAM, address, behaviour, where=where)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line == "listening\n", line
    return process
