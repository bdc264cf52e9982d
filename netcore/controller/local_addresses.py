"""The addresses that berth itself hands out on this host: which are taken, in quarantine, free."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable

from netcore.errors import Exhausted
from netcore.model import Endpoint, IPAddress, IPNetwork, Network, NetworkId
from netcore.plan import ipam

Taken = tuple[NetworkId, IPAddress]
"""(network id, address)."""


class LocalAddresses:
    """See the module. *clock*: seconds since the epoch, for addresses in quarantine."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pools: dict[NetworkId, tuple[ipam.AddressPool, ...]] = {}
        # Networks on parents may share a subnet: an address is taken for all of them.
        self._taken: dict[IPNetwork, set[int]] = {}
        self._users: Counter[IPNetwork] = Counter()

    def adopt(self, network: Network, *, is_new: bool = False) -> None:
        """Take the pools of *network* into the state, nothing but gateways and auxiliary addresses taken.

        *is_new*: it had no endpoints yet.
        """
        if network.ipam is not None:
            # A plugin hands its addresses out.
            return
        self._users.update(pool.subnet for pool in network.pools)
        before = self._pools.get(network.id, ())
        self._pools[network.id] = tuple(
            ipam.AddressPool(pool, network.name, self._taken.setdefault(pool.subnet, set()), is_new=is_new) for pool in network.pools
        )
        self._forget_subnets(before)

    def drop(self, network: Network) -> None:
        """Forget the pools of a network that has no endpoints."""
        gone = self._pools.pop(network.id, ())
        for pool in gone:
            pool.close()
        self._forget_subnets(gone)

    def _forget_subnets(self, gone: Iterable[ipam.AddressPool]) -> None:
        for pool in gone:
            subnet = pool.pool.subnet
            self._users[subnet] -= 1
            if not self._users[subnet]:
                del self._users[subnet], self._taken[subnet]

    def take(self, network: Network, family: int, wish: IPAddress | None) -> IPAddress:
        """Take *wish*, or the next free address of *family*; Conflict, InvalidRequest or Exhausted if there is none."""
        pools = [pool for pool in self._pools[network.id] if pool.pool.subnet.version == family]
        if wish is not None:
            subnet = ipam.containing(network, wish).subnet
            next(pool for pool in pools if pool.pool.subnet == subnet).reserve(wish, field=ipam.field_of(wish))
            return wish
        for pool in pools[:-1]:
            try:
                return pool.allocate(self._clock())
            except Exhausted:
                continue
        return pools[-1].allocate(self._clock())

    def peek(self, network: Network, family: int, wish: IPAddress | None) -> IPAddress:
        """Return what `take` would return now; nothing is taken."""
        return copy.deepcopy(self).take(network, family, wish)

    def is_fresh(self, network_id: NetworkId, address: IPAddress) -> bool:
        """Return whether *address*, which is taken, was nobody's before."""
        pool = self._pool(network_id, address)
        return pool is not None and pool.is_fresh(address)

    def give_back(self, taken: Iterable[Taken]) -> None:
        """Undo allocations that never took effect."""
        for network_id, address in taken:
            pool = self._pool(network_id, address)
            if pool is not None:
                pool.give_back(address)

    def release(self, endpoints: Iterable[Endpoint]) -> list[Taken]:
        """Give the addresses of *endpoints* back and return them; they stay in quarantine before they are handed out again."""
        released = []
        for endpoint in endpoints:
            for address in endpoint.addresses():
                pool = self._pool(endpoint.network_id, address)
                if pool is not None:
                    pool.release(address, self._clock())
                    released.append((endpoint.network_id, address))
        return released

    def restore(self, endpoint: Endpoint) -> None:
        """Take the addresses of an endpoint that survived."""
        for address in endpoint.addresses():
            pool = self._pool(endpoint.network_id, address)
            if pool is not None:
                pool.reserve(address, field="address")

    def quarantine(self, network_id: NetworkId, address: IPAddress, until: float) -> None:
        """Keep a released address in quarantine, also after a restart."""
        pool = self._pool(network_id, address)
        if pool is not None:
            pool.quarantine(address, until)

    def usage(self, network: Network) -> dict[IPNetwork, int]:
        """Return how many addresses of each subnet of *network* are in use."""
        return {pool.pool.subnet: pool.in_use() for pool in self._pools.get(network.id, ())}

    def _pool(self, network_id: NetworkId, address: IPAddress) -> ipam.AddressPool | None:
        return next((pool for pool in self._pools.get(network_id, ()) if address in pool.pool.subnet), None)
