"""Addresses of overlay networks: this host's pools, in which the addresses of all hosts are taken. Pure.

A pool proposes the next address; whether it is this host's is decided in the store, where several hosts may try the same one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from netcore.errors import Conflict, InvalidRequest
from netcore.model import IPAddress, Network, NetworkId
from netcore.plan.ipam import AddressPool


class SharedPools:
    """The pools of overlay networks, each made when it is first needed. Single owner."""

    def __init__(self) -> None:
        self._pools: dict[NetworkId, tuple[AddressPool, ...]] = {}

    def pool(self, network: Network, family: int, in_use: Iterable[IPAddress]) -> AddressPool:
        """Return the pool of *network* in *family*. *in_use*: the addresses that any host uses, read if the pool is new."""
        if network.id not in self._pools:
            self._pools[network.id] = tuple(AddressPool(pool, network.name) for pool in network.pools)
            for address in in_use:
                self.take(network.id, address)
        return next(pool for pool in self._pools[network.id] if pool.pool.subnet.version == family)

    def take(self, network_id: NetworkId, address: IPAddress) -> None:
        """Keep *address*, which some host uses, from being proposed; it may be taken already."""
        for pool in self._containing(network_id, address):
            with contextlib.suppress(Conflict, InvalidRequest):
                pool.reserve(address, field="address")

    def release(self, network_id: NetworkId, address: IPAddress, now: float) -> None:
        """Let *address*, which no host uses any more, be proposed again after its time in quarantine."""
        for pool in self._containing(network_id, address):
            pool.release(address, now)

    def forget(self, network_id: NetworkId) -> None:
        """Drop the pools of a network that is gone."""
        self._pools.pop(network_id, None)

    def clear(self) -> None:
        """Drop all pools: they are made again from what is in use then."""
        self._pools.clear()

    def _containing(self, network_id: NetworkId, address: IPAddress) -> list[AddressPool]:
        return [pool for pool in self._pools.get(network_id, ()) if address in pool.pool.subnet]
