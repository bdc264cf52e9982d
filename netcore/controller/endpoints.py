"""Endpoints: connect and disconnect, with addresses and published ports."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace

from netcore.controller.addresses import Taken
from netcore.controller.contract import Outcome
from netcore.controller.with_plugins import WithPlugins
from netcore.desired.diff import Step, diff
from netcore.errors import Conflict, NetcoreError, NotFound, TeardownFailed
from netcore.kernel import host, namespace, netns
from netcore.model import (
    Endpoint,
    EndpointRequest,
    IPAddress,
    Network,
    PortMapping,
    Sandbox,
)
from netcore.plan import endpoint as plan_endpoint
from netcore.plan import modes, published_ports
from netcore.relay.host_ports import Claim


class Endpoints(WithPlugins):
    """Operations on endpoints of sandboxes that exist."""

    async def connect(self, reference: str, request: EndpointRequest, *, dry_run: bool = False) -> Outcome:
        """Connect a sandbox to one more network."""
        sandbox, network = self.find_sandbox(reference), self.find_network(request.network)
        modes.check_connectable(sandbox)
        for target, _ in request.links:
            self.find_sandbox(target)
        async with self._locks.hold([f"sandbox:{sandbox.id}", f"network:{network.id}"]):
            return await self._connect(self.find_sandbox(sandbox.id), (request,), dry_run=dry_run)

    async def _connect(self, sandbox: Sandbox, requests: Sequence[EndpointRequest], *, dry_run: bool, fresh: bool = False) -> Outcome:
        before = self.endpoints[sandbox.id]
        old = () if fresh else self._desired(sandbox, before)
        used = await self._used_ifnames(sandbox, before)
        taken: list[Taken] = []
        made_by_plugins: list[Endpoint] = []
        claim = self._ports.begin()
        targets = [self.find_network(request.network) for request in requests]
        try:
            for network in targets if not dry_run else ():
                if network.is_overlay:
                    await self.raise_overlay(network)
            made: list[Endpoint] = []
            for request in requests:
                endpoint = await self._plan_endpoint(sandbox, request, [*before, *made], used, taken)
                used.add(endpoint.ifname)
                made.append(endpoint)
            after, mappings, warnings = await self._with_ports(sandbox, (*before, *made), claim)
            updated = replace(sandbox, ports=mappings)
            if dry_run:
                await self._give_back(taken)
                claim.keep(())
                return Outcome(diff(old, self._desired(updated, after)), warnings)
            await self._records.put_endpoints(sandbox, after, pending=True)
            asked: dict[str, EndpointRequest] = {item.network_id: request for item, request in zip(made, requests, strict=True)}
            after = await self._make_by_plugins(updated, after, asked, used - {item.ifname for item in made}, made_by_plugins)
            if made_by_plugins:
                after = published_ports.assign_ports(after, self.networks, mappings)
                await self._records.put_endpoints(sandbox, after, pending=True)
            steps = diff(old, self._desired(updated, after))
            await self._apply(sandbox, steps, before, after)
        except BaseException:
            await self.unmake(made_by_plugins)
            await self._give_back(taken)
            await self.kernel(lambda: claim.keep(()))
            if not dry_run:
                await self._records.put_endpoints(sandbox, before)
                await self.lower_unused(network.id for network in targets)
            raise
        claim.keep(mappings)
        await self._commit(updated, after)
        told = await self.tell_others(updated, [item for item in after if item.network_id in asked])
        return Outcome(steps, (*warnings, *told))

    async def _apply(self, sandbox: Sandbox, steps: Sequence[Step], before: Sequence[Endpoint], after: Sequence[Endpoint]) -> None:
        """Carry out *steps* and tell plugins of the way outside; all or nothing."""
        await self.kernel(lambda: self.executor.apply(steps))
        try:
            await self._turn_outside(sandbox, before, after)
        except BaseException:
            reached = [step.after for step in steps if step.after is not None]
            back = diff(reached, [step.before for step in steps if step.before is not None])
            with contextlib.suppress(NetcoreError):
                await self.kernel(lambda: self.executor.remove(back, "what was done"))
            raise

    async def _commit(self, sandbox: Sandbox, endpoints: tuple[Endpoint, ...]) -> None:
        await self._records.put_all(sandbox, endpoints)
        self.sandboxes[sandbox.id] = sandbox
        self.endpoints[sandbox.id] = endpoints
        self._proxies.settle(sandbox.id, published_ports.proxies(endpoints))
        await self._directory.update(sandbox, self._ordered(sandbox.id), self.networks)

    async def _plan_endpoint(
        self, sandbox: Sandbox, request: EndpointRequest, present: Sequence[Endpoint], used: set[str], taken: list[Taken]
    ) -> Endpoint:
        network = self.find_network(request.network)
        if any(item.network_id == network.id for item in present):
            raise Conflict("sandbox", sandbox.name, f"is already attached to network {network.name}")
        request = plan_endpoint.check_endpoint_request(request, network)
        plan_endpoint.check_room(request, network, [endpoint for _, endpoint in self.members(network.id)])
        mac = plan_endpoint.choose_mac(request, network, await self._mac_of_parent(network))
        addresses: dict[int, IPAddress] = {}
        wishes: dict[int, IPAddress | None] = {4: request.ipv4, 6: request.ipv6}
        for family in plan_endpoint.families_for(request, network):
            addresses[family] = await self._take(network, family, wishes[family], mac)
            taken.append((network.id, addresses[family]))
        return plan_endpoint.plan_endpoint(request, network, sandbox, addresses=addresses, mac=mac, used_ifnames=used)

    async def _mac_of_parent(self, network: Network) -> str:
        parent = plan_endpoint.parent_of(network)
        link = await self.kernel(lambda: host.find_link(parent)) if parent else None
        if parent and link is None:
            raise NotFound("link", f"{parent}, the parent of network {network.name}")
        return link.mac if link is not None else ""

    async def _used_ifnames(self, sandbox: Sandbox, endpoints: Sequence[Endpoint]) -> set[str]:
        own = {item.ifname for item in endpoints}
        if not netns.is_pinned(sandbox.netns_path):
            return own
        return own | await self.kernel(lambda: namespace.link_names(sandbox.netns_path))

    async def _with_ports(
        self, sandbox: Sandbox, endpoints: tuple[Endpoint, ...], claim: Claim
    ) -> tuple[tuple[Endpoint, ...], tuple[PortMapping, ...], tuple[str, ...]]:
        """Return *endpoints* with ports on their gateway endpoints, the sandbox's mappings, and warnings."""
        if not sandbox.port_requests and not sandbox.publish_all:
            return endpoints, (), ()
        taken = [(other.name, item) for other in self.sandboxes.values() if other.id != sandbox.id for item in other.ports]
        start = self._next_port
        mappings = await self.kernel(
            lambda: published_ports.plan_ports(
                sandbox,
                endpoints,
                self.networks,
                taken=taken,
                find_busy=claim.try_hold,
                ephemeral=host.ephemeral_range(),
                start=start,
                host_ipv6=self.facts.ipv6,
            )
        )
        self._next_port = max((item.host_port for item in mappings), default=start) + 1
        warnings = () if mappings or any(self._plugin(item) for item in endpoints) else (published_ports.IGNORED,)
        return published_ports.assign_ports(endpoints, self.networks, mappings), mappings, warnings

    async def disconnect(self, reference: str, network_reference: str, *, dry_run: bool = False) -> Outcome:
        """Take a sandbox off a network; the default route moves before the link goes."""
        sandbox, network = self.find_sandbox(reference), self.find_network(network_reference)
        async with self._locks.hold([f"sandbox:{sandbox.id}", f"network:{network.id}"]):
            sandbox = self.find_sandbox(sandbox.id)
            before = self.endpoints[sandbox.id]
            left = tuple(item for item in before if item.network_id != network.id)
            if left == before:
                raise NotFound("endpoint", f"sandbox {sandbox.name} is not connected to network {network.name}")
            after = published_ports.assign_ports(left, self.networks, sandbox.ports)
            steps = diff(self._desired(sandbox, before), self._desired(sandbox, after))
            if dry_run:
                return Outcome(steps)
            kept = self._ordered(sandbox.id, left)
            await self._directory.update(sandbox, kept, self.networks)
            await self._records.put_endpoints(sandbox, after, pending=True)
            gone = [item for item in before if item.network_id == network.id]
            target = f"endpoint of {sandbox.name} on {network.name}"
            await self.untell_others(gone)
            reasons = await self._take_leave(gone, before)
            try:
                await self.kernel(lambda: self.executor.remove(steps, target))
                await self._turn_outside(sandbox, before, after)
            except TeardownFailed as error:
                reasons += error.reasons
            except NetcoreError as error:
                reasons.append(str(error))
            reasons += await self._delete_by_plugins(gone)
            await self._release(gone)
            await self._commit(sandbox, after)
            await self.lower_unused([network.id])
            if reasons:
                raise TeardownFailed(target, tuple(reasons))
            return Outcome(steps)
