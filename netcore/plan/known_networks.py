"""The networks of a host by what a new one may not have too, and by their links: so nobody goes through all of them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from netcore import drivers
from netcore.drivers.protocol import AttachedLink
from netcore.errors import Unavailable
from netcore.model import IPNetwork, Network, NetworkId, Owner
from netcore.plan.index import Index
from netcore.plan.taken_subnets import TakenSubnets


class KnownNetworks(Collection[Network]):
    """See the module, and `drivers.protocol.ExistingNetworks`. *own_links*: links of the host that exist for the sake of networks.

    *no_longer_own*: those that were own links since somebody emptied it, and are no longer. *routed_links*: by network, of those
    whose packets the host routes to the outside.
    """

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._networks: dict[NetworkId, Network] = {}
        self._names: Index[NetworkId, str] = Index()
        self._drivers: Index[NetworkId, str] = Index()
        self._links: Index[NetworkId, str] = Index()
        self._owners: Index[NetworkId, Owner] = Index()
        self._made: dict[NetworkId, str] = {}
        self._counts: Counter[str] = Counter()
        self.subnets = TakenSubnets()
        self.own_links: Collection[str] = self._counts.keys()
        self.no_longer_own: set[str] = set()
        self.routed_links: dict[NetworkId, str] = {}
        for network in networks:
            self.put(network)

    def put(self, network: Network) -> None:
        """Note that *network* exists, as it is now."""
        self._forget_own_link(network.id)
        self._networks[network.id] = network
        self._names.put(network.id, network.name)
        self._drivers.put(network.id, network.driver)
        self._owners.drop(network.id)
        if network.owner is not None:
            self._owners.put(network.id, network.owner)
        self.subnets.put(network.id, (pool.subnet for pool in network.pools))
        link = _link_of(network)
        self._links.drop(network.id)
        self.routed_links.pop(network.id, None)
        if link is None:
            return
        self._links.put(network.id, link.name)
        if link.routed and not network.internal:
            self.routed_links[network.id] = link.name
        if link.made:
            self._made[network.id] = link.name
            self._counts[link.name] += 1
            self.no_longer_own.discard(link.name)

    def drop(self, network_id: NetworkId) -> None:
        """Note that a network is gone; one that is not there is done."""
        self._forget_own_link(network_id)
        self._networks.pop(network_id, None)
        self.routed_links.pop(network_id, None)
        self.subnets.drop(network_id)
        for index in (self._names, self._drivers, self._links, self._owners):
            index.drop(network_id)

    def _forget_own_link(self, network_id: NetworkId) -> None:
        name = self._made.pop(network_id, None)
        if name is None:
            return
        self._counts[name] -= 1
        if not self._counts[name]:
            del self._counts[name]
            self.no_longer_own.add(name)

    def named(self, name: str) -> Network | None:
        """Return the network called exactly *name*, None if there is none."""
        return next(iter(self._all(self._names.of(name))), None)

    def on_link(self, name: str) -> Collection[Network]:
        """Return the networks that are attached to the host's link *name*."""
        return self._all(self._links.of(name))

    def of_driver(self, name: str) -> Collection[Network]:
        """Return the networks of the driver called *name*."""
        return self._all(self._drivers.of(name))

    def of_owner(self, owner: Owner) -> Collection[Network]:
        """Return the networks that live with the process *owner*."""
        return self._all(self._owners.of(owner))

    def overlapping(self, subnet: IPNetwork) -> Collection[Network]:
        """Return the networks that have a subnet which overlaps *subnet*."""
        return self._all(self.subnets.overlapping(subnet))

    def _all(self, identities: Iterable[NetworkId]) -> list[Network]:
        return [self._networks[identity] for identity in identities]

    def __len__(self) -> int:
        return len(self._networks)

    def __iter__(self) -> Iterator[Network]:
        return iter(self._networks.values())

    def __contains__(self, network: object) -> bool:
        return isinstance(network, Network) and self._networks.get(network.id) == network


def _link_of(network: Network) -> AttachedLink | None:
    try:
        return drivers.of(network).host_link(network)
    except (Unavailable, AssertionError, AttributeError, LookupError, TypeError, ValueError):
        # Made by a driver that this process lacks, or recorded with options of another one: it is set aside.
        return None
