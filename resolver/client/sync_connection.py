"""The client's coroutines for programs without asyncio: an event loop in a thread of its own, which all calls of one `Berth` share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from resolver.client.connection import Connection

_Value = TypeVar("_Value")
_LOOK = 0.2
"""Seconds between looks whether the caller was interrupted."""


class Loop:
    """See the module. Close it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # A program that ends without closing it is not kept from ending; its sandboxes end with it.
        self._thread = threading.Thread(target=self._loop.run_forever, name="berth client", daemon=True)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, _Value]) -> _Value:
        """Return what *work* returns. If the caller is interrupted meanwhile (Ctrl-C), it is cancelled, and ends first."""
        tasks: list[asyncio.Task[_Value]] = []
        ended = threading.Event()

        def begin() -> None:
            task = self._loop.create_task(work)
            task.add_done_callback(lambda _: ended.set())
            tasks.append(task)

        self._loop.call_soon_threadsafe(begin)
        try:
            # A signal that comes just before a wait begins does not end it: its handler runs when the wait returns.
            while not ended.wait(_LOOK):
                pass
        except BaseException:
            self._loop.call_soon_threadsafe(lambda: tasks[0].cancel())
            ended.wait()
            # Its own error is not what the caller is told.
            tasks[0].cancelled() or tasks[0].exception()
            raise
        return tasks[0].result()

    def each(self, values: AsyncIterator[_Value]) -> Iterator[_Value]:
        """Yield what *values* yields."""
        iterator = aiter(values)
        try:
            while True:
                try:
                    yield self.do(_next(iterator))
                except StopAsyncIteration:
                    return
        finally:
            self.do(_close(iterator))

    def close(self) -> None:
        """End the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _next(values: AsyncIterator[_Value]) -> _Value:
    return await anext(values)


async def _close(values: AsyncIterator[Any]) -> None:
    close = getattr(values, "aclose", None)
    if close is not None:
        await close()


class SyncConnection:
    """As `Connection`, for programs without asyncio."""

    def __init__(self, loop: Loop, to: Connection) -> None:
        self._loop = loop
        self._to = to

    def ask(
        self,
        method: str,
        path: str,
        shape: type[_Value],
        *,
        query: Mapping[str, object] | None = None,
        body: msgspec.Struct | None = None,
        accepted: tuple[int, ...] = (),
    ) -> _Value:
        """See `Connection.ask`."""
        return self._loop.do(self._to.ask(method, path, shape, query=query, body=body, accepted=accepted))

    def text(self, method: str, path: str) -> str:
        """See `Connection.text`."""
        return self._loop.do(self._to.text(method, path))

    def follow(self, path: str, shape: type[_Value], *, query: Mapping[str, object]) -> Iterator[_Value]:
        """See `Connection.follow`."""
        return self._loop.each(self._to.follow(path, shape, query=query))
