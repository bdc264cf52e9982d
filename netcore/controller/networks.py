"""Networks: create and remove."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network

from netcore import drivers
from netcore.controller.contract import Outcome
from netcore.controller.overlays import Overlays
from netcore.desired.diff import Step, diff
from netcore.errors import Conflict, InvalidRequest, NetcoreError, NotFound
from netcore.kernel import host
from netcore.model import Network, NetworkId, NetworkRequest, PluginOptions, Pool
from netcore.plan import ipam, pools
from netcore.plan import network as plan_network
from netcore.plugins import messages
from netcore.store.protocol import CompareFailed

_OVERLAY_ATTEMPTS, _OVERLAY_PAUSE = 5, 0.2


class Networks(Overlays):
    """Operations on networks."""

    async def create_network(self, request: NetworkRequest, *, dry_run: bool = False) -> tuple[Network, Outcome]:
        """Create a network; it is usable when this returns."""
        if request.driver == "overlay":
            return await self._create_overlay(request, dry_run=dry_run)
        async with self._locks.hold(["networks"]):
            facts = await self.look_at_host()
            around, existing = self._surroundings(facts), [*self.networks.values()]
            plugin = await self._introduce(request)
            plan = plan_network.prepare(request, existing, around, NetworkId(secrets.token_hex(32)), plugin)
            kinds = drivers.link_kinds(plan.network)
            if kinds:
                await self.kernel(lambda: host.check_link_kinds(kinds))
            network = await self._with_pools(request, plan, existing, around)
            steps = diff((), drivers.only_of(network, existing, self.facts))
            if dry_run:
                await self._give_pools(network)
                return network, Outcome(steps)
            try:
                await self._make(network, steps)
            except BaseException:
                await self._give_pools(network)
                raise
            self.adopt_network(network)
            await self._directory.network_up(network)
            return network, Outcome(steps)

    async def _create_overlay(self, request: NetworkRequest, *, dry_run: bool) -> tuple[Network, Outcome]:
        """Make a network known to all hosts. It is made on a host when the first endpoint there is."""
        cluster = self.the_cluster()
        for left in reversed(range(_OVERLAY_ATTEMPTS)):
            async with self._locks.hold(["networks"]):
                around = replace(self._surroundings(await self.look_at_host()), pools4=ipam.OVERLAY_POOLS4)
                plan = plan_network.prepare(request, [*self.networks.values()], around, NetworkId(secrets.token_hex(32)))
                kinds = drivers.link_kinds(plan.network)
                await self.kernel(lambda kinds=kinds: host.check_link_kinds(kinds))  # type: ignore[misc]
                await self.check_encryption(plan.network)
                network = await self._with_pools(request, plan, [*self.networks.values()], around)
                if dry_run:
                    return network, Outcome(())
                try:
                    await cluster.create_network(network)
                except CompareFailed:
                    # Another host made one at the same time: what is free is another thing now.
                    if not left:
                        raise
                else:
                    self.adopt_network(network)
                    return network, Outcome(())
            await asyncio.sleep(_OVERLAY_PAUSE)
        raise AssertionError("unreachable")

    async def _make(self, network: Network, steps: Sequence[Step]) -> None:
        """Make *network*, by its plugin if it has one, and record it."""
        await self._records.put_network(network, pending=True)
        try:
            if isinstance(network.driver_options, PluginOptions):
                await self.network_plugins.create_network(network.driver_options.plugin, network)
            await self.kernel(lambda: self.executor.apply(steps))
        except BaseException:
            await self._records.drop_network(network)
            raise
        await self._records.put_network(network)

    async def _introduce(self, request: NetworkRequest) -> PluginOptions | None:
        """Return what the driver's plugin says of itself; None for a driver of ours."""
        name = plan_network.plugin_of(request.driver)
        if not name:
            return None
        ipv4, ipv6 = request.ipv4 is not False, bool(request.ipv6)
        options = messages.network_options(dict(request.options), internal=request.internal, ipv4=ipv4, ipv6=ipv6)
        try:
            return await self.network_plugins.capabilities(name, options)
        except NotFound as error:
            known = ", ".join(plan_network.DRIVERS)
            raise InvalidRequest("driver", f"{request.driver!r} is not one of {known}, and there is {error}") from error

    async def _with_pools(
        self, request: NetworkRequest, plan: plan_network.Plan, existing: Sequence[Network], around: plan_network.Surroundings
    ) -> Network:
        """Return the planned network with pools of ours, or of the IPAM plugin that was asked for."""
        if request.ipam_driver == "default":
            if request.ipam_options:
                raise InvalidRequest("ipam-opt", "the default IPAM driver has no options")
            return plan.with_pools(pools.plan_pools(plan.drafts, plan.wanted, existing, around))
        name, driver = request.ipam_driver.removeprefix(plan_network.PLUGIN_PREFIX), plan.wanted.driver
        scope = driver.scope if isinstance(driver, PluginOptions) else "local"
        source = await self.ipam_plugins.capabilities(name, dict(request.ipam_options), scope)
        made: list[Pool] = []
        try:
            for draft in plan.drafts:
                gateway = pools.wants_gateway(draft.family, plan.wanted)
                made.append(await self.ipam_plugins.request_pool(source, draft.family, draft.wish(), gateway=gateway))
                pools.check_overlap(made[-1].subnet, made[-1].ip_range, driver, existing, made[:-1])
            return plan.with_pools(made, source)
        except BaseException:
            await self._give_pools(plan.with_pools(made, source))
            raise

    async def _give_pools(self, network: Network) -> None:
        for pool in network.pools if network.ipam is not None else ():
            assert network.ipam is not None
            await self.ipam_plugins.release_pool(network.ipam, pool)

    async def unmake_network(self, network: Network) -> None:
        """Take back what plugins made for a network whose making a crash cut short, as far as they let us."""
        with contextlib.suppress(NetcoreError):
            if isinstance(network.driver_options, PluginOptions):
                await self.network_plugins.delete_network(network.driver_options.plugin, network)
        await self._give_pools(network)

    def _surroundings(self, facts: host.HostFacts) -> plan_network.Surroundings:
        own = {drivers.own_link(network) for network in self.networks.values()}
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
            tunnel_overhead=70 if self.settings.vtep is not None and self.settings.vtep.version == 6 else 50,
        )

    async def remove_network(self, reference: str, *, dry_run: bool = False) -> Outcome:
        """Remove a network that has no endpoints."""
        if reference in plan_network.PREDEFINED or not self.find_network(reference).has_names:
            raise Conflict("network", reference, "is a pre-defined network and cannot be removed")
        return await self._remove_network(self.find_network(reference), dry_run=dry_run)

    async def remove_unused_bridges(self) -> None:
        """Remove the predefined networks that nobody is on; they are made again on first need, as configured then."""
        for network in [item for item in self.networks.values() if not item.has_names and not self.members(item.id)]:
            await self._remove_network(network)

    async def _remove_network(self, network: Network, *, dry_run: bool = False) -> Outcome:
        async with self._locks.hold(["networks", f"network:{network.id}"]):
            network = self.find_network(network.id)
            members = self.members(network.id)
            if members:
                listed = ", ".join(f'name:"{sandbox.name}" id:"{sandbox.short_id}"' for sandbox, _ in members)
                raise Conflict("network", network.name, f"has active endpoints ({listed}); disconnect them first")
            if network.is_overlay:
                if not dry_run:
                    await self.the_cluster().remove_network(network)
                    self.networks.pop(network.id, None)
                return Outcome(())
            steps = diff(drivers.only_of(network, self.networks.values(), self.facts), ())
            if dry_run:
                return Outcome(steps)
            if isinstance(network.driver_options, PluginOptions):
                # Nothing of it is ours: while its plugin refuses, or is not there, the network stays.
                await self.network_plugins.delete_network(network.driver_options.plugin, network)
            await self._directory.network_down(network)
            await self._records.put_network(network, pending=True)
            del self.networks[network.id]
            self._addresses.drop(network)
            try:
                await self.kernel(lambda: self.executor.remove(steps, f"network {network.name}"))
            finally:
                await self._records.drop_network(network)
                await self._give_pools(network)
            return Outcome(steps)
