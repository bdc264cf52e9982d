"""What a view answers to a query: a local answer, or the decision to forward it. Pure.

Every type of a name of ours is answered here, so that nothing about it leaks to an upstream and no upstream contradicts us
(rule W-13). Names of networks that the view is not on don't exist for it. `localhost`, `invalid` and `onion` are answered
as RFC 6761 section 6 and RFC 7686 ask; the reverse zones of our subnets are ours.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import msgspec

from resolver import limits
from resolver.engine import response
from resolver.engine.view import Lookups, Match, View
from resolver.wire import name as names
from resolver.wire.message import ExtendedError, Query, Rcode, Type
from resolver.zone.static_names import RecordSet

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
    """An SRV name of ours. *data*: port (two octets) and target of each; *addresses*: packed ones of each target, if these are few."""

    data: tuple[bytes, ...]
    addresses: dict[bytes, tuple[bytes, ...]]
    ttl: int
    source: str

    @property
    def values(self) -> tuple[tuple[int, bytes], ...]:
        """(port, target) of each."""
        return tuple((int.from_bytes(octets[:2], "big"), octets[2:]) for octets in self.data)


class Records(msgspec.Struct, frozen=True):
    """Static records of one type other than addresses. *values*: their data."""

    rtype: int
    values: tuple[bytes, ...]
    ttl: int
    source: str


class Negative(msgspec.Struct, frozen=True):
    """NXDOMAIN or NODATA; *apex* owns the SOA. *is_foreign*: it depends on a network whose changes this client does not hear of."""

    rcode: Rcode
    apex: bytes
    ttl: int
    source: str
    is_foreign: bool = False


class Forward(msgspec.Struct, frozen=True):
    """An external name: ask an upstream."""


class Aliased(msgspec.Struct, frozen=True):
    """An alias of ours. *links*: (owner, TTL, target) of each CNAME. *end*: what the last target has; Forward: it is external."""

    links: tuple[tuple[bytes, int, bytes], ...]
    end: Addresses | Pointer | Services | Records | Negative | Forward
    source: str


_FORWARD = Forward()
_CNAME = int(Type.CNAME)
End = Addresses | Pointer | Services | Records | Negative
Local = End | Aliased
Answer = Local | Forward


def has_service_form(qname: bytes) -> bool:
    """Return whether *qname* is like _80._tcp.web (RFC 2782)."""
    return len(qname) > 1 and qname[1] == _UNDERSCORE and qname[qname[0] + 1 :].startswith(_TRANSPORTS)


def answer(view: View, qname: bytes, qtype: int, lookups: Lookups = None, followed: int = 0) -> Answer:
    """Return what *view* answers to a query for the lower-case wire name *qname*. *lookups*: where to note what was searched.

    *followed*: how many aliases led to it.
    """
    is_special = qname.endswith(_SPECIAL)
    if is_special and qname.endswith((names.IN_ADDR_ARPA, names.IP6_ARPA)):
        return _reverse(view, qname, qtype, lookups)
    if is_special and qname.endswith(_LOCALHOST):
        return _localhost(view, qname, qtype)
    if len(qname) > 1 and qname[1] == _UNDERSCORE and has_service_form(qname):
        service = view.find_service(qname, lookups)
        if service is not None:
            return _service(view, qname, qtype, service)
    match = view.find(qname, _SIZES.get(qtype, 0), qtype, lookups) if qtype != _ANY else _find_any(view, qname, lookups)
    if match is not None:
        return _local(view, qname, match) if match.static is None else _static(view, qname, qtype, match, lookups, followed + 1)
    if is_special:
        zone = next(name for name in _NEVER_EXIST if qname.endswith(name))
        return Negative(Rcode.NXDOMAIN, zone, view.ttl, f"special-use name {names.to_text(zone)}")
    if qname.endswith(view.suffix):
        own = None if view.host is None or qname not in view.host.records else view.host.records[qname].answering(qtype)
        if own is not None:
            return _records(own, f"our own domain {names.to_text(view.suffix)}")
        exists = qname == view.suffix or view.exists_above(qname) or (view.host is not None and qname in view.host.records)
        rcode = Rcode.NOERROR if exists else Rcode.NXDOMAIN
        return Negative(rcode, view.suffix, view.ttl, f"our own domain {names.to_text(view.suffix)}")
    if len(qname) > 1 and 2 + qname[0] == len(qname):
        if not view.forwards_single_labels:
            return Negative(Rcode.NXDOMAIN, names.ROOT, view.ttl, "names of one label are not forwarded on this network")
        return _FORWARD
    foreign = view.known.holding(qname)
    if foreign is not None:
        return Negative(Rcode.NXDOMAIN, foreign.label, view.ttl, f"{foreign.source}, which this sandbox is not on", is_foreign=True)
    return _FORWARD


def target_outside(view: View, qname: bytes) -> bytes | None:
    """Return the name outside, in lower case, that the alias *qname* of ours leads to; None if it is none, or leads to none."""
    found = answer(view, qname, Type.A)
    return found.links[-1][2].lower() if isinstance(found, Aliased) and isinstance(found.end, Forward) else None


def _service(view: View, qname: bytes, qtype: int, match: Match) -> Answer:
    if qtype not in (Type.SRV, _ANY):
        return _no_data(view, qname, match)
    addresses: dict[bytes, tuple[bytes, ...]] = {}
    data = match.values if view.host is None else tuple(value[:2] + view.full_target(value[2:]) for value in match.values)
    for value in data if len(data) <= limits.SERVICE_TARGETS else ():
        target = value[2:]
        of_families = [view.find(target, size, rtype) for rtype, size in _SIZES.items()]
        addresses[target] = tuple(
            address for family in of_families if family is not None for address in family.values if _is_address(family)
        )
    return Services(data, addresses, match.ttl, match.source)


def _find_any(view: View, qname: bytes, lookups: Lookups) -> Match | None:
    """Return one RRset, which is enough (RFC 8482 section 4.1); IPv4 if there is one."""
    ipv4 = view.find(qname, 4, _ANY, lookups)
    return ipv4 if ipv4 is None or ipv4.values else view.find(qname, 16, _ANY, lookups)


def _records(static: RecordSet, source: str) -> Addresses | Records:
    if static.rtype in _SIZES:
        return Addresses(static.values, static.ttl, source)
    return Records(static.rtype, static.values, static.ttl, source)


def _is_address(match: Match) -> bool:
    return match.static is None or match.static.rtype in _SIZES


def _static(view: View, qname: bytes, qtype: int, match: Match, lookups: Lookups, followed: int) -> Local:
    """Return what the static records of *match* answer: themselves, or what their alias, which is number *followed*, leads to."""
    static = match.static
    assert static is not None
    if static.rtype != _CNAME or qtype in (_CNAME, _ANY):
        return _records(static, match.source)
    target = static.values[0]
    if followed > limits.ALIASES:
        end: Answer = Negative(Rcode.SERVFAIL, qname, static.ttl, f"more than {limits.ALIASES} aliases lead on from one another")
    else:
        end = answer(view, target.lower(), qtype, lookups, followed)
    if view.host is not None and isinstance(end, Forward):
        # Who asks goes on by himself: as an authoritative server has it.
        end = Records(qtype, (), static.ttl, match.source)
    link = (qname, static.ttl, target)
    if isinstance(end, Aliased):
        return Aliased((link, *end.links), end.end, match.source)
    return Aliased((link,), end, match.source)


def _local(view: View, qname: bytes, match: Match) -> Answer:
    if match.values:
        return Addresses(match.values, match.ttl, match.source)
    return _no_data(view, qname, match)


def _no_data(view: View, qname: bytes, match: Match) -> Negative:
    """Return NODATA. For a sandbox each name is a zone, since its networks are none; for the host all are in one."""
    return Negative(Rcode.NOERROR, qname if view.host is None else view.suffix, match.ttl, match.source)


def _localhost(view: View, qname: bytes, qtype: int) -> Answer:
    if qtype in _LOOPBACK:
        return Addresses((_LOOPBACK[qtype],), view.ttl, "special-use name localhost")
    return Negative(Rcode.NOERROR, qname, view.ttl, "special-use name localhost")


def _reverse(view: View, qname: bytes, qtype: int, lookups: Lookups) -> Answer:
    match = view.find_pointer(qname, lookups)
    if match is not None:
        if qtype not in (Type.PTR, _ANY):
            return Negative(Rcode.NOERROR, qname, match.ttl, match.source)
        if match.static is not None:
            return Records(match.static.rtype, match.values, match.ttl, match.source)
        return Pointer(view.full_target(match.values[0]), match.ttl, match.source)
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
    is_one_address = network.prefixlen == network.max_prefixlen
    rcode = Rcode.NXDOMAIN if is_one_address else Rcode.NOERROR
    return Negative(rcode, names.parent(qname) if is_one_address else qname, view.ttl, f"reverse zone of {subnet}")


def is_soa(query: Query, negative: Negative) -> bool:
    """Return whether the query is for the SOA of a zone of ours: what is NODATA for other types has this one record."""
    return query.qtype == Type.SOA and negative.rcode is Rcode.NOERROR and negative.apex == query.qname


def render(query: Query, local: Local, rotation: int, *, tcp: bool) -> bytes:
    """Return the response with *local* as octets; *rotation* picks which address comes first."""
    match local:
        case Addresses():
            at = rotation % len(local.values)
            return response.render_addresses(query, local.values[at:] + local.values[:at], local.ttl, tcp=tcp)
        case Services():
            at = rotation % len(local.data)
            return response.render_services(query, local.data[at:] + local.data[:at], local.addresses, local.ttl, tcp=tcp)
        case Pointer():
            return response.render_pointer(query, local.target, local.ttl, tcp=tcp)
        case Records():
            return response.render_records(query, local.rtype, local.values, local.ttl, tcp=tcp)
        case Negative():
            if is_soa(query, local):
                return response.render_soa(query, local.ttl, tcp=tcp)
            return response.render_negative(query, local.rcode, local.apex, local.ttl, tcp=tcp)
        case Aliased():
            return _render_aliased(query, local, rotation, tcp=tcp)


def _render_aliased(query: Query, aliased: Aliased, rotation: int, *, tcp: bool) -> bytes:
    """Return the response with all aliases and what the last one leads to, which is no external name."""
    links, end = aliased.links, aliased.end
    target = links[-1][2]
    records = [(owner, _CNAME, ttl, data) for owner, ttl, data in links]
    negative = None
    match end:
        case Addresses():
            at = rotation % len(end.values)
            rotated = end.values[at:] + end.values[:at]
            records += [(target, Type.A if len(value) == 4 else Type.AAAA, end.ttl, value) for value in rotated]
        case Pointer():
            records.append((target, Type.PTR, end.ttl, end.target))
        case Services():
            records += [(target, Type.SRV, end.ttl, response.PRIORITY_AND_WEIGHT + data) for data in end.data]
        case Records():
            records += [(target, end.rtype, end.ttl, data) for data in end.values]
        case Negative(rcode=Rcode.SERVFAIL):
            return response.render_failure(query, ExtendedError.OTHER, end.source)
        case Negative():
            negative = end.rcode, end.apex, end.ttl
        case Forward():
            raise AssertionError("the end of an alias is an external name")
    return response.render_aliased(query, records, negative, tcp=tcp)
