"""From endpoints to zone entries: which names an endpoint has (docker-behaviour DNS-38..DNS-44). Pure data in, data out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address

from resolver.wire import name as names
from resolver.zone.zone import Entry


def entries(
    *, owner: str, network: str, endpoint_names: Sequence[str], addresses: Iterable[IPv4Address | IPv6Address]
) -> tuple[Entry, ...]:
    """Return the entries of one endpoint. The first of *endpoint_names* is the target of its addresses' PTR records."""
    if not endpoint_names:
        return ()
    result = []
    wire_names = list(dict.fromkeys(names.from_text(text) for text in endpoint_names))
    target = names.join(wire_names[0], names.from_text(network))
    for address in addresses:
        result += [Entry(name, address.packed, owner) for name in wire_names]
        result.append(Entry(names.reverse(address), target, owner))
    return tuple(result)
