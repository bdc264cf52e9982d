"""From endpoints to records: which names an endpoint has (rules DNS-38..DNS-44), and SRV names of its ports. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address

from resolver.wire import name as names
from resolver.zone.static_names import WILDCARD
from resolver.zone.zone import Record


def records(
    *,
    endpoint: str,
    network: str,
    endpoint_names: Sequence[str],
    addresses: Iterable[IPv4Address | IPv6Address],
    ports: Iterable[tuple[int, str]] = (),
    services: Iterable[tuple[str, str, int]] = (),
    unhealthy: bool = False,
) -> tuple[Record, ...]:
    """Return the records of one endpoint. The first of *endpoint_names* is the target of its addresses' PTR records.

    Names that C libraries take for addresses have none: they would only be found by who asks a name server himself.
    *ports*: (port, protocol); each has an SRV record at `_PORT._PROTOCOL` below each name (RFC 2782), with that target too.
    *services*: (name, protocol, port); each has one at `_NAME._PROTOCOL`.
    A wildcard has none of these (RFC 4592 section 2.1.3). *unhealthy*: see `Record`.
    """
    made = []
    wire_names = list(dict.fromkeys(names.from_text(text) for text in endpoint_names if not names.is_address_form(text)))
    if not wire_names:
        return ()
    exact = [name for name in wire_names if not name.startswith(WILDCARD)]
    target = names.join((exact or wire_names)[0], names.from_text(network))
    for address in addresses:
        made += [Record(name, address.packed, endpoint, unhealthy) for name in wire_names]
        made.append(Record(names.reverse(address), target, endpoint, unhealthy))
    for label, protocol, port in (*((str(port), protocol, port) for port, protocol in ports), *services):
        prefix = names.from_text(f"_{label}._{protocol}")
        made += [Record(names.join(prefix, name), port.to_bytes(2, "big") + target, endpoint, unhealthy) for name in exact]
    return tuple(made)
