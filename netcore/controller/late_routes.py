"""Routes of sandboxes that wait for their link: somebody inside has set it down, and the kernel takes no route over it until it is up.

Whoever waits is told by the kernel of changes of links in that namespace, and tries again. With the link went IPv6
addresses and neighbours, so these come back too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from netcore.controller.locks import KeyedLocks
from netcore.controller.workers import Workers
from netcore.desired.diff import diff
from netcore.desired.objects import Address, Neighbor, Route
from netcore.errors import NetcoreError
from netcore.kernel import netns, notifications
from netcore.kernel.apply import Executor
from netcore.kernel.notifications import Notifications
from netcore.kernel.observe import observe
from netcore.model import NetnsPath, SandboxId
from netcore.plan.host_state import HostState

log = logging.getLogger(__name__)


class LateRoutes:
    """See the module. *netns_path*: sandbox id → path of its namespace."""

    def __init__(
        self, state: HostState, workers: Workers, executor: Executor, locks: KeyedLocks, netns_path: Callable[[SandboxId], NetnsPath]
    ) -> None:
        self._state = state
        self._workers = workers
        self._executor = executor
        self._locks = locks
        self._netns_path = netns_path
        self._waiting: dict[SandboxId, Notifications] = {}

    async def wait(self, sandbox_id: SandboxId) -> None:
        """Set the routes of a sandbox once its links allow it."""
        if sandbox_id in self._waiting:
            return

        def subscribe() -> Notifications:
            with netns.opened(self._netns_path(sandbox_id)) as descriptor:
                return netns.run_inside(descriptor, lambda: Notifications(notifications.LINKS))

        try:
            subscription = self._waiting[sandbox_id] = await self._workers.run(subscribe)
        except (NetcoreError, OSError) as error:
            log.warning("routes are not set when their link comes up sandbox=%s reason=%s", sandbox_id[:12], error)
            return
        asyncio.get_running_loop().add_reader(subscription.fileno(), self._on_change, sandbox_id)
        # The link may have come up before the subscription.
        self._workers.in_background(self._try(sandbox_id))

    def _on_change(self, sandbox_id: SandboxId) -> None:
        self._waiting[sandbox_id].drain()
        self._workers.in_background(self._try(sandbox_id))

    async def _try(self, sandbox_id: SandboxId) -> None:
        async with self._locks.hold([f"sandbox:{sandbox_id}"]):
            if sandbox_id not in self._waiting:
                return
            if sandbox_id not in self._state.sandboxes:
                self.forget(sandbox_id)
                return
            state = self._state.sandbox_state(sandbox_id)
            objects = self._state.objects_of(state.sandbox, state.endpoints)
            # What is on the host is not touched by what happens to the other end of the link.
            wanted = [one for one in objects if isinstance(one, Address | Neighbor | Route) and one.sandbox_id == sandbox_id]
            with contextlib.suppress(NetcoreError):
                await self._workers.run(lambda: self._executor.apply(diff(observe(wanted, self._netns_path), wanted)))
                self.forget(sandbox_id)
                log.info("routes that waited for their link are set sandbox=%s", state.sandbox.name)

    def forget(self, sandbox_id: SandboxId) -> None:
        """Wait no longer; a sandbox that does not wait is done."""
        subscription = self._waiting.pop(sandbox_id, None)
        if subscription is not None:
            asyncio.get_running_loop().remove_reader(subscription.fileno())
            subscription.close()

    def close(self) -> None:
        """Wait for nothing any more."""
        for sandbox_id in [*self._waiting]:
            self.forget(sandbox_id)
