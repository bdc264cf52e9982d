"""These tests run on the loop that the daemon runs on: its transports and sockets differ from asyncio's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Return the one loop there is."""
    return {"uvloop": uvloop.new_event_loop}
