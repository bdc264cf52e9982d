"""The subnets of all networks of this host: their reverse zones are ours. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network

Subnet = IPv4Network | IPv6Network


class Subnets:
    """One object for all views, so that only one thing changes when a network comes or goes. Written by the registry.

    A look-up costs one step for each prefix length in use, not for each subnet.
    """

    __slots__ = ("_known",)

    def __init__(self, subnets: Iterable[Subnet] = ()) -> None:
        self.swap(subnets)

    def swap(self, subnets: Iterable[Subnet]) -> None:
        """Replace all subnets by *subnets*."""
        known: dict[tuple[int, int], dict[int, Subnet]] = {}
        for subnet in subnets:
            shift = subnet.max_prefixlen - subnet.prefixlen
            known.setdefault((subnet.version, shift), {})[int(subnet.network_address) >> shift] = subnet
        self._known = known

    def containing(self, network: Subnet) -> Subnet | None:
        """Return the subnet that contains *network*; None if no subnet does."""
        own_shift = network.max_prefixlen - network.prefixlen
        for (version, shift), subnets in self._known.items():
            if version == network.version and shift >= own_shift:
                subnet = subnets.get(int(network.network_address) >> shift)
                if subnet is not None:
                    return subnet
        return None
