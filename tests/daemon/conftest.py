"""Labs without a daemon running: tests start their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.netns.conftest import pytest_collection_modifyitems
from tests.support.lab import Lab

__all__ = ["pytest_collection_modifyitems"]


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab of its own for each test."""
    with Lab() as made:
        yield made
