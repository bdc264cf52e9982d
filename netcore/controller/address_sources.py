"""Where an endpoint's addresses come from: berth's own pools, the network's IPAM plugin, or for overlays all hosts together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from netcore import limits
from netcore.cluster.cluster import Cluster
from netcore.controller.local_addresses import LocalAddresses
from netcore.errors import NetcoreError
from netcore.model import Endpoint, IPAddress, IPNetwork, Network
from netcore.plan.host_state import HostState
from netcore.plan.plans import AddressClaim
from netcore.plugins.ipam_driver import IpamDriver
from netcore.store.records import Quarantined, Records

log = logging.getLogger(__name__)


class AddressSources:
    """See the module. *cluster*: the hosts that share overlay networks, None on a host that is alone."""

    def __init__(
        self,
        state: HostState,
        records: Records,
        plugins: IpamDriver,
        cluster: Callable[[], Cluster | None],
        clock: Callable[[], float],
    ) -> None:
        self._state = state
        self._records = records
        self._plugins = plugins
        self._cluster = cluster
        self._clock = clock
        self.local = LocalAddresses(clock)

    def adopt(self, network: Network, *, is_new: bool = False) -> None:
        """Make the pools of *network* ready, nothing but gateways and auxiliary addresses taken. *is_new*: it had no endpoints yet."""
        if not network.is_overlay:
            self.local.adopt(network, is_new=is_new)

    def drop(self, network: Network) -> None:
        """Forget the pools of a network that has no endpoints."""
        self.local.drop(network)

    async def take(self, claim: AddressClaim) -> IPAddress:
        """Take the address that *claim* asks for, or one that is free."""
        network, cluster = claim.network, self._cluster()
        if network.is_overlay and cluster is not None:
            return await cluster.take_address(network, claim.family, claim.wish)
        if network.ipam is None:
            return self.local.take(network, claim.family, claim.wish)
        pools = [pool for pool in network.pools if pool.subnet.version == claim.family]
        pool = next((pool for pool in pools if claim.wish is not None and claim.wish in pool.subnet), pools[0])
        return await self._plugins.request_address(network.ipam, pool, claim.wish, mac=claim.mac)

    async def peek(self, claim: AddressClaim) -> IPAddress | None:
        """Return what `take` would return now, without taking it; None where only a plugin knows."""
        network, cluster = claim.network, self._cluster()
        if network.is_overlay and cluster is not None:
            return await cluster.peek_address(network, claim.family, claim.wish)
        return self.local.peek(network, claim.family, claim.wish) if network.ipam is None else claim.wish

    async def give_back(self, network: Network, address: IPAddress) -> None:
        """Undo a `take` that nothing came of."""
        cluster = self._cluster()
        if network.is_overlay:
            if cluster is not None:
                await cluster.give_address(network.id, address)
        elif network.ipam is None:
            self.local.give_back([(network.id, address)])
        else:
            await self._give_to_plugin(network, address)

    async def release(self, endpoints: Iterable[Endpoint]) -> list[Quarantined]:
        """Give the addresses of *endpoints* back; return our own, which are not handed out again for a while: to be recorded."""
        gone, cluster = [*endpoints], self._cluster()
        until = self._clock() + limits.ADDRESS_QUARANTINE
        resting = [Quarantined(network_id, address, until) for network_id, address in self.local.release(gone)]
        for endpoint in gone:
            network = self._state.networks[endpoint.network_id]
            for address in endpoint.addresses():
                if network.is_overlay and cluster is not None:
                    await cluster.give_address(network.id, address)
                elif network.ipam is not None:
                    await self._give_to_plugin(network, address)
        return resting

    def rest_here(self, endpoints: Iterable[Endpoint]) -> bool:
        """Return whether all addresses of *endpoints* are handed out by this host alone, so that it has them rest."""
        networks = [self._state.networks.get(endpoint.network_id) for endpoint in endpoints]
        return all(network is not None and network.ipam is None and not network.is_overlay for network in networks)

    async def quarantine(self, endpoints: Iterable[Endpoint]) -> None:
        """Do not hand out the addresses for a while that *endpoints* of the last run had, unless somebody has them again."""
        until = self._clock() + limits.ADDRESS_QUARANTINE
        resting = []
        for endpoint in endpoints:
            if self.rest_here([endpoint]):
                for address in endpoint.addresses():
                    self.local.quarantine(endpoint.network_id, address, until)
                    resting.append(Quarantined(endpoint.network_id, address, until))
        if resting:
            await self._records.put_resting(resting)

    async def give_to_plugins(self, endpoints: Iterable[Endpoint]) -> None:
        """Give those addresses of *endpoints* back that IPAM plugins hand out."""
        for endpoint in endpoints:
            network = self._state.networks.get(endpoint.network_id)
            if network is not None and network.ipam is not None:
                for address in endpoint.addresses():
                    await self._give_to_plugin(network, address)

    async def _give_to_plugin(self, network: Network, address: IPAddress) -> None:
        pool = network.pool_of(address)
        if network.ipam is not None and pool is not None:
            try:
                await self._plugins.release_address(network.ipam, pool, address)
            except NetcoreError as error:
                log.warning("plugin did not release an address network=%s address=%s reason=%s", network.name, address, error)

    async def replay(self) -> None:
        """Tell IPAM plugins that forget with our restart what is in use (RequiresRequestReplay)."""
        for network in self._state.networks.values():
            if network.ipam is not None and network.ipam.needs_replay:
                addresses = [address for _, endpoint in self._state.members(network.id) for address in endpoint.addresses()]
                try:
                    await self._plugins.replay(network.ipam, network.pools, addresses)
                except NetcoreError as error:
                    log.warning("plugin was not told again which addresses are in use network=%s reason=%s", network.name, error)

    def usage(self, network: Network, shared: Iterable[IPAddress] = ()) -> dict[IPNetwork, int]:
        """Return how many addresses of each subnet of *network* are in use. *shared*: those of an overlay network on all hosts."""
        if network.is_overlay:
            taken = [*shared]
        elif network.ipam is None:
            return self.local.usage(network)
        else:
            taken = [address for _, endpoint in self._state.members(network.id) for address in endpoint.addresses()]
        return {pool.subnet: sum(address in pool.subnet for address in [*taken, *pool.reserved()]) for pool in network.pools}
