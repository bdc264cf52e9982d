"""What third-party plugins have a part in: addresses, the making and leaving of endpoints, the way outside."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from netcore import limits
from netcore.controller.addresses import Taken
from netcore.controller.overlays import Overlays
from netcore.errors import NetcoreError
from netcore.model import Endpoint, EndpointRequest, IPAddress, Network, PluginOptions, Sandbox
from netcore.plan import endpoint as plan_endpoint
from netcore.plan import gateway

log = logging.getLogger(__name__)


class WithPlugins(Overlays):
    """The parts of operations on endpoints that a plugin may do."""

    # --- addresses ----------------------------------------------------------------------------------------------

    async def _take(self, network: Network, family: int, wish: IPAddress | None, mac: str) -> IPAddress:
        """Take *wish*, or an address that is free, from ours or from the network's IPAM plugin."""
        if network.is_overlay:
            return await self.the_cluster().take_address(network, family, wish)
        if network.ipam is None:
            return self._addresses.take(network, family, wish)
        pools = [pool for pool in network.pools if pool.subnet.version == family]
        pool = next((pool for pool in pools if wish is not None and wish in pool.subnet), pools[0])
        return await self.ipam_plugins.request_address(network.ipam, pool, wish, mac=mac)

    async def _give_back(self, taken: Iterable[Taken]) -> None:
        """Undo what `_take` did, where nothing came of it."""
        for network_id, address in taken:
            network = self.networks[network_id]
            if network.is_overlay:
                await self.the_cluster().give_address(network_id, address)
            elif network.ipam is None:
                self._addresses.give_back([(network_id, address)])
            else:
                await self._give_to_plugin(network, address)

    async def _give_to_plugin(self, network: Network, address: IPAddress) -> None:
        pool = network.pool_of(address)
        if network.ipam is not None and pool is not None:
            try:
                await self.ipam_plugins.release_address(network.ipam, pool, address)
            except NetcoreError as error:
                log.warning("address was not given back network=%s address=%s reason=%s", network.name, address, error)

    async def _release(self, endpoints: Iterable[Endpoint]) -> None:
        """Give the addresses of *endpoints* back; ours rest before they are handed out again."""
        gone = [*endpoints]
        until = self._clock() + limits.ADDRESS_QUARANTINE
        for network_id, address in self._addresses.release(gone):
            await self._records.put_quarantined(network_id, address, until)
        for endpoint in gone:
            network = self.networks[endpoint.network_id]
            for address in endpoint.addresses():
                if network.is_overlay and self.cluster is not None:
                    await self.cluster.give_address(network.id, address)
                elif network.ipam is not None:
                    await self._give_to_plugin(network, address)

    # --- endpoints ----------------------------------------------------------------------------------------------

    def _plugin(self, endpoint: Endpoint) -> str:
        """Return the plugin that made *endpoint*, "" for one of ours."""
        options = self.networks[endpoint.network_id].driver_options
        return options.plugin if isinstance(options, PluginOptions) else ""

    async def _make_by_plugins(
        self,
        sandbox: Sandbox,
        endpoints: Sequence[Endpoint],
        requests: Mapping[str, EndpointRequest],
        used: Collection[str],
        made: list[Endpoint],
    ) -> tuple[Endpoint, ...]:
        """Return *endpoints* with what plugins answered for the new ones, which are added to *made* as they come.

        *requests*: of the new ones, by network id. *used*: names that links of ours have.
        """
        result: list[Endpoint] = []
        for item in endpoints:
            plugin = self._plugin(item) if item.network_id in requests else ""
            if not plugin:
                result.append(item)
                continue
            request = requests[item.network_id]
            options = plan_endpoint.plugin_options(request)
            joined = await self.network_plugins.create_and_join(plugin, sandbox, item, options)
            made.append(joined.endpoint)
            others = {*used, *(other.ifname for other in endpoints if other is not item), *(other.ifname for other in result)}
            ifname = plan_endpoint.link_name(sandbox, request.ifname or joined.ifname or "", joined.ifname_prefix or "", others)
            result.append(replace(joined.endpoint, ifname=ifname))
        return tuple(result)

    async def _turn_outside(self, sandbox: Sandbox, before: Sequence[Endpoint], after: Sequence[Endpoint]) -> None:
        """Tell plugins which of their endpoints lead outside from now on, and which no more."""
        old, new = self._ways_out(before), self._ways_out(after)
        there = {item.id for item in after}
        for identity, item in old.items():
            if identity not in new and identity in there:
                await self.network_plugins.revoke_external_connectivity(self._plugin(item), item)
        for identity, item in new.items():
            if identity not in old:
                await self.network_plugins.program_external_connectivity(self._plugin(item), item, sandbox)

    def _ways_out(self, endpoints: Sequence[Endpoint]) -> dict[str, Endpoint]:
        chosen = gateway.gateway_endpoints(endpoints, self.networks)
        return {item.id: item for item in chosen if item is not None and self._plugin(item)}

    async def _take_leave(self, endpoints: Sequence[Endpoint], all_of_them: Sequence[Endpoint]) -> list[str]:
        """Tell plugins that the sandbox leaves *endpoints*, before their links go; return what failed."""
        out, reasons = self._ways_out(all_of_them), []
        for item in endpoints:
            plugin = self._plugin(item)
            if plugin:
                steps = [self.network_plugins.revoke_external_connectivity] if item.id in out else []
                for step in (*steps, self.network_plugins.leave):
                    try:
                        await step(plugin, item)
                    except NetcoreError as error:
                        reasons.append(str(error))
        return reasons

    async def _delete_by_plugins(self, endpoints: Sequence[Endpoint]) -> list[str]:
        """Let plugins remove what they made for *endpoints*; return what failed."""
        reasons = []
        for item in endpoints:
            plugin = self._plugin(item)
            if plugin:
                try:
                    await self.network_plugins.delete_endpoint(plugin, item)
                except NetcoreError as error:
                    reasons.append(str(error))
        return reasons

    async def unmake(self, endpoints: Sequence[Endpoint]) -> None:
        """Take back what plugins made for *endpoints*, as far as they let us: after a failure, or a crash."""
        for reason in [*await self._take_leave(endpoints, ()), *await self._delete_by_plugins(endpoints)]:
            log.warning("plugin did not take back reason=%s", reason)

    async def replay(self) -> None:
        """Tell IPAM plugins that forget with our restart what is in use (RequiresRequestReplay)."""
        for network in self.networks.values():
            if network.ipam is not None and network.ipam.needs_replay:
                addresses = [address for _, endpoint in self.members(network.id) for address in endpoint.addresses()]
                try:
                    await self.ipam_plugins.replay(network.ipam, network.pools, addresses)
                except NetcoreError as error:
                    log.warning("addresses were not asked for again network=%s reason=%s", network.name, error)

    async def told_by_plugins(self, sandbox: Sandbox) -> dict[str, dict[str, Any]]:
        """Return network id → what its plugin tells of the endpoint of *sandbox*."""
        result: dict[str, dict[str, Any]] = {}
        for item in self.endpoints[sandbox.id]:
            if self._plugin(item):
                with contextlib.suppress(NetcoreError):
                    result[item.network_id] = await self.network_plugins.endpoint_information(self._plugin(item), item)
        return result
