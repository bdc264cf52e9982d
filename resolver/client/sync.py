"""berth for programs without asyncio: `resolver.client`, with plain methods in the place of coroutines.

with Berth.connect() as berth, berth.sandbox(egress=["pypi.org"], timeout=30) as box:
    result = box.run(["python3", "x.py"])
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Unpack

from resolver.client.berth import Berth as AsyncBerth
from resolver.client.command import GRACE, Result
from resolver.client.command import Command as AsyncCommand
from resolver.client.connection import Connection, connection
from resolver.client.options import SandboxOptions
from resolver.client.sandbox import DEFAULT, Default
from resolver.client.sandbox import Sandbox as AsyncSandbox
from resolver.client.shapes import RefusedView, SandboxView
from resolver.client.sync_connection import Loop, SyncConnection
from resolver.client.sync_operations import Daemon, Egress, Networks, Sandboxes

__all__ = ["Berth", "Command", "Result", "Sandbox"]


class Command:
    """A command that runs. See `resolver.client.Command`."""

    def __init__(self, loop: Loop, command: AsyncCommand) -> None:
        self._loop = loop
        self._command = command

    @property
    def exit_code(self) -> int | None:
        """See `Result`; None while it runs."""
        return self._command.exit_code

    @property
    def timed_out(self) -> bool:
        """Whether it was ended because it took too long."""
        return self._command.timed_out

    def write(self, octets: bytes) -> None:
        """Give it *octets* on its standard input; ConnectionError if it has closed that."""
        self._loop.do(self._write(octets))

    async def _write(self, octets: bytes) -> None:
        self._command.stdin.write(octets)
        await self._command.stdin.drain()

    def close_stdin(self) -> None:
        """Let it see the end of its standard input."""
        self._loop.do(self._close_stdin())

    async def _close_stdin(self) -> None:
        self._command.stdin.close()

    def output(self) -> Iterator[tuple[Literal["stdout", "stderr"], bytes]]:
        """Yield what it prints as soon as it does, with the stream that it comes from, until it has ended."""
        return self._loop.each(self._command.output())

    def wait(self) -> int:
        """Return the exit code as soon as it has ended."""
        return self._loop.do(self._command.wait())

    def end(self) -> None:
        """End it: TERM, after a while KILL. Returns when it has ended."""
        self._loop.do(self._command.end())


class Sandbox:
    """A sandbox, for `with`. See `resolver.client.Sandbox`."""

    def __init__(self, loop: Loop, sandbox: AsyncSandbox) -> None:
        self._loop = loop
        self._sandbox = sandbox

    def __enter__(self) -> Sandbox:
        self._loop.do(self._sandbox.__aenter__())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._loop.do(self._sandbox.__aexit__(kind, error, traceback))

    @property
    def name(self) -> str:
        """Its name."""
        return self._sandbox.name

    @property
    def id(self) -> str:
        """Its id, "" before it is there."""
        return self._sandbox.id

    def show(self) -> SandboxView:
        """Return what the daemon tells of it."""
        return self._loop.do(self._sandbox.show())

    def denied(self, since: float | None = None) -> tuple[RefusedView, ...]:
        """Return which questions and connections its egress rules have refused. *since*: seconds since 1970."""
        return self._loop.do(self._sandbox.denied(since))

    @contextlib.contextmanager
    def start(
        self,
        command: Sequence[str],
        *,
        timeout: float | Default | None = DEFAULT,
        environment: Mapping[str, str] | None = None,
        workdir: str | None = None,
        user: str | None = None,
    ) -> Iterator[Command]:
        """Start *command*, for `with`: after that it has ended."""
        running = self._sandbox.start(command, timeout=timeout, environment=environment, workdir=workdir, user=user)
        started = self._loop.do(running.__aenter__())
        try:
            yield Command(self._loop, started)
        finally:
            self._loop.do(running.__aexit__(None, None, None))

    def run(
        self,
        command: Sequence[str],
        *,
        stdin: bytes | str = b"",
        timeout: float | Default | None = DEFAULT,
        environment: Mapping[str, str] | None = None,
        workdir: str | None = None,
        user: str | None = None,
    ) -> Result:
        """Run *command*, and return what it has done."""
        work = self._sandbox.run(command, stdin=stdin, timeout=timeout, environment=environment, workdir=workdir, user=user)
        return self._loop.do(work)

    def write(self, path: str, content: bytes | str) -> None:
        """Put a file with *content* at *path* in the sandbox; directories above it are made."""
        self._loop.do(self._sandbox.write(path, content))

    def read(self, path: str) -> bytes:
        """Return the content of the file at *path* in the sandbox."""
        return self._loop.do(self._sandbox.read(path))

    def put(self, source: str | Path, path: str) -> None:
        """Put a copy of the program's own file *source* at *path* in the sandbox."""
        self._loop.do(self._sandbox.put(source, path))

    def get(self, path: str, target: str | Path) -> None:
        """Copy the file at *path* in the sandbox to the program's own *target*."""
        self._loop.do(self._sandbox.get(path, target))


class Berth:
    """A connection to a daemon, for `with`. Its operations are methods of *networks*, *sandboxes*, *egress* and *daemon*."""

    def __init__(self, loop: Loop, to: Connection) -> None:
        self._loop = loop
        self._berth = AsyncBerth(to)
        asked = SyncConnection(loop, to)
        self.networks = Networks(asked)
        self.sandboxes = Sandboxes(asked)
        self.egress = Egress(asked)
        self.daemon = Daemon(asked)

    @classmethod
    def connect(cls, run_dir: str | None = None, *, start: bool = True) -> Berth:
        """Return what becomes connected with `with`. See `resolver.client.Berth.connect`."""
        return cls(Loop(), connection(run_dir, starts=start))

    def __enter__(self) -> Berth:
        self._loop.open()
        try:
            self._loop.do(self._berth.__aenter__())
        except BaseException:
            self._loop.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            self._loop.do(self._berth.__aexit__(kind, error, traceback))
        finally:
            self._loop.close()

    def sandbox(self, *, timeout: float | None = None, grace: float = GRACE, **options: Unpack[SandboxOptions]) -> Sandbox:
        """Return a sandbox, which is there inside of `with` only. *timeout*: seconds that each command in it may take."""
        return Sandbox(self._loop, self._berth.sandbox(timeout=timeout, grace=grace, **options))
