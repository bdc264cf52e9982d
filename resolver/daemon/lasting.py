"""Sandboxes that last: they are made again when they are gone without anybody having removed them, after a reboot for example.

Those of `berth sandbox create --persist` and of `berth attach --follow`. One writer of their records; a record outlives the boot.
Key: `lasting/ID`. One that can't be made again is set aside with the reason, and tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import Protocol

from netcore import limits
from netcore.controller import Controller
from netcore.controller.set_aside import Aside
from netcore.errors import NetcoreError
from netcore.model import EndpointRequest, Sandbox, SandboxId, SandboxRequest
from netcore.store.codec import Undecodable, decode, encode
from netcore.store.protocol import Store, Transaction
from resolver.daemon.lasting_request import as_it_is
from resolver.errors import ResolverError

log = logging.getLogger(__name__)


class Make(Protocol):
    """Makes a sandbox; see `Operations.create_sandbox`."""

    def __call__(self, request: SandboxRequest, *, on_default: bool) -> Awaitable[object]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Lasting:
    """*request*: what the sandbox is made by when it is made again."""

    id: SandboxId
    request: SandboxRequest


class LastingSandboxes:
    """See the module."""

    def __init__(self, store: Store, controller: Controller) -> None:
        self._store = store
        self._controller = controller
        self._records: dict[SandboxId, Lasting] = {}
        self._task: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Read all records; one that can't be read stays as it is, and is told of in the log."""
        for key, item in (await self._store.load()).items.items():
            if key.startswith("lasting/"):
                try:
                    record = decode(Lasting, item.value)
                except Undecodable as error:
                    log.error("the record of a sandbox that lasts can't be read key=%s reason=%s", key, error)
                    continue
                self._records[record.id] = record

    def named(self, name: str) -> Lasting | None:
        """Return the one called *name*, None if there is none."""
        return next((record for record in self._records.values() if record.request.name == name), None)

    async def keep(self, sandbox: Sandbox, request: SandboxRequest) -> None:
        """Have *sandbox*, which was made by *request*, last from now on."""
        await self._put(sandbox, request)

    async def changed(self, sandbox_id: SandboxId, endpoint: EndpointRequest | None = None) -> None:
        """Note what a sandbox is like now, if it is one that lasts. *endpoint*: what it was just connected by."""
        record, sandbox = self._records.get(sandbox_id), self._controller.state.sandboxes.get(sandbox_id)
        if record is None or sandbox is None:
            return
        more = () if endpoint is None else (endpoint,)
        await self._put(sandbox, replace(record.request, networks=(*record.request.networks, *more)))

    async def _put(self, sandbox: Sandbox, request: SandboxRequest) -> None:
        state = self._controller.state
        record = Lasting(id=sandbox.id, request=as_it_is(request, sandbox, state.endpoints[sandbox.id], state.networks))
        await self._store.commit(Transaction({f"lasting/{sandbox.id}": encode(record)}))
        self._records[sandbox.id] = record

    async def drop(self, sandbox_id: str) -> None:
        """Have a sandbox last no more, if it is one that does."""
        if self._records.get(SandboxId(sandbox_id)) is not None:
            await self._store.commit(Transaction({f"lasting/{sandbox_id}": None}))
            del self._records[SandboxId(sandbox_id)]

    # --- after a start ----------------------------------------------------------------------------------------------

    async def settle(self, make: Make) -> None:
        """Make those again that are gone, for a start that has restored all else; go on trying with those that can't be.

        A sandbox that is to last and is in no record was just being made: it is removed.
        """
        for sandbox in [*self._controller.state.sandboxes.values()]:
            if (sandbox.follows or sandbox.persists) and sandbox.id not in self._records:
                with contextlib.suppress(NetcoreError):
                    await self._controller.sandboxes.remove(sandbox.id)
        if not await self._make_missing(make):
            self._task = asyncio.get_running_loop().create_task(self._go_on(make))

    async def _make_missing(self, make: Make) -> bool:
        """Make those that are not there; return whether all are."""
        are_all_there, aside = True, self._controller.set_aside
        for record in [*self._records.values()]:
            known = aside.find("sandbox", record.id)
            if record.id in self._controller.state.sandboxes or (known is not None and known.unreadable is not None):
                continue
            try:
                await make(record.request, on_default=False)
            except (NetcoreError, ResolverError, OSError) as error:
                are_all_there = False
                if record.id in self._records:
                    aside.put(Aside(kind="sandbox", id=record.id, name=record.request.name, reason=f"it can't be made again: {error}"))
            else:
                aside.restored("sandbox", record.id)
        return are_all_there

    async def _go_on(self, make: Make) -> None:
        while True:
            await asyncio.sleep(limits.SET_ASIDE_RETRY)
            if await self._make_missing(make):
                return

    async def close(self) -> None:
        """Stop trying."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
