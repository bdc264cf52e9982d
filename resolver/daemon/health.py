"""What the daemon says of itself: `/healthz`, `/readyz` and `/v1/status`, which is `berth status`."""

from __future__ import annotations

import os
from collections.abc import Callable

from resolver.daemon.dropped import DroppedPackets
from resolver.daemon.hostfile import HostResolvConf
from resolver.daemon.lookup import Lookup
from resolver.daemon.operations import Operations
from resolver.daemon.registry import Registry
from resolver.daemon.schema import HealthView, StatusView


class Health:
    """See the module. *clock*: seconds, monotonic. *firewall*: as configured. *firewall_warnings*: what firewalls drop.

    *host_warnings*: what else of the host keeps networks from the outside. *unwritable*: why changes are refused, None if they are not.
    *guard*: what closes networks while our firewall tables are gone. *spares*: namespaces that are ready.
    """

    def __init__(
        self,
        *,
        version: str,
        firewall: str,
        exits_when_idle: bool,
        operations: Operations,
        registry: Registry,
        lookup: Lookup,
        host: HostResolvConf,
        dropped: DroppedPackets,
        firewall_warnings: Callable[[], tuple[str, ...]],
        host_warnings: Callable[[], tuple[str, ...]],
        unwritable: Callable[[], str | None],
        guard: Callable[[], str],
        spares: Callable[[], int],
        clock: Callable[[], float],
    ) -> None:
        self.version = version
        self._firewall = firewall
        self._exits_when_idle = exits_when_idle
        self._operations = operations
        self._registry = registry
        self._lookup = lookup
        self._host = host
        self._dropped = dropped
        self._firewall_warnings = firewall_warnings
        self._host_warnings = host_warnings
        self._unwritable = unwritable
        self._guard = guard
        self._spares = spares
        self._clock = clock
        self._started = clock()
        self.is_ready = False

    def liveness(self) -> HealthView:
        """Say that the process answers."""
        return HealthView("ok")

    def readiness(self) -> HealthView:
        """Say whether the networks and names of the last run are back, and whether changes are refused."""
        if not self.is_ready:
            return HealthView("starting")
        return HealthView("ok" if self._unwritable() is None else "read-only")

    def _refusals(self) -> list[str]:
        reason = self._unwritable()
        told = f"the state can't be written ({reason}): names and traffic go on, changes are refused until it can"
        return [] if reason is None else [told]

    async def status(self) -> StatusView:
        """Return what runs, and what is not as it should be."""
        await self._dropped.look()
        counts = self._operations.counts()
        return StatusView(
            version=self.version,
            pid=os.getpid(),
            exits_when_idle=self._exits_when_idle,
            uptime_seconds=round(self._clock() - self._started, 3),
            networks=counts.networks,
            sandboxes=counts.sandboxes,
            queries=self._registry.queries(),
            resolv_conf=self._host.path,
            nameservers=list(self._host.content.nameservers),
            upstreams=self._lookup.upstreams(),
            firewall=self._firewall,
            dropped=self._dropped.by_sandbox(),
            guard=self._guard(),
            spares=self._spares(),
            warnings=[
                *self._refusals(),
                *self._host.problems(),
                *self._registry.warnings(),
                *self._host_warnings(),
                *self._firewall_warnings(),
            ],
        )
