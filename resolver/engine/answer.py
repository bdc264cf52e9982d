"""What a question gets from a view: a local answer, or the decision to forward it. Pure.

Every type of a name of ours is answered here, so that nothing about it leaks to an upstream and none contradicts us
(rule W-13). `localhost`, `invalid` and `onion` are answered as RFC 6761 section 6 and RFC 7686 ask; the
reverse zones of our subnets are ours.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import msgspec

from resolver.engine import response
from resolver.wire import name as names
from resolver.wire.message import Query, Rcode, Type
from resolver.zone.view import Found, View

_LOCALHOST = names.from_text("localhost")
_LOOPBACK: dict[int, bytes] = {Type.A: IPv4Address("127.0.0.1").packed, Type.AAAA: IPv6Address("::1").packed}
_NEVER_EXIST = (names.from_text("invalid"), names.from_text("onion"))
_SPECIAL = (names.IN_ADDR_ARPA, names.IP6_ARPA, _LOCALHOST, *_NEVER_EXIST)
_ANY = int(Type.ANY)
_UNDERSCORE = ord("_")
_TRANSPORTS = (b"\x04_tcp", b"\x04_udp", b"\x05_sctp")
_SIZES: dict[int, int] = {Type.A: 4, Type.AAAA: 16}


class Addresses(msgspec.Struct, frozen=True):
    """A name of ours: *values* packed, none for NODATA."""

    values: tuple[bytes, ...]
    ttl: int
    source: str


class Pointer(msgspec.Struct, frozen=True):
    """A reverse-mapping name of ours."""

    target: bytes
    ttl: int
    source: str


class Services(msgspec.Struct, frozen=True):
    """An SRV name of ours. *values*: (port, target) of each; *addresses*: packed ones of each target."""

    values: tuple[tuple[int, bytes], ...]
    addresses: dict[bytes, tuple[bytes, ...]]
    ttl: int
    source: str


class Negative(msgspec.Struct, frozen=True):
    """NXDOMAIN or NODATA; *apex* owns the SOA."""

    rcode: Rcode
    apex: bytes
    ttl: int
    source: str


class Forward(msgspec.Struct, frozen=True):
    """Not ours: ask an upstream."""


_FORWARD = Forward()
Local = Addresses | Pointer | Services | Negative
Answer = Local | Forward


def has_service_form(qname: bytes) -> bool:
    """Return whether *qname* is like _80._tcp.web (RFC 2782)."""
    return len(qname) > 1 and qname[1] == _UNDERSCORE and qname[qname[0] + 1 :].startswith(_TRANSPORTS)


def answer(view: View, qname: bytes, qtype: int) -> Answer:
    """Return what *view* says to a question for the lower-case wire name *qname*."""
    is_special = qname.endswith(_SPECIAL)
    if is_special and qname.endswith((names.IN_ADDR_ARPA, names.IP6_ARPA)):
        return _reverse(view, qname, qtype)
    if is_special and qname.endswith(_LOCALHOST):
        return _localhost(view, qname, qtype)
    if len(qname) > 1 and qname[1] == _UNDERSCORE and has_service_form(qname):
        service = view.find_service(qname)
        if service is not None:
            return _service(view, qname, qtype, service)
    found = view.find_addresses(qname, _SIZES.get(qtype, 0)) if qtype != _ANY else _find_any(view, qname)
    if found is not None:
        return _local(qname, found)
    if is_special:
        zone = next(item for item in _NEVER_EXIST if qname.endswith(item))
        return Negative(Rcode.NXDOMAIN, zone, view.ttl, f"special-use name {names.to_text(zone)}")
    if qname.endswith(view.suffix):
        rcode = Rcode.NOERROR if qname == view.suffix or _is_network(view, qname) else Rcode.NXDOMAIN
        return Negative(rcode, view.suffix, view.ttl, f"our own domain {names.to_text(view.suffix)}")
    if len(qname) > 1 and 2 + qname[0] == len(qname) and not view.forwards_single_labels:
        return Negative(Rcode.NXDOMAIN, names.ROOT, view.ttl, "names of one label are not forwarded on this network")
    return _FORWARD


def _service(view: View, qname: bytes, qtype: int, found: Found) -> Answer:
    if qtype not in (Type.SRV, _ANY):
        return Negative(Rcode.NOERROR, qname, found.ttl, found.source)
    values = tuple((int.from_bytes(value[:2], "big"), value[2:]) for value in found.values)
    addresses: dict[bytes, tuple[bytes, ...]] = {}
    for _, target in values:
        of_families = [view.find_addresses(target, size) for size in (4, 16)]
        addresses[target] = tuple(address for item in of_families if item is not None for address in item.values)
    return Services(values, addresses, found.ttl, found.source)


def _find_any(view: View, qname: bytes) -> Found | None:
    """Return one RRset, which is enough (RFC 8482 section 4.1); IPv4 if there is one."""
    ipv4 = view.find_addresses(qname, 4)
    return ipv4 if ipv4 is None or ipv4.values else view.find_addresses(qname, 16)


def _local(qname: bytes, found: Found) -> Answer:
    if found.values:
        return Addresses(found.values, found.ttl, found.source)
    return Negative(Rcode.NOERROR, qname, found.ttl, found.source)


def _is_network(view: View, qname: bytes) -> bool:
    return any(names.join(item.zone.label, view.suffix) == qname for item in view.attachments)


def _localhost(view: View, qname: bytes, qtype: int) -> Answer:
    if qtype in _LOOPBACK:
        return Addresses((_LOOPBACK[qtype],), view.ttl, "special-use name localhost")
    return Negative(Rcode.NOERROR, qname, view.ttl, "special-use name localhost")


def _reverse(view: View, qname: bytes, qtype: int) -> Answer:
    found = view.find_pointer(qname)
    if found is not None:
        if qtype == Type.PTR:
            return Pointer(found.values[0], found.ttl, found.source)
        return Negative(Rcode.NOERROR, qname, found.ttl, found.source)
    network = names.reverse_network(qname)
    if network is None:
        return _FORWARD
    if network.is_loopback and network.prefixlen == network.max_prefixlen:
        if qtype == Type.PTR:
            return Pointer(_LOCALHOST, view.ttl, "special-use address of loopback")
        return Negative(Rcode.NOERROR, qname, view.ttl, "special-use address of loopback")
    subnet = view.subnets.containing(network)
    if subnet is None:
        return _FORWARD
    whole = network.prefixlen == network.max_prefixlen
    rcode = Rcode.NXDOMAIN if whole else Rcode.NOERROR
    return Negative(rcode, names.parent(qname) if whole else qname, view.ttl, f"reverse zone of {subnet}")


def render(query: Query, found: Local, rotation: int, *, tcp: bool) -> bytes:
    """Return *found* as octets; *rotation* picks which address comes first."""
    match found:
        case Addresses():
            at = rotation % len(found.values)
            return response.render_addresses(query, found.values[at:] + found.values[:at], found.ttl, tcp=tcp)
        case Services():
            at = rotation % len(found.values)
            return response.render_services(query, found.values[at:] + found.values[:at], found.addresses, found.ttl, tcp=tcp)
        case Pointer():
            return response.render_pointer(query, found.target, found.ttl, tcp=tcp)
        case Negative():
            if query.qtype == Type.SOA and found.rcode is Rcode.NOERROR and found.apex == query.qname:
                return response.render_soa(query, found.ttl, tcp=tcp)
            return response.render_negative(query, found.rcode, found.apex, found.ttl, tcp=tcp)
