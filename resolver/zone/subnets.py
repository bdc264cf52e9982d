"""The subnets of all networks of this host, by which reverse zones of ours are told apart. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network

Subnet = IPv4Network | IPv6Network


class Subnets:
    """One for all views, so that a network that comes or goes changes one thing. Written by the registry.

    A look-up costs one step for each prefix length there is, not for each subnet.
    """

    __slots__ = ("_known",)

    def __init__(self, subnets: Iterable[Subnet] = ()) -> None:
        self.swap(subnets)

    def swap(self, subnets: Iterable[Subnet]) -> None:
        """From now on the subnets are *subnets*."""
        known: dict[tuple[int, int], dict[int, Subnet]] = {}
        for subnet in subnets:
            shift = subnet.max_prefixlen - subnet.prefixlen
            known.setdefault((subnet.version, shift), {})[int(subnet.network_address) >> shift] = subnet
        self._known = known

    def containing(self, network: Subnet) -> Subnet | None:
        """Return the subnet that *network* is in, None if it is in none."""
        own = network.max_prefixlen - network.prefixlen
        for (version, shift), subnets in self._known.items():
            if version == network.version and shift >= own:
                found = subnets.get(int(network.network_address) >> shift)
                if found is not None:
                    return found
        return None
