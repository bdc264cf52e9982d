"""Where a program begins: `async with Berth.connect() as berth`."""

from __future__ import annotations

from types import TracebackType
from typing import Unpack

from resolver.client.command import GRACE
from resolver.client.connection import Connection, connection
from resolver.client.operations import Daemon, Egress, Networks, Sandboxes
from resolver.client.options import SandboxOptions
from resolver.client.requests import no_such_version
from resolver.client.sandbox import Sandbox


class Berth:
    """A connection to a daemon. Its operations are methods of *networks*, *sandboxes*, *egress* and *daemon*."""

    def __init__(self, to: Connection) -> None:
        self._connection = to
        self.networks = Networks(to)
        self.sandboxes = Sandboxes(to)
        self.egress = Egress(to)
        self.daemon = Daemon(to)

    @classmethod
    def connect(cls, run_dir: str | None = None, *, start: bool = True) -> Berth:
        """Return what becomes connected with `async with`: NoDaemon or WrongVersion if it can't be.

        *run_dir*: of another daemon than the one that the command line uses here. *start*: if none answers, one is started that ends by
        itself when nothing needs it any more; an ordinary user's with everything that it needs (docs/rootless.md).
        """
        return cls(connection(run_dir, starts=start))

    async def __aenter__(self) -> Berth:
        self._connection.open()
        try:
            wrong = no_such_version(await self.daemon.show_open_api())
            if wrong is not None:
                raise wrong
        except BaseException:
            await self._connection.close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self._connection.close()

    def sandbox(self, *, timeout: float | None = None, grace: float = GRACE, **options: Unpack[SandboxOptions]) -> Sandbox:
        """Return a sandbox, which is there inside of `async with` only. *timeout*: seconds that each command in it may take.

        *grace*: seconds between TERM and KILL. *options*: see `SandboxOptions`.
        """
        return Sandbox(self.sandboxes, self.egress, self._connection.environment, options, timeout=timeout, grace=grace)
