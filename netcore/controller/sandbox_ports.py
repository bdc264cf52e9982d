"""The published ports of a sandbox within one operation: planned, held, kept or let go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from netcore.controller.collaborators import Collaborators
from netcore.controller.plugin_endpoints import plugin_of
from netcore.controller.undo import Undo
from netcore.kernel import host
from netcore.model import Endpoint, Sandbox
from netcore.plan import plans, published_ports
from netcore.plan.port_allocation import FindBusy
from netcore.plan.published_ports import PortPlan
from netcore.relay.host_ports import Claim


class SandboxPorts:
    """See the module. *first_port*: where the search for a free port begins."""

    def __init__(self, parts: Collaborators, first_port: int) -> None:
        self._parts = parts
        self._state = parts.state
        self._next_port = first_port

    def begin(self, undo: Undo) -> Claim:
        """Return the claim of one operation; what it only tried is let go when the operation fails."""
        claim = self._parts.host_ports.begin()
        undo.push(lambda: self._parts.workers.run(lambda: claim.keep(())))
        return claim

    async def plan(self, sandbox: Sandbox, endpoints: Sequence[Endpoint], find_busy: FindBusy, *, strict: bool = True) -> PortPlan:
        """Return what *sandbox* publishes by *endpoints*; *strict*: see `published_ports.plan_ports`."""
        if sandbox.ended or not published_ports.asks_for_ports(sandbox):
            return PortPlan()
        taken, start = plans.taken_ports(self._state, sandbox), self._next_port
        ports = await self._parts.workers.run(
            lambda: published_ports.plan_ports(
                sandbox,
                endpoints,
                self._state.networks,
                taken=taken,
                find_busy=find_busy,
                ephemeral=host.ephemeral_range(),
                start=start,
                host_ipv6=self._state.facts.ipv6,
                strict=strict,
            )
        )
        if any(mapping.host_address is not None for mapping in ports.fresh(sandbox)):
            await self._parts.host.refresh()
            # In a nest they are not those that ports are published on.
            local = None if self._parts.settings.edge else self._state.local_addresses()
            lacking = published_ports.lacking_addresses(sandbox.name, ports.fresh(sandbox), local)
            ports = replace(ports, warnings=(*ports.warnings, *lacking))
        networks_here = filter(self._state.is_here, self._state.networks.values())
        kept = published_ports.kept_by_resolvers(ports.fresh(sandbox), networks_here, self._state.facts)
        ports = replace(ports, warnings=(*ports.warnings, *kept))
        by_plugin = any(plugin_of(self._state.networks[endpoint.network_id]) for endpoint in endpoints)
        if ports.mappings or ports.warnings or by_plugin:
            return ports
        warn = published_ports.freed if sandbox.ports else published_ports.ignored
        return replace(ports, warnings=(warn(sandbox.name),))

    async def keep(self, claim: Claim, sandbox: Sandbox, ports: PortPlan, undo: Undo) -> None:
        """Go on holding the ports that are needed, and let go of what was only tried. *sandbox*: with the ports that it had."""
        if claim.has_tried:
            await self._parts.workers.run(lambda: claim.keep(ports.mappings))
        self._next_port = max((mapping.host_port for mapping in ports.mappings), default=self._next_port - 1) + 1
        fresh = ports.fresh(sandbox)
        undo.push(lambda: self._parts.workers.run(lambda: self._parts.host_ports.release(fresh)))

    async def free(self, before: Sandbox, after: Sandbox) -> None:
        """Let go of the ports that a sandbox no longer publishes."""
        dropped = PortPlan(after.ports).dropped(before)
        if dropped:
            await self._parts.workers.run(lambda: self._parts.host_ports.release(dropped))
