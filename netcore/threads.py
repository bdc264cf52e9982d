"""Threads that carry out what blocks, while a loop waits for the answers.

`concurrent.futures` does that too, but to hand something over takes twice the processor time there, and operations are made of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

_T = TypeVar("_T")


class Threads:
    """At most *most* threads called *name*, each started once it is needed. Made by the running loop, and used on it alone."""

    def __init__(self, most: int, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._most = most
        self._name = name
        self._bodies: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[Thread] = []
        self._unfinished = 0
        self._is_closed = False

    def hand_over(self, body: Callable[[], _T]) -> asyncio.Future[_T]:
        """Have *body* called on a thread, after what was handed over before; return what will have its answer.

        Whoever cancels that has no answer; *body* is called all the same. RuntimeError once they are closed.
        """
        if self._is_closed:
            raise RuntimeError(f"the {self._name} threads have ended")
        answer: asyncio.Future[_T] = self._loop.create_future()
        self._unfinished += 1
        if len(self._threads) < min(self._unfinished, self._most):
            thread = Thread(target=_carry_out, args=(self._bodies,), name=f"{self._name}_{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._bodies.put(lambda: self._call(body, answer))
        return answer

    def _call(self, body: Callable[[], _T], answer: asyncio.Future[_T]) -> None:
        try:
            result = body()
        except BaseException as error:  # for who waits for the answer
            self._tell(answer, answer.set_exception, error)
        else:
            self._tell(answer, answer.set_result, result)

    def _tell(self, answer: asyncio.Future[Any], settle: Callable[[Any], None], value: object) -> None:
        try:
            self._loop.call_soon_threadsafe(self._finish, answer, settle, value)
        except RuntimeError:
            # The loop has ended, and with it whoever would wait.
            return

    def _finish(self, answer: asyncio.Future[Any], settle: Callable[[Any], None], value: object) -> None:
        self._unfinished -= 1
        if not answer.done():
            settle(value)

    async def close(self) -> None:
        """Wait until all that was handed over is done, and for the threads to end."""
        self._is_closed = True
        threads, self._threads = self._threads, []
        for _ in threads:
            self._bodies.put(None)
        for thread in threads:
            await asyncio.to_thread(thread.join)


def _carry_out(bodies: SimpleQueue[Callable[[], None] | None]) -> None:
    while (body := bodies.get()) is not None:
        body()
        # What it knows is not to stay until the next one comes.
        del body
