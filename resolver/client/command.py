"""A command in a sandbox: a `berth exec` that is a child of this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

from resolver.client.children import end, ended
from resolver.client.shapes import RefusedView
from resolver.client.uninterrupted import uninterrupted

GRACE = 5.0
"""Seconds between TERM and KILL."""
_DRAIN = 0.5
"""Seconds for which output is read when the command has ended: what it left running may hold the pipes for ever."""
_CHUNK = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a command has done.

    *exit_code*: its own; 128 and the signal's number if one ended it; 126 and 127 if there is no such program. *timed_out*: it was ended
    because it took too long. *denied*: what egress rules refused of its sandbox since it was started.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes
    timed_out: bool
    denied: tuple[RefusedView, ...] = ()

    @property
    def text(self) -> str:
        """Its standard output as UTF-8; what is none is replaced."""
        return self.stdout.decode(errors="replace")

    @property
    def error_text(self) -> str:
        """Its standard error, the same way."""
        return self.stderr.decode(errors="replace")


class Command:
    """A command that runs. *stdin*, *stdout*, *stderr*: its streams, of octets. *timed_out*: it was ended as it took too long."""

    def __init__(self, process: asyncio.subprocess.Process, timeout: float | None, grace: float) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.stdin = process.stdin
        self.stdout = process.stdout
        self.stderr = process.stderr
        self.timed_out = False
        self._process = process
        self._grace = grace
        self._timer = None if timeout is None else asyncio.ensure_future(self._end_after(timeout))

    @property
    def exit_code(self) -> int | None:
        """See `Result`; None while it runs."""
        code = self._process.returncode
        return 128 - code if code is not None and code < 0 else code

    async def wait(self) -> int:
        """Return the exit code as soon as it has ended."""
        await ended(self._process)
        code = self.exit_code
        assert code is not None
        return code

    async def end(self) -> None:
        """End it: TERM, after a while KILL. Returns when it has ended."""
        if self._timer is not None and self._timer is not asyncio.current_task():
            self._timer.cancel()
        await uninterrupted(end(self._process, self._grace))
        # What it has left running may still hold the pipes.
        self._process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 (asyncio has no other way)

    async def _end_after(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await ended(self._process)
            return
        self.timed_out = True
        await uninterrupted(end(self._process, self._grace))

    async def output(self) -> AsyncIterator[tuple[Literal["stdout", "stderr"], bytes]]:
        """Yield what it prints as soon as it does, with the stream that it comes from, until it has ended."""
        queue: asyncio.Queue[tuple[Literal["stdout", "stderr"], bytes] | None] = asyncio.Queue(maxsize=16)
        parts = 0

        async def read(name: Literal["stdout", "stderr"], stream: asyncio.StreamReader) -> None:
            nonlocal parts
            while part := await stream.read(_CHUNK):
                await queue.put((name, part))
                parts += 1

        async def tell_end(all_read: asyncio.Future[Any]) -> None:
            exited = asyncio.ensure_future(ended(self._process))
            try:
                await asyncio.wait([exited, all_read], return_when=asyncio.FIRST_COMPLETED)
                before = -1
                # A reader that is slow is not left without the rest.
                while not all_read.done() and (before != parts or not queue.empty()):
                    before = parts
                    await asyncio.wait([all_read], timeout=_DRAIN)
            finally:
                exited.cancel()
                await asyncio.gather(exited, return_exceptions=True)
            await queue.put(None)

        readers = asyncio.gather(read("stdout", self.stdout), read("stderr", self.stderr))
        end_told = asyncio.ensure_future(tell_end(readers))
        try:
            while (item := await queue.get()) is not None:
                yield item
        finally:
            readers.cancel()
            end_told.cancel()
            await asyncio.gather(readers, end_told, return_exceptions=True)

    async def whole(self, stdin: bytes) -> tuple[bytes, bytes]:
        """Give it *stdin*, and return all that it prints on standard output and standard error."""
        feeding = asyncio.ensure_future(self._feed(stdin))
        found: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        try:
            async for name, part in self.output():
                found[name].append(part)
            await self.wait()
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
        return b"".join(found["stdout"]), b"".join(found["stderr"])

    async def _feed(self, octets: bytes) -> None:
        # It may have closed its standard input, or have ended.
        with contextlib.suppress(ConnectionError):
            self.stdin.write(octets)
            await self.stdin.drain()
        with contextlib.suppress(ConnectionError):
            self.stdin.close()
            await self.stdin.wait_closed()
