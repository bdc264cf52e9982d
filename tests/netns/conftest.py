"""A lab with a daemon for each module, and helpers to make networks and sandboxes in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.lab import OUTSIDE_ADDRESS, Lab

UPSTREAM = str(Path(__file__).parents[1] / "support" / "upstream.py")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab with a daemon and a name server outside."""
    with Lab() as made:
        upstream(made, OUTSIDE_ADDRESS, where="outside")
        made.start_daemon()
        yield made


def upstream(lab: Lab, address: str, behaviour: str = "ok", where: str = "outside"):
    """Start a scripted name server and return its process."""
    return lab.start_listening("upstream.py", address, behaviour, where=where)
