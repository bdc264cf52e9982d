"""The subnets that networks have, in order, so that a free one is found without sorting them each time. Pure."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence

from netcore.model import IPNetwork, NetworkId

Range = tuple[int, int]
"""(first address, last address)."""


def ranges(subnets: Iterable[IPNetwork]) -> list[Range]:
    """Return *subnets* as ranges, in ascending order."""
    return sorted((int(subnet.network_address), int(subnet.broadcast_address)) for subnet in subnets)


class TakenSubnets:
    """Which subnets are taken, and by which network. Two networks may have the same one."""

    def __init__(self) -> None:
        self._of: dict[NetworkId, tuple[IPNetwork, ...]] = {}
        self._ranges: dict[int, list[Range]] = {4: [], 6: []}

    def put(self, network_id: NetworkId, subnets: Iterable[IPNetwork]) -> None:
        """Note that a network has *subnets*, and none that it had before."""
        after = tuple(subnets)
        if self._of.get(network_id) == after:
            return
        self.drop(network_id)
        self._of[network_id] = after
        for subnet in after:
            insort(self._ranges[subnet.version], ranges([subnet])[0])

    def drop(self, network_id: NetworkId) -> None:
        """Note that a network is gone; one that is not there is done."""
        for subnet in self._of.pop(network_id, ()):
            known = self._ranges[subnet.version]
            del known[bisect_left(known, ranges([subnet])[0])]

    def of(self, version: int) -> Sequence[Range]:
        """Return the ranges of IPv4 or IPv6, in ascending order."""
        return self._ranges[version]
