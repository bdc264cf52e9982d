"""The subnets that networks have, in order: a free one, and those that overlap one, are found without going through all of them. Pure."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator

from netcore.model import IPNetwork, NetworkId

Range = tuple[int, int]
"""(first address, last address)."""


def ranges(subnets: Iterable[IPNetwork]) -> list[Range]:
    """Return *subnets* as ranges, in ascending order."""
    return sorted(map(_range, subnets))


def _range(subnet: IPNetwork) -> Range:
    return int(subnet.network_address), int(subnet.broadcast_address)


class TakenSubnets:
    """Which subnets are taken, and by which network. Two networks may have the same one."""

    def __init__(self) -> None:
        self._of: dict[NetworkId, tuple[IPNetwork, ...]] = {}
        self._families = {4: _Family(), 6: _Family()}

    def put(self, network_id: NetworkId, subnets: Iterable[IPNetwork]) -> None:
        """Note that a network has *subnets*, and none that it had before."""
        after = tuple(subnets)
        if self._of.get(network_id) == after:
            return
        self.drop(network_id)
        self._of[network_id] = after
        for subnet in after:
            self._families[subnet.version].add(network_id, subnet)

    def drop(self, network_id: NetworkId) -> None:
        """Note that a network is gone; one that is not there is done."""
        for subnet in self._of.pop(network_id, ()):
            self._families[subnet.version].remove(network_id, subnet)

    def runs(self, version: int) -> Iterator[Range]:
        """Yield the addresses of IPv4 or IPv6 that are taken as ranges, in ascending order: subnets without a gap between them are one."""
        return self._families[version].runs()

    def overlapping(self, subnet: IPNetwork) -> list[NetworkId]:
        """Return the networks that have a subnet which overlaps *subnet*, each once."""
        return [*dict.fromkeys(self._families[subnet.version].overlapping(subnet))]


class _Family:
    """The subnets of one family."""

    def __init__(self) -> None:
        self._order: list[Range] = []
        self._users: dict[Range, dict[NetworkId, None]] = {}
        self._lengths: Counter[int] = Counter()
        # Where the number of subnets that an address is in changes, and by how much. Where one follows another it does not.
        self._edges: list[int] = []
        self._steps: dict[int, int] = {}

    def add(self, network_id: NetworkId, subnet: IPNetwork) -> None:
        own = _range(subnet)
        users = self._users.setdefault(own, {})
        if not users:
            insort(self._order, own)
            self._lengths[subnet.prefixlen] += 1
            self._step(own[0], 1)
            self._step(own[1] + 1, -1)
        users[network_id] = None

    def remove(self, network_id: NetworkId, subnet: IPNetwork) -> None:
        own = _range(subnet)
        users = self._users[own]
        users.pop(network_id, None)
        if users:
            return
        del self._users[own], self._order[bisect_left(self._order, own)]
        self._lengths[subnet.prefixlen] -= 1
        if not self._lengths[subnet.prefixlen]:
            del self._lengths[subnet.prefixlen]
        self._step(own[0], -1)
        self._step(own[1] + 1, 1)

    def _step(self, edge: int, change: int) -> None:
        before = self._steps.get(edge, 0)
        self._steps[edge] = before + change
        if not before:
            insort(self._edges, edge)
        elif not self._steps[edge]:
            del self._steps[edge], self._edges[bisect_left(self._edges, edge)]

    def runs(self) -> Iterator[Range]:
        first = depth = 0
        for edge in self._edges:
            first, depth = first if depth else edge, depth + self._steps[edge]
            if not depth:
                yield first, edge - 1

    def overlapping(self, subnet: IPNetwork) -> Iterator[NetworkId]:
        # Of two subnets that overlap, one contains the other.
        for length in sorted(length for length in self._lengths if length < subnet.prefixlen):
            yield from self._users.get(_range(subnet.supernet(new_prefix=length)), ())
        first, last = _range(subnet)
        for known in self._order[bisect_left(self._order, (first, 0)) : bisect_left(self._order, (last + 1, 0))]:
            # One that begins here and contains it was found above.
            if known[1] <= last:
                yield from self._users[known]
