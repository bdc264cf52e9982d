"""From a request for a network to its plan: the host is looked at, plugins are asked, pools are chosen."""

from __future__ import annotations

import secrets
from dataclasses import replace

from netcore import drivers
from netcore.controller.collaborators import Collaborators
from netcore.controller.undo import Undo
from netcore.drivers.facts import HostConstraints
from netcore.errors import InvalidRequest, NotFound
from netcore.model import Network, NetworkId, NetworkRequest, PluginIpam, PluginOptions, Pool
from netcore.plan import ipam, pools
from netcore.plan import network as plan_network
from netcore.plan.plans import NetworkPlan, Outcome, PoolClaim
from netcore.plugins import messages


class NetworkPlanner:
    """See the module. Its callers hold the lock of all networks."""

    def __init__(self, parts: Collaborators) -> None:
        self._parts = parts
        self._state = parts.state

    async def plan(self, request: NetworkRequest, undo: Undo) -> NetworkPlan:
        """Return the plan for *request*; pools of an IPAM plugin are claimed, which *undo* gives back."""
        draft, host = await self._draft(request)
        source = await self._ipam_plugin(request, draft)
        network = await self._claim_pools(draft, source, undo) if source is not None else self._own_pools(draft, host)
        warnings = plan_network.check_subnets(network, host.routes)
        return NetworkPlan(network=network, objects=self._state.objects_only_of(network), warnings=warnings)

    async def preview(self, request: NetworkRequest) -> tuple[Network, Outcome]:
        """Return what `plan` would lead to; plugins are asked what they can do, but for nothing of theirs."""
        draft, host = await self._draft(request)
        source = await self._ipam_plugin(request, draft)
        claims: tuple[PoolClaim, ...] = ()
        if source is None:
            network = self._own_pools(draft, host)
        else:
            claims = tuple(PoolClaim(request.name, wish.family, source.plugin) for wish in draft.pool_requests)
            network = replace(draft.network, ipam=source)
        warnings = plan_network.check_subnets(network, host.routes)
        if network.is_overlay:
            # It is made on a host with the first endpoint there.
            return network, Outcome(claims, warnings)
        plan = NetworkPlan(network=network, objects=self._state.objects_only_of(network))
        return network, Outcome((*claims, *plan.steps(), *self._parts.uplinks.preview(network)), warnings)

    async def _draft(self, request: NetworkRequest) -> tuple[plan_network.NetworkDraft, HostConstraints]:
        host = await self._parts.host.constraints()
        if request.driver == "overlay":
            self._parts.overlays.require_cluster()
            host = replace(host, pools4=ipam.OVERLAY_POOLS4)
        identity = NetworkId(secrets.token_hex(32))
        plugin: PluginOptions | InvalidRequest | None
        try:
            plugin = await self._network_plugin(request)
        except InvalidRequest as error:
            # Refused with everything else that is wrong.
            plugin = error
        draft = plan_network.prepare(request, self._state.indexes.known, host, identity, plugin)
        await self._parts.host.check_link_kinds(draft.network)
        await self._parts.overlays.encryption.check(draft.network)
        return draft, host

    def _own_pools(self, draft: plan_network.NetworkDraft, host: HostConstraints) -> Network:
        return draft.with_pools(pools.plan_pools(draft.pool_requests, draft.network, self._state.indexes.known, host))

    async def _network_plugin(self, request: NetworkRequest) -> PluginOptions | None:
        """Return what the driver's plugin says of itself; None for a driver of ours."""
        name = plan_network.plugin_of(request.driver)
        if name is None:
            return None
        ipv4, ipv6 = request.ipv4 is not False, bool(request.ipv6)
        options = messages.network_options(dict(request.options), internal=request.internal, ipv4=ipv4, ipv6=ipv6)
        try:
            return await self._parts.network_plugins.capabilities(name, options)
        except NotFound as error:
            known = ", ".join(drivers.names())
            raise InvalidRequest("driver", f"{request.driver!r} is not one of {known}, and there is {error}") from error

    async def _ipam_plugin(self, request: NetworkRequest, draft: plan_network.NetworkDraft) -> PluginIpam | None:
        """Return what the IPAM plugin says of itself; None where berth hands out the addresses."""
        if request.ipam_driver == "default":
            return None
        scope = drivers.of(draft.network).scope(draft.network) if plan_network.plugin_of(request.driver) is not None else "local"
        name = request.ipam_driver.removeprefix(plan_network.PLUGIN_PREFIX)
        return await self._parts.ipam_plugins.capabilities(name, dict(request.ipam_options), scope)

    async def _claim_pools(self, draft: plan_network.NetworkDraft, source: PluginIpam, undo: Undo) -> Network:
        made: list[Pool] = []

        async def give_back() -> None:
            for pool in made:
                await self._parts.ipam_plugins.release_pool(source, pool)

        undo.push(give_back)
        for wish in draft.pool_requests:
            gateway = pools.wants_gateway(wish.family, draft.network)
            made.append(await self._parts.ipam_plugins.request_pool(source, wish.family, wish.exact_pool(), gateway=gateway))
            pools.check_overlap(made[-1].subnet, made[-1].ip_range, drivers.of(draft.network), self._state.indexes.known, made[:-1])
        return draft.with_pools(made, source)
