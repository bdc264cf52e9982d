"""Owners: sandboxes and networks that live as long as a process. One pidfd for each owner, watched by the loop.

When an owner ends, its sandboxes are removed, then its networks. This also covers a client that was killed.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable

from netcore.controller import Controller
from netcore.errors import NetcoreError, NotFound
from netcore.kernel import process
from netcore.model import Owner

log = logging.getLogger(__name__)


class Keeper:
    """Watches owners. *forget*: how a sandbox or network (kind, id) is removed."""

    def __init__(self, controller: Controller, forget: Callable[[str, str], Awaitable[None]]) -> None:
        self._controller = controller
        self._forget = forget
        self._loop = asyncio.get_running_loop()
        self._watched: dict[Owner, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def owner(self, pid: int | None) -> Owner | None:
        """Return *pid* as an owner; NotFound if there is no such process."""
        if pid is None:
            return None
        return Owner(pid=pid, start_time=await self._controller.workers.run(lambda: process.start_time(pid)))

    async def watch(self, owner: Owner | None) -> None:
        """Remove what *owner* has when it ends; if it has ended already, at once."""
        if owner is None or owner in self._watched:
            return
        self._watched[owner] = -1
        try:
            descriptor = await self._controller.workers.run(lambda: process.open_pidfd(owner.pid, owner.start_time))
        except NotFound:
            self._ended(owner)
            return
        self._watched[owner] = descriptor
        self._loop.add_reader(descriptor, self._ended, owner)

    def _ended(self, owner: Owner) -> None:
        descriptor = self._watched.pop(owner)
        if descriptor >= 0:
            self._loop.remove_reader(descriptor)
            os.close(descriptor)
        task = self._loop.create_task(self._remove(owner))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _remove(self, owner: Owner) -> None:
        sandboxes = [item.id for item in self._controller.state.sandboxes.values() if item.owner == owner]
        await asyncio.gather(*(self._try("sandbox", item) for item in sandboxes))
        networks = [item.id for item in self._controller.state.networks.values() if item.owner == owner]
        await asyncio.gather(*(self._try("network", item) for item in networks))

    async def _try(self, kind: str, identity: str) -> None:
        try:
            await self._forget(kind, identity)
        except NotFound:
            return
        except NetcoreError as error:
            log.error("not removed after its owner ended kind=%s id=%s reason=%s", kind, identity[:12], error)

    def is_busy(self) -> bool:
        """Return whether any owner lives or something of an owner is being removed."""
        return bool(self._watched or self._tasks)

    async def close(self) -> None:
        """Stop watching; nothing is removed."""
        for descriptor in self._watched.values():
            if descriptor >= 0:
                self._loop.remove_reader(descriptor)
                os.close(descriptor)
        self._watched.clear()
        await asyncio.gather(*self._tasks, return_exceptions=True)
