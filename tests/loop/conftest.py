"""These tests run on the loop that the daemon runs on: its transports and sockets differ from asyncio's own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from collections.abc import Callable, Mapping

import pytest
import uvloop

from tests.support.served import Scripted, Served

SECONDS = 45.0
"""How long one test may take. pytest's own time-out can't end a test that waits on uvloop."""


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Return the one loop there is."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give each coroutine test a time-out of its own."""
    test = getattr(item, "obj", None)
    if not inspect.iscoroutinefunction(test):
        return

    @functools.wraps(test)
    async def bounded(*arguments, **more):
        async with asyncio.timeout(SECONDS):
            return await test(*arguments, **more)

    item.obj = bounded


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
