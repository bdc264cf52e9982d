"""What is around a sandbox: its networks and others of this host, the host itself, and everything outside. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Network

from netcore.egress import special
from netcore.model import IPAddress, IPNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownNetwork:
    """A network of this host. *attached*: the sandbox is on it."""

    name: str
    subnets: tuple[IPNetwork, ...]
    attached: bool = False


HOST = "host"
Place = KnownNetwork | str | None
"""Where an address is: on a network of ours, the host itself (HOST), or outside (None)."""


class Surroundings:
    """What is around a sandbox. *addresses*: the host's own, those at gateways included. *nat64*: prefixes that write IPv4 as IPv6."""

    __slots__ = ("_subnets", "addresses", "nat64", "networks")

    def __init__(
        self,
        networks: tuple[KnownNetwork, ...] = (),
        addresses: frozenset[IPAddress] = frozenset(),
        nat64: tuple[IPv6Network, ...] = (),
    ) -> None:
        self.networks = networks
        self.addresses = addresses
        self.nat64 = nat64
        # There may be thousands of networks, and few lengths of prefixes.
        self._subnets: dict[tuple[int, int], dict[int, KnownNetwork]] = {}
        for network in networks:
            for subnet in network.subnets:
                shift = subnet.max_prefixlen - subnet.prefixlen
                self._subnets.setdefault((subnet.version, shift), {})[int(subnet.network_address) >> shift] = network

    def place(self, address: IPAddress) -> Place:
        """Return where *address* is."""
        if address in self.addresses:
            return HOST
        number = int(address)
        for (version, shift), known in self._subnets.items():
            if version == address.version and number >> shift in known:
                return known[number >> shift]
        return None

    def why_closed(self, address: IPAddress) -> str | None:
        """Return what *address* is, if no name may open it; `special.IS_PRIVATE` if only `+private` lets it."""
        places = [self.place(one) for one in (address, *special.carried(address, self.nat64))]
        if any(place is HOST for place in places):
            return "the host's own"
        network = next((place for place in places if isinstance(place, KnownNetwork)), None)
        return f"on network {network.name}" if network is not None else special.closed_to_names(address, self.nat64)
