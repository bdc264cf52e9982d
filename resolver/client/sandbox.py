"""A sandbox of a program: there from `async with` on, and gone with everything in it after that.

It is held by a `berth run` that is a child of this process, whose command is a `cat` that reads from a pipe of ours: when the pipe closes,
by whatever end of this process, the sandbox ends. Commands run in it by `berth exec`, so they have the rights, the isolation and the
egress rules that they would have on the command line.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from resolver.client.children import command_of_berth, end, ended
from resolver.client.command import Command, Result
from resolver.client.errors import FileFailed, Refused, SandboxFailed
from resolver.client.operations import Egress, Sandboxes
from resolver.client.options import SandboxOptions, check_command, exec_words, run_words
from resolver.client.shapes import RefusedView, SandboxView
from resolver.client.uninterrupted import started, uninterrupted

_PATIENCE = 10.0
"""Seconds for a sandbox to be removed by itself."""
_LIMIT = 1 << 20
"""Octets of a line that can be read from a stream."""
_NOT_STARTED = 125


class Default:
    """The sandbox's own timeout is meant."""


DEFAULT: Final = Default()


class Sandbox:
    """See the module. *environment*: of the processes of berth.

    *timeout*: seconds that each command may take, None: without end; *grace*: between TERM and KILL.
    """

    def __init__(
        self,
        sandboxes: Sandboxes,
        egress: Egress,
        environment: Mapping[str, str],
        options: SandboxOptions,
        *,
        timeout: float | None,
        grace: float,
    ) -> None:
        self.name = options.get("name") or f"box-{secrets.token_hex(6)}"
        self.id = ""
        self._words = run_words(self.name, options)
        self._sandboxes = sandboxes
        self._egress = egress
        self._environment = environment
        self._timeout = timeout
        self._grace = grace
        self._keeper: asyncio.subprocess.Process | None = None
        self._told: asyncio.Task[bytes] | None = None

    async def __aenter__(self) -> Sandbox:
        words = command_of_berth("run", *self._words, "--", "cat")
        pipe = asyncio.subprocess.PIPE
        keeper = await started(words, _PATIENCE, stdin=pipe, stdout=pipe, stderr=pipe, env=self._environment)
        self._keeper = keeper
        try:
            assert keeper.stdin is not None
            assert keeper.stdout is not None
            assert keeper.stderr is not None
            self._told = asyncio.ensure_future(keeper.stderr.read())
            with contextlib.suppress(ConnectionError):
                keeper.stdin.write(b"\n")
                await keeper.stdin.drain()
            if not await keeper.stdout.read(1):
                raise SandboxFailed((await self._told).decode(errors="replace").strip().removeprefix("berth: "))
            self.id = (await self.show()).id
        except BaseException:
            await uninterrupted(self._remove())
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await uninterrupted(self._remove())

    async def _remove(self) -> None:
        keeper = self._keeper
        if keeper is None:
            return
        assert keeper.stdin is not None
        keeper.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await ended(keeper)
        if keeper.returncode is None:
            await end(keeper, self._grace)
            # It could not do it by itself.
            with contextlib.suppress(Refused):
                await self._sandboxes.remove_sandbox(self.id or self.name)
        if self._told is not None:
            self._told.cancel()
            await asyncio.gather(self._told, return_exceptions=True)

    async def show(self) -> SandboxView:
        """Return what the daemon tells of it: addresses, networks, names."""
        return await self._sandboxes.show_sandbox(self.id or self.name)

    async def denied(self, since: float | None = None) -> tuple[RefusedView, ...]:
        """Return which questions and connections its egress rules have refused. *since*: seconds since 1970."""
        return tuple(await self._egress.show_refused(sandbox=self.id, since=None if since is None else repr(since)))

    @contextlib.asynccontextmanager
    async def start(
        self,
        command: Sequence[str],
        *,
        timeout: float | Default | None = DEFAULT,
        environment: Mapping[str, str] | None = None,
        workdir: str | None = None,
        user: str | None = None,
    ) -> AsyncIterator[Command]:
        """Start *command*, for `async with`: after that it has ended. Its streams are the program's to read and to close."""
        if self._keeper is None or self._keeper.returncode is not None:
            raise SandboxFailed(f"sandbox {self.name} does not run; use it inside of its `async with`")
        options = exec_words(environment or {}, workdir, user)
        words = command_of_berth("exec", *options, "--", self.id, *check_command(command))
        pipe = asyncio.subprocess.PIPE
        process = await started(words, self._grace, stdin=pipe, stdout=pipe, stderr=pipe, env=self._environment, limit=_LIMIT)
        running = Command(process, self._timeout if isinstance(timeout, Default) else timeout, self._grace)
        try:
            yield running
        finally:
            await running.end()

    async def run(
        self,
        command: Sequence[str],
        *,
        stdin: bytes | str = b"",
        timeout: float | Default | None = DEFAULT,
        environment: Mapping[str, str] | None = None,
        workdir: str | None = None,
        user: str | None = None,
    ) -> Result:
        """Run *command*, and return what it has done. *timeout*: seconds; then it gets TERM, and after a while KILL.

        *environment*: more variables, *workdir*: another directory, *user*: USER[:GROUP], for this command alone.
        """
        began = time.time()  # noqa: TID251 (the daemon's log is asked for what happened since)
        async with self.start(command, timeout=timeout, environment=environment, workdir=workdir, user=user) as running:
            stdout, stderr = await running.whole(stdin.encode() if isinstance(stdin, str) else stdin)
            code = await running.wait()
        assert self._keeper is not None
        if code == _NOT_STARTED and self._keeper.returncode is not None:
            raise SandboxFailed(f"sandbox {self.name} has ended: {stderr.decode(errors='replace').strip().removeprefix('berth: ')}")
        return Result(exit_code=code, stdout=stdout, stderr=stderr, timed_out=running.timed_out, denied=await self.denied(began))

    async def write(self, path: str, content: bytes | str) -> None:
        """Put a file with *content* at *path* in the sandbox; directories above it are made. FileFailed says why it can't be."""
        octets = content.encode() if isinstance(content, str) else content
        await self._file("write", path, ["sh", "-c", 'mkdir -p -- "$(dirname -- "$1")" && cat > "$1"', "sh", path], octets)

    async def read(self, path: str) -> bytes:
        """Return the content of the file at *path* in the sandbox; FileFailed says why it can't be had."""
        return await self._file("read", path, ["cat", "--", path], b"")

    async def put(self, source: str | Path, path: str) -> None:
        """Put a copy of the program's own file *source* at *path* in the sandbox."""
        await self.write(path, await asyncio.to_thread(Path(source).read_bytes))

    async def get(self, path: str, target: str | Path) -> None:
        """Copy the file at *path* in the sandbox to the program's own *target*."""
        content = await self.read(path)
        await asyncio.to_thread(Path(target).write_bytes, content)

    async def _file(self, what: str, path: str, command: list[str], stdin: bytes) -> bytes:
        async with self.start(command) as running:
            stdout, stderr = await running.whole(stdin)
            code = await running.wait()
        if code or running.timed_out:
            told = "it took too long" if running.timed_out else stderr.decode(errors="replace").strip()
            raise FileFailed(f"{path} in sandbox {self.name} could not be {'written' if what == 'write' else 'read'}: {told}")
        return stdout
