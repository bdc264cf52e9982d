"""These tests run on the loop that the daemon runs on: its transports and sockets differ from asyncio's own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import uvloop

from tests.support.served import Scripted, Served


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


@pytest.fixture
async def serve():
    """`serve(*name_servers, **more)` starts a resolver that forwards to them, see `Served.start`; returns it.

    A name server that has not been started is. All are stopped when the test ends, however it ends: uvloop's `close` waits
    for ever for a transport that is left open.
    """
    async with contextlib.AsyncExitStack() as stack:

        async def start(*name_servers, **more):
            for name_server in name_servers:
                if isinstance(name_server, Scripted):
                    await name_server.start()
                stack.push_async_callback(name_server.stop)
            served = Served()
            stack.push_async_callback(served.stop)
            return await served.start([name_server.upstream for name_server in name_servers], **more)

        yield start
