"""The client's coroutines for programs without asyncio: an event loop in a thread of its own, which all calls of one `Berth` share."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from resolver.client.connection import Connection
from resolver.client.errors import WrongUse

_Value = TypeVar("_Value")
_LOOK = 0.2
"""Seconds between looks whether the caller was interrupted."""


class Loop:
    """See the module. Open it, and close it."""

    def __init__(self) -> None:
        # From when something is handed to the loop until it is.
        self._handing = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Start the loop and its thread; WrongUse if they are there."""
        with self._handing:
            if self._loop is not None:
                raise WrongUse("this Berth is connected already; make another one to connect twice")
            self._loop = asyncio.new_event_loop()
            # A program that ends without closing it is not kept from ending; its sandboxes end with it.
            self._thread = threading.Thread(target=self._loop.run_forever, name="berth client", daemon=True)
            self._thread.start()

    def do(self, work: Coroutine[Any, Any, _Value]) -> _Value:
        """Return what *work* returns. If the caller is interrupted meanwhile (Ctrl-C), it is cancelled, and ends first.

        WrongUse where the loop is closed, or is being closed meanwhile.
        """
        tasks: list[asyncio.Task[_Value]] = []
        ended = threading.Event()

        with self._handing:
            loop = self._loop
            if loop is None:
                work.close()
                raise _closed()

            def begin() -> None:
                task = loop.create_task(work)
                task.add_done_callback(lambda _: ended.set())
                tasks.append(task)

            loop.call_soon_threadsafe(begin)
        try:
            # A signal that comes just before a wait begins does not end it: its handler runs when the wait returns.
            while not ended.wait(_LOOK):
                pass
        except BaseException:
            with contextlib.suppress(RuntimeError):
                # It is closed, and has cancelled everything.
                loop.call_soon_threadsafe(lambda: tasks[0].cancel())
            ended.wait()
            # Its own error is not what the caller is told.
            tasks[0].cancelled() or tasks[0].exception()
            raise
        if tasks[0].cancelled():
            raise _closed()
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
            # A loop that is closed has closed it too.
            with contextlib.suppress(WrongUse):
                self.do(_close(iterator))

    def close(self) -> None:
        """End the loop and its thread, and whatever else is being done."""
        with self._handing:
            loop, thread, self._loop = self._loop, self._thread, None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(_end_all(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _closed() -> WrongUse:
    return WrongUse("this Berth is not connected; use it inside of its `with`")


async def _end_all() -> None:
    """Cancel everything else on the running loop, and return when it has ended."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


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
