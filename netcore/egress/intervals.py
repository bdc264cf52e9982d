"""Prefixes with ports, as ranges of addresses that don't overlap. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from netcore.egress.ports import NOTHING, Ports
from netcore.model import IPAddress, IPNetwork


@dataclass(frozen=True, slots=True)
class Piece:
    """The addresses *first* to *last*, and their ports."""

    first: IPAddress
    last: IPAddress
    ports: Ports


def pieces(parts: Iterable[tuple[IPNetwork, Ports]]) -> Iterator[Piece]:
    """Yield the union of *parts*, which are of one family, as pieces in order; neighbours with equal ports are one."""
    listed = [*parts]
    given = [(int(network.network_address), int(network.broadcast_address) + 1, ports) for network, ports in listed]
    if not listed:
        return
    kind = IPv4Address if listed[0][0].version == 4 else IPv6Address
    edges = sorted({edge for first, end, _ in given for edge in (first, end)})
    begin: int | None = None
    held = NOTHING
    open_parts: list[tuple[int, Ports]] = []
    starts = sorted(given, key=lambda part: part[0])
    at = 0
    for edge in edges:
        open_parts = [part for part in open_parts if part[0] > edge]
        while at < len(starts) and starts[at][0] <= edge:
            open_parts.append((starts[at][1], starts[at][2]))
            at += 1
        ports = NOTHING
        for _, one in open_parts:
            ports |= one
        if ports != held:
            if held and begin is not None:
                yield Piece(_address(kind, begin), _address(kind, edge - 1), held)
            begin, held = edge, ports


def _address(kind: type[IPv4Address] | type[IPv6Address], number: int) -> IPAddress:
    return kind(number)
