"""Other firewalls on the host, watched: a look at each change of nftables and every half minute.

Where they have a place for it our one rule is put in and, with the last network, taken away. What only their owner can
do is a warning in `berth status` and in the answer to a connect.
"""

from __future__ import annotations

import asyncio
import logging

from netcore import limits
from netcore.controller import Controller
from netcore.desired.other_firewalls import Measure, Missing, needed_without_firewall
from netcore.errors import NetcoreError
from netcore.kernel import notifications, other_firewalls
from netcore.model import BridgeOptions, Network

log = logging.getLogger(__name__)

_SETTLE = 0.2


class OtherFirewalls:
    """Keeps our rule in other firewalls while there are networks that need it."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._loop = asyncio.get_running_loop()
        self._applied: tuple[Measure, ...] = ()
        self._problems: tuple[str, ...] = ()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._changes: notifications.Notifications | None = None

    def start(self) -> None:
        """Begin to watch."""
        if not self._controller.settings.firewall:
            return
        try:
            self._changes = notifications.Notifications(notifications.NFTABLES)
            self._loop.add_reader(self._changes.fileno(), self._on_change)
        except OSError as error:
            log.warning("changes of nftables are not noticed at once reason=%s", error)
        self._schedule(limits.FOREIGN_CHECK_INTERVAL)

    def _on_change(self) -> None:
        assert self._changes is not None
        self._changes.drain()
        if self._timer is None or self._timer.when() > self._loop.time() + _SETTLE:
            self._schedule(_SETTLE)

    def _schedule(self, delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(delay, self._begin)

    def _begin(self) -> None:
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self.check())
        self._schedule(limits.FOREIGN_CHECK_INTERVAL)

    def _bridges(self) -> list[Network]:
        """Return the networks whose packets the host's firewalls see."""
        return [item for item in self._controller.state.networks.values() if isinstance(item.driver_options, BridgeOptions)]

    async def check(self) -> None:
        """Look now, and put our rule where it belongs."""
        if not self._controller.settings.firewall:
            return
        networks = [item for item in self._bridges() if not item.internal]
        bridges = tuple(item.bridge.bridge_name for item in networks)
        try:
            await self._repair()
            wanted = await self._controller.workers.run(lambda: other_firewalls.look(bridges)) if networks else ()
            gone = tuple(item for item in self._applied if item not in wanted)
            failed = await self._controller.workers.run(lambda: other_firewalls.apply(wanted))
            if gone:
                await self._controller.workers.run(lambda: other_firewalls.withdraw(gone))
        except (NetcoreError, OSError) as error:
            log.warning("other firewalls were not looked at reason=%s", error)
            return
        problems = (*failed, *(str(item) for item in wanted if isinstance(item, Missing)))
        for problem in problems:
            if problem not in self._problems:
                log.warning("another firewall is in the way what=%s", problem)
        self._applied, self._problems = wanted, problems

    async def _repair(self) -> None:
        """Write our own tables again if somebody flushed them."""
        if not self._controller.state.networks or await self._controller.workers.run(other_firewalls.is_firewall_whole):
            return
        await self._controller.repair_firewall()
        log.warning("firewall tables were gone and are written again networks=%d", len(self._controller.state.networks))

    def warnings(self) -> tuple[str, ...]:
        """Return what another firewall drops, and which rule is missing; or what a host without ours needs."""
        if self._controller.settings.firewall:
            return self._problems
        lines: list[str] = []
        for network in self._bridges():
            for pool in network.pools:
                lines += needed_without_firewall(network.bridge.bridge_name, str(pool.subnet), internal=network.internal)
        return tuple(f'firewall = "none": {line}' for line in dict.fromkeys(lines))

    async def withdraw(self) -> None:
        """Take our rules away again."""
        applied, self._applied = self._applied, ()
        if applied:
            await self._controller.workers.run(lambda: other_firewalls.withdraw(applied))

    def close(self) -> None:
        """Stop watching; rules stay as long as the networks do."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        if self._changes is not None:
            self._loop.remove_reader(self._changes.fileno())
            self._changes.close()
