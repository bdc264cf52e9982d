"""How blocking work gets off the loop: worker threads for the kernel, timers, tasks beside everything else."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from netcore import limits
from netcore.errors import Unavailable
from netcore.threads import Threads

_T = TypeVar("_T")


def attempt_each(bodies: Sequence[Callable[[], _T]]) -> list[_T | Exception]:
    """Return what each of *bodies* returns, in its place what it raised. For many small ones: between threads each takes longer."""
    return [_attempt(body) for body in bodies]


def _attempt(body: Callable[[], _T]) -> _T | Exception:
    try:
        return body()
    except Exception as error:
        return error


class Workers:
    """The worker threads of one daemon. The loop only decides; whatever may block runs here."""

    def __init__(self) -> None:
        self._threads = Threads(limits.KERNEL_WORKERS, "kernel")
        self._loop = asyncio.get_running_loop()
        self._timers: set[asyncio.TimerHandle] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, body: Callable[[], _T]) -> _T:
        """Return what *body* returns, run on a worker thread. A cancelled caller still waits for the kernel's answer."""
        future = self._threads.hand_over(body)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            raise
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise Unavailable("a file descriptor", "the limit is reached; raise LimitNOFILE or `ulimit -n`") from error
            raise

    def later(self, delay: float, body: Callable[[], None]) -> None:
        """Run *body* on a worker thread after *delay* seconds. May be called from any thread."""

        def arm() -> None:
            def fire() -> None:
                self._timers.discard(handle)
                self._threads.hand_over(body)

            handle = self._loop.call_later(delay, fire)
            self._timers.add(handle)

        try:
            self._loop.call_soon_threadsafe(arm)
        except RuntimeError:
            # The loop has ended; what was to be announced again has been announced often enough.
            return

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Do *work* beside everything else; it is cancelled by `close`."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self) -> None:
        """Cancel timers and background work."""
        for handle in self._timers:
            handle.cancel()
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """Wait for the threads to end; what they are doing is finished."""
        await self._threads.close()
