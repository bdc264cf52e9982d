"""Addresses of overlay networks, of which no two hosts may have the same one."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable

from netcore import limits
from netcore.cluster import state as records
from netcore.cluster.announcements import Announcements
from netcore.cluster.shared_pools import SharedPools
from netcore.cluster.state import ClusterState
from netcore.errors import Conflict, Exhausted, Unavailable
from netcore.model import IPAddress, Network, NetworkId
from netcore.store.protocol import CompareFailed


class SharedAddresses:
    """A pool proposes the next address, and the store decides. *clock*: for addresses in quarantine."""

    def __init__(self, state: ClusterState, announcements: Announcements, clock: Callable[[], float]) -> None:
        self._state = state
        self._announcements = announcements
        self._clock = clock
        self._pools = SharedPools()

    async def take(self, network: Network, family: int, wish: IPAddress | None) -> IPAddress:
        """Take *wish*, or a free address, for no other host to have; Conflict, Exhausted, InvalidRequest, Unavailable."""
        field = "ip" if family == 4 else "ip6"
        network_key = records.network_key(network.id)
        for _ in range(limits.ADDRESS_ATTEMPTS):
            pool = self._pools.pool(network, family, self._state.addresses.get(network.id, ()))
            if wish is not None:
                pool.reserve(wish, field=field)
            address = wish or pool.allocate(self._clock())
            key = records.address_key(network.id, address)
            try:
                is_ours = await self._announcements.claim(key, {network_key: self._state.revisions.get(network_key, 0)})
            except CompareFailed as error:
                pool.give_back(address)
                if network.id not in self._state.networks:
                    raise Conflict("network", network.name, "was removed meanwhile") from error
                continue
            except BaseException:
                pool.give_back(address)
                raise
            if is_ours:
                return address
            if wish is not None:
                raise Conflict("address", str(wish), because=f"address already in use on network {network.name}")
            # Another host was first; the pool keeps the address as taken and proposes the next.
        attempts = limits.ADDRESS_ATTEMPTS
        raise Exhausted("network", network.name, because=f"no address could be had in {attempts} attempts: other hosts were first")

    def peek(self, network: Network, family: int, wish: IPAddress | None) -> IPAddress:
        """Return what `take` would ask for now; nothing is taken and no other host is asked."""
        pool = copy.deepcopy(self._pools.pool(network, family, self._state.addresses.get(network.id, ())))
        if wish is None:
            return pool.allocate(self._clock())
        pool.reserve(wish, field="ip" if family == 4 else "ip6")
        return wish

    async def give(self, network_id: NetworkId, address: IPAddress) -> None:
        """Give an address back to all hosts; it stays this host's while the store can't be reached."""
        key = records.address_key(network_id, address)
        self._announcements.release(key)
        with contextlib.suppress(Unavailable, CompareFailed):
            await self._announcements.settle(key)

    def note(self, network_id: NetworkId, address: IPAddress, *, taken: bool) -> None:
        """Note that some host has taken or given back an address."""
        if taken:
            self._pools.take(network_id, address)
        else:
            self._pools.release(network_id, address, self._clock())

    def begin_anew(self, network_id: NetworkId) -> None:
        """Make the pools of a network again from what is in use, when they are needed next."""
        self._pools.forget(network_id)
