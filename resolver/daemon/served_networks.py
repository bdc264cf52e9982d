"""The networks whose names are served here, by id, and what all of them together are.

One that comes or goes costs the same beside any number of others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from netcore.model import Network, NetworkId
from resolver.daemon import names_of_others
from resolver.daemon.gateway_resolver import GatewayResolver
from resolver.engine.rebinding import OwnNetworks
from resolver.zone.known_zones import KnownZones
from resolver.zone.subnets import Subnets


class ServedNetworks(dict[NetworkId, GatewayResolver]):
    """See the module. It is changed by `put` and `drop` only.

    *subnets*, *own*: the subnets of all of them. *zones*: their zones. *by_name*: the networks. *addresses*: of their gateways.
    """

    def __init__(self) -> None:
        super().__init__()
        self.subnets = Subnets()
        self.own = OwnNetworks()
        self.zones = KnownZones()
        self.by_name: dict[str, Network] = {}
        # An overlay may have the name of a network of this host.
        self._named: dict[str, dict[NetworkId, Network]] = {}
        self._addresses: Counter[str] = Counter()
        self.addresses = self._addresses.keys()
        self._wanted_names: Counter[str] = Counter()

    def put(self, gateway: GatewayResolver) -> None:
        """Serve the names of one more network."""
        network = gateway.network
        self[network.id] = gateway
        self.zones.add(gateway.zone)
        self._named.setdefault(network.name, {})[network.id] = network
        self.by_name[network.name] = network
        self._addresses.update(gateway.addresses)
        self._wanted_names.update({*network.common.names_from})
        for pool in network.pools:
            self.subnets.add(pool.subnet)
            self.own.add(pool.subnet)

    def drop(self, network_id: NetworkId) -> GatewayResolver | None:
        """Serve the names of a network no longer; return what served them, None if there is nothing."""
        gateway = self.pop(network_id, None)
        if gateway is None:
            return None
        network = gateway.network
        self.zones.discard(gateway.zone)
        others = self._named[network.name]
        del others[network.id]
        if others:
            self.by_name[network.name] = next(reversed(others.values()))
        else:
            del self._named[network.name], self.by_name[network.name]
        _take(self._addresses, gateway.addresses)
        _take(self._wanted_names, {*network.common.names_from})
        for pool in network.pools:
            self.subnets.discard(pool.subnet)
            self.own.discard(pool.subnet)
        return gateway

    def whose_names_are_found_on(self, networks: Sequence[Network]) -> list[GatewayResolver]:
        """Return those that are none of *networks*, and whose names are found by who is on these."""
        return [self[network.id] for network in names_of_others.found_on(networks, self.by_name)]

    def names_are_wanted_of(self, changed: Sequence[GatewayResolver]) -> bool:
        """Return whether a network has an option that names one of those *changed*, which came or went."""
        return any(gateway.network.name in self._wanted_names for gateway in changed)


def _take(counts: Counter[str], gone: Iterable[str]) -> None:
    for text in gone:
        counts[text] -= 1
        if not counts[text]:
            del counts[text]
