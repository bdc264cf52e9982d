"""Serves what survived a restart, and tries again what could not be restored: on a period, and when something changed on the host."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from netcore import limits
from netcore.controller import Controller
from netcore.controller.recovery import serve, set_sandbox_aside
from netcore.controller.retry import retry
from netcore.errors import NetcoreError
from netcore.model import Sandbox
from netcore.store.records import Records
from resolver.daemon.registry import Registry
from resolver.errors import ResolverError

log = logging.getLogger(__name__)


class Restoration:
    """See the module."""

    def __init__(self, controller: Controller, registry: Registry, records: Records) -> None:
        self._controller = controller
        self._registry = registry
        self._records = records
        self._wake = asyncio.Event()
        self._at_work = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def serve_all(self, survivors: Sequence[Sandbox]) -> None:
        """Open the resolvers of the sandboxes that survived, publish their names, hold their ports."""
        await asyncio.gather(*(self._serve(sandbox) for sandbox in survivors))

    async def _serve(self, sandbox: Sandbox) -> bool:
        """Serve a sandbox again; return whether nothing failed. What fails sets it aside, and the rest is done all the same."""
        reason: str | None = None
        try:
            await self._registry.open(sandbox, replace=True)
        except (NetcoreError, ResolverError, OSError) as error:
            reason = f"its resolver is not open: {error}"
        try:
            await serve(self._controller, sandbox)
        except (NetcoreError, ResolverError, OSError) as error:
            reason = reason or f"it is not served completely: {error}"
        if reason is not None:
            set_sandbox_aside(self._controller, sandbox, reason)
        return reason is None

    def start(self) -> None:
        """Begin to try again."""
        self._task = asyncio.get_running_loop().create_task(self._follow())

    def wake(self) -> None:
        """Something has changed that may help."""
        self._wake.set()

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), limits.SET_ASIDE_RETRY)
            self._wake.clear()
            if self._controller.set_aside.all() or self._records.is_overdue:
                await self.retry()
                # What a retry itself changes on the host is no reason for another.
                await asyncio.sleep(limits.SET_ASIDE_PAUSE)
                self._wake.clear()

    async def retry(self) -> None:
        """Try everything that is set aside once more."""
        async with self._at_work:
            try:
                for sandbox in await retry(self._controller, self._records):
                    if await self._serve(sandbox):
                        self._controller.set_aside.restored("sandbox", sandbox.id)
            except (NetcoreError, OSError) as error:
                log.warning("what is set aside could not be tried again reason=%s", error)

    async def close(self) -> None:
        """Stop trying."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
