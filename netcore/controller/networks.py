"""Networks: create and remove."""

from __future__ import annotations

import secrets
from ipaddress import ip_network

from netcore import drivers
from netcore.contract import Outcome
from netcore.controller.state import State
from netcore.diff import diff
from netcore.errors import Conflict
from netcore.kernel import host
from netcore.model import (
    Network,
    NetworkRequest,
)
from netcore.planning import network as plan_network


class Networks(State):
    """Operations on networks."""

    async def create_network(self, request: NetworkRequest, *, dry_run: bool = False) -> tuple[Network, Outcome]:
        """Create a network; it is usable when this returns."""
        async with self._locks.hold(["networks"]):
            facts = await self.look_at_host()
            around = self._surroundings(facts)
            network = plan_network.plan_network(request, self.networks.values(), around, secrets.token_hex(32))
            kinds = drivers.link_kinds(network)
            if kinds:
                await self.kernel(lambda: host.check_link_kinds(kinds))
            steps = diff((), drivers.only_of(network, self.networks.values(), self.facts))
            if dry_run:
                return network, Outcome(steps)
            await self._records.put_network(network, pending=True)
            try:
                await self.kernel(lambda: self.executor.apply(steps))
            except BaseException:
                await self._records.drop_network(network)
                raise
            await self._records.put_network(network)
            self.adopt_network(network)
            await self._directory.network_up(network)
            return network, Outcome(steps)

    def _surroundings(self, facts: host.HostFacts) -> plan_network.Surroundings:
        own = {item.key[-1] for network in self.networks.values() for item in drivers.network_objects(network, self.facts)}
        by_index = {link.index: link for link in facts.links}
        servers = [address for address in self._reserved() if not address.is_loopback]
        reserved = [item for item in facts.on_link if item.prefixlen] + [ip_network(address) for address in servers]
        return plan_network.Surroundings(
            pools4=self.settings.pools4,
            pools6=self.settings.pools6,
            reserved=reserved,
            egress_mtu=facts.egress_mtu,
            links={
                link.name: plan_network.HostLink(
                    kind=link.kind, mtu=link.mtu, mac=link.mac, master=by_index[link.master].kind if link.master in by_index else ""
                )
                for link in facts.links
                if link.name not in own
            },
            ipv6=facts.ipv6,
            now=self._clock(),
        )

    async def remove_network(self, reference: str, *, dry_run: bool = False) -> Outcome:
        """Remove a network that has no endpoints."""
        if reference in plan_network.PREDEFINED or self.find_network(reference).is_default_bridge:
            raise Conflict("network", reference, "is a pre-defined network and cannot be removed")
        return await self._remove_network(self.find_network(reference), dry_run=dry_run)

    async def remove_default_bridge(self) -> None:
        """Remove the network bridge if nobody is on it; it is made again on first need, as it is configured then."""
        found = next((item for item in self.networks.values() if item.is_default_bridge), None)
        if found is not None and not self.members(found.id):
            await self._remove_network(found)

    async def _remove_network(self, network: Network, *, dry_run: bool = False) -> Outcome:
        async with self._locks.hold(["networks", f"network:{network.id}"]):
            network = self.find_network(network.id)
            members = self.members(network.id)
            if members:
                listed = ", ".join(f'name:"{sandbox.name}" id:"{sandbox.short_id}"' for sandbox, _ in members)
                raise Conflict("network", network.name, f"has active endpoints ({listed}); disconnect them first")
            steps = diff(drivers.only_of(network, self.networks.values(), self.facts), ())
            if dry_run:
                return Outcome(steps)
            await self._directory.network_down(network)
            await self._records.put_network(network, pending=True)
            del self.networks[network.id]
            self._addresses.drop(network)
            try:
                await self.kernel(lambda: self.executor.remove(steps, f"network {network.name}"))
            finally:
                await self._records.drop_network(network)
            return Outcome(steps)
