"""These tests run on the loop that the daemon runs on: its transports and sockets differ from asyncio's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import uvloop


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Return the one loop there is."""
    return {"uvloop": _loop}


def _loop() -> asyncio.AbstractEventLoop:
    loop = uvloop.new_event_loop()
    loop.set_exception_handler(_end_late_test)
    return loop


def _end_late_test(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """End a test that is over its time: uvloop would only log what pytest-timeout raises in a loop that waits."""
    error = context.get("exception")
    if isinstance(error, pytest.fail.Exception):
        for task in asyncio.all_tasks(loop):
            task.cancel(str(error))
    else:
        loop.default_exception_handler(context)
