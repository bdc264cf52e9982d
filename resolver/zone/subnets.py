"""The subnets of all networks of this host: their reverse zones are ours. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network

Subnet = IPv4Network | IPv6Network


class Subnets:
    """One object for all views, so that only one thing changes when a network comes or goes. Written by the registry.

    A look-up costs one step for each prefix length in use, not for each subnet. Two networks may have the same one.
    """

    __slots__ = ("_counts", "_known")

    def __init__(self, subnets: Iterable[Subnet] = ()) -> None:
        self._known: dict[tuple[int, int], dict[int, Subnet]] = {}
        self._counts: Counter[Subnet] = Counter()
        for subnet in subnets:
            self.add(subnet)

    def add(self, subnet: Subnet) -> None:
        """Note that one more network has *subnet*."""
        self._counts[subnet] += 1
        kind, number = _place(subnet)
        self._known.setdefault(kind, {})[number] = subnet

    def discard(self, subnet: Subnet) -> None:
        """Note that one network fewer has *subnet*."""
        self._counts[subnet] -= 1
        if self._counts[subnet] > 0:
            return
        del self._counts[subnet]
        kind, number = _place(subnet)
        alike = self._known.get(kind, {})
        alike.pop(number, None)
        if not alike:
            self._known.pop(kind, None)

    def containing(self, network: Subnet) -> Subnet | None:
        """Return the subnet that contains *network*; None if no subnet does."""
        own_shift = network.max_prefixlen - network.prefixlen
        for (version, shift), subnets in self._known.items():
            if version == network.version and shift >= own_shift:
                subnet = subnets.get(int(network.network_address) >> shift)
                if subnet is not None:
                    return subnet
        return None


def _place(subnet: Subnet) -> tuple[tuple[int, int], int]:
    """Return (version, bits of the host part), and the network part."""
    shift = subnet.max_prefixlen - subnet.prefixlen
    return (subnet.version, shift), int(subnet.network_address) >> shift
