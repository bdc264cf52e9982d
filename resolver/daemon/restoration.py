"""Serves what survived a restart, and tries again what could not be restored: on a period, and when something changed on the host."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Sequence

from netcore import limits
from netcore.controller import Controller
from netcore.controller.network_recovery import BROKEN
from netcore.controller.recovery import serve, set_sandbox_aside
from netcore.controller.retry import retry
from netcore.errors import NetcoreError
from netcore.model import Sandbox, SandboxId, Stack
from netcore.store.records import EndpointsRecord, Records, SandboxRecord
from resolver.daemon.registry import Registry
from resolver.errors import ResolverError

BROKEN_NAMES = (ResolverError, *BROKEN)

log = logging.getLogger(__name__)


class Restoration:
    """See the module."""

    def __init__(self, controller: Controller, registry: Registry, records: Records) -> None:
        self._controller = controller
        self._registry = registry
        self._records = records
        self._unpublished: set[SandboxId] = set()
        self._wake = asyncio.Event()
        self._at_work = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def publish(self, sandboxes: Sequence[Sandbox], recorded: Iterable[tuple[SandboxRecord, EndpointsRecord]]) -> None:
        """Publish the names of the sandboxes that were recalled, and of their networks.

        *recorded*: all that records tell of. Links may be there still of those that are not among the others.
        """
        state = self._controller.state
        for record, endpoints in recorded:
            there = (*endpoints.endpoints, *endpoints.before, *endpoints.gone)
            self._registry.expect(record.sandbox, [endpoint for endpoint in there if endpoint.network_id in state.networks], state.networks)
        recalled = [(sandbox, state.in_gateway_order(state.endpoints[sandbox.id])) for sandbox in sandboxes]
        for sandbox, reason in self._registry.recall(state.networks_here(), recalled, state.networks):
            self._unpublished.add(sandbox.id)
            set_sandbox_aside(self._controller, sandbox, f"its names are not published: {reason}")

    async def answer_all(self, sandboxes: Iterable[Sandbox]) -> None:
        """Go on answering sandboxes before the kernel is restored. Whose resolver can't be opened yet has it tried again after that."""
        for sandbox, error in await self._registry.resolvers.go_on_each(sandboxes):
            log.info("sandbox is not answered yet sandbox=%s reason=%s", sandbox.name, error)

    async def serve_all(self, survivors: Sequence[Sandbox]) -> list[Sandbox]:
        """Open those resolvers of the sandboxes that survived which are not open, write their files, hold their ports.

        What fails sets a sandbox aside, and the rest is done all the same. Return the sandboxes for which nothing failed.
        """
        reasons: dict[SandboxId, str] = {}
        for sandbox in survivors:
            try:
                await self._publish_again(sandbox)
            except BROKEN_NAMES as error:
                reasons[sandbox.id] = f"its names are not published: {error}"
        unwritten = await self._registry.kernel(self._registry.files.write_each(survivors))
        served = zip(survivors, unwritten, strict=True)
        for sandbox, reason in await asyncio.gather(*(self._serve(sandbox, failure) for sandbox, failure in served)):
            if reason is not None:
                reasons.setdefault(sandbox.id, reason)
        for sandbox in survivors:
            if sandbox.id in reasons:
                set_sandbox_aside(self._controller, sandbox, reasons[sandbox.id])
        return [sandbox for sandbox in survivors if sandbox.id not in reasons]

    async def _serve(self, sandbox: Sandbox, failure: Exception | None) -> tuple[Sandbox, str | None]:
        """Answer a sandbox again and hold its ports; return it and the first thing that went wrong. *failure*: of its files."""
        match failure:
            case None:
                reason = None
            case NetcoreError() | OSError():
                reason = f"its files can't be written: {failure}"
            case _:
                raise failure
        try:
            await self._registry.resolvers.go_on(sandbox)
        except (NetcoreError, ResolverError, OSError) as error:
            reason = reason or f"its resolver is not open: {error}"
        try:
            await serve(self._controller, sandbox)
        except (NetcoreError, ResolverError, OSError) as error:
            reason = reason or f"it is not served completely: {error}"
        return sandbox, reason

    async def _publish_again(self, sandbox: Sandbox) -> None:
        state = self._controller.state
        endpoints = state.in_gateway_order(state.endpoints[sandbox.id])
        if sandbox.stack is not Stack.SHARED and not self._registry.files.has(sandbox):
            # It was set aside, or in no record, when the others were recalled.
            self._unpublished.add(sandbox.id)
            self._registry.recall((), [(sandbox, endpoints)], state.networks)
        if sandbox.id in self._unpublished:
            await self._registry.update(sandbox, endpoints, state.networks)
            self._unpublished.discard(sandbox.id)

    def start(self) -> None:
        """Begin to try again."""
        self._task = asyncio.get_running_loop().create_task(self._follow())

    def wake(self) -> None:
        """Something has changed that may help."""
        self._wake.set()

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limits.SET_ASIDE_RETRY):
                    await self._wake.wait()
            self._wake.clear()
            if self._controller.set_aside.all() or self._records.writes.is_overdue:
                await self.retry()
                # What a retry itself changes on the host is no reason for another.
                await asyncio.sleep(limits.SET_ASIDE_PAUSE)
                self._wake.clear()

    async def retry(self) -> None:
        """Try everything that is set aside once more."""
        async with self._at_work:
            try:
                for sandbox in await retry(self._controller, self._records):
                    if await self.serve_all([sandbox]):
                        self._controller.set_aside.restored("sandbox", sandbox.id)
            except (NetcoreError, OSError) as error:
                log.warning("what is set aside could not be tried again reason=%s", error)

    async def close(self) -> None:
        """Stop trying."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
