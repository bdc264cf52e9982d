"""Responses as octets: local answers, negative ones with SOA, failures, truncation. Pure.

A response that is too large for the client is sent with TC and the records that fit, the answer section first. Some stub
resolvers (musl before 1.2.4, busybox) never ask again over TCP: for them a response without records would mean that the
name does not exist.

| RFC | what | status |
|---|---|---|
| 2181 9 | TC, with the part of the RRset that fits; additional records are left out without TC | done |
| 2308 2, 5 | SOA in negative answers, its MINIMUM as their lifetime | done |
| 6891 6.2.5 | the requestor's payload size is honoured, 512 at least | done |
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from resolver import limits
from resolver.errors import DecodeError
from resolver.wire.message import (
    AA,
    CD,
    HEADER,
    IN,
    PLAIN_OPT_SIZE,
    QR,
    RA,
    RD,
    TC,
    ExtendedError,
    Query,
    Rcode,
    Type,
    option_octets,
    render_opt,
    skip_name,
)
from resolver.wire.name import from_text

_RECORD = struct.Struct("!HHIH")
_SRV = struct.Struct("!HHH")
_OPT_PLACE = b"\0\0\x29"
_MASTER = from_text("ns.berth.internal")
_MAILBOX = from_text("hostmaster.berth.internal")
_POINTER_TO_QUESTION = b"\xc0\x0c"
LEAST_UDP = 512
"""Octets that every client can receive over UDP (RFC 1035 section 4.2.1)."""


def size_limit(query: Query, *, tcp: bool) -> int:
    """Return how many octets the client can receive."""
    if tcp:
        return 65_535
    return max(LEAST_UDP, query.edns.payload) if query.edns is not None else LEAST_UDP


def render_addresses(query: Query, addresses: Sequence[bytes], ttl: int, *, tcp: bool) -> bytes:
    """Return a response with *addresses* (packed) as A or AAAA records, or a truncated one."""
    rtype = Type.A if len(addresses[0]) == 4 else Type.AAAA
    head = _POINTER_TO_QUESTION + _RECORD.pack(rtype, IN, ttl, len(addresses[0]))
    return _assemble(query, Rcode.NOERROR, b"".join([head + address for address in addresses]), len(addresses), b"", tcp=tcp)


def render_pointer(query: Query, target: bytes, ttl: int, *, tcp: bool) -> bytes:
    """Return a response with a PTR record."""
    record = _POINTER_TO_QUESTION + _RECORD.pack(Type.PTR, IN, ttl, len(target)) + target
    return _assemble(query, Rcode.NOERROR, record, 1, b"", tcp=tcp)


def render_services(
    query: Query, services: Sequence[tuple[int, bytes]], addresses: Mapping[bytes, Sequence[bytes]], ttl: int, *, tcp: bool
) -> bytes:
    """Return a response with SRV records (RFC 2782), and the addresses of their targets if there is room.

    *services*: (port, target). Priority 0 and weight 1: no target is preferred. HAProxy sends nothing to one with weight 0.
    """
    answer = b""
    for port, target in services:
        data = _SRV.pack(0, 1, port) + target
        answer += _POINTER_TO_QUESTION + _RECORD.pack(Type.SRV, IN, ttl, len(data)) + data
    more = [
        target + _RECORD.pack(Type.A if len(address) == 4 else Type.AAAA, IN, ttl, len(address)) + address
        for target in dict.fromkeys(target for _, target in services)
        for address in addresses.get(target, ())
    ]
    return _assemble(query, Rcode.NOERROR, answer, len(services), b"", more, tcp=tcp)


def render_negative(query: Query, rcode: Rcode, apex: bytes, ttl: int, *, tcp: bool) -> bytes:
    """Return NXDOMAIN or NODATA with the SOA of *apex* (RFC 2308 section 2)."""
    return _assemble(query, rcode, b"", 0, _soa(apex, ttl), tcp=tcp)


def render_soa(query: Query, ttl: int, *, tcp: bool) -> bytes:
    """Return the SOA of the name asked for, which is the apex of a zone of ours."""
    return _assemble(query, Rcode.NOERROR, _soa(query.qname, ttl), 1, b"", tcp=tcp)


def _soa(apex: bytes, ttl: int) -> bytes:
    data = _MASTER + _MAILBOX + struct.pack("!IIIII", 1, 3600, 600, 86_400, ttl)
    return apex + _RECORD.pack(Type.SOA, IN, ttl, len(data)) + data


def _assemble(
    query: Query, rcode: Rcode, answer: bytes, answers: int, authority: bytes, additional: Sequence[bytes] = (), *, tcp: bool
) -> bytes:
    opt = b""
    if query.edns is not None:
        opt = render_opt(do=query.edns.do, payload=limits.OUR_PAYLOAD)
    flags = QR | AA | RA | query.flags & (RD | CD) | rcode
    more, limit = b"".join(additional), size_limit(query, tcp=tcp)
    counts = (1, answers, 1 if authority else 0, len(additional) + (1 if opt else 0))
    reply = HEADER.pack(query.id, flags, *counts) + query.question + answer + authority + more + opt
    return reply if len(reply) <= limit else _truncate(query, reply, limit)


def render_failure(query: Query, code: ExtendedError, text: str, rcode: Rcode = Rcode.SERVFAIL) -> bytes:
    """Return SERVFAIL (or *rcode*), with the reason in an extended DNS error if the client speaks EDNS."""
    flags = QR | RA | query.flags & (RD | CD) | rcode
    opt = b""
    if query.edns is not None:
        opt = render_opt(do=query.edns.do, payload=limits.OUR_PAYLOAD, options=option_octets(code, text))
    return HEADER.pack(query.id, flags, 1, 0, 0, 1 if opt else 0) + query.question + opt


def fit(query: Query, reply: bytes, *, tcp: bool) -> bytes:
    """Return *reply*, which may end with an OPT record, truncated if it is too large for the client (RFC 2181 section 9)."""
    limit = size_limit(query, tcp=tcp)
    return reply if len(reply) <= limit else _truncate(query, reply, limit)


def _truncate(query: Query, reply: bytes, limit: int) -> bytes:
    """Return *reply* with as many records as fit into *limit* octets, in their order, and its OPT record.

    TC is set if a record of the answer or authority section is missing. The additional section is kept whole or left out.
    A compressed name points to an earlier one, so that what is kept stays readable.
    """
    identity, flags, questions, *counts = HEADER.unpack_from(reply)
    answers, authorities, additionals = counts
    try:
        ends, opt = _record_ends(reply, HEADER.size + len(query.question), sum(counts))
    except (DecodeError, IndexError, struct.error):
        return HEADER.pack(identity, flags | TC, 1, 0, 0, 0) + query.question
    if opt and ends[0] + len(opt) > limit:
        # Extended errors are optional.
        opt = opt[: PLAIN_OPT_SIZE - 2] + b"\0\0"
    room = limit - len(opt)
    required = answers + authorities
    kept = sum(end <= room for end in ends[1 : 1 + required])
    counts = [min(kept, answers), max(0, kept - answers), 0]
    if kept < required:
        flags |= TC
    elif opt and ends[-1] <= room:
        kept, counts[2] = len(ends) - 1, additionals - 1
    if opt:
        counts[2] += 1
    return HEADER.pack(identity, flags, questions, *counts) + reply[HEADER.size : ends[kept]] + opt


def _record_ends(reply: bytes, start: int, records: int) -> tuple[list[int], bytes]:
    """Return (*start* and the end of each record, the OPT record if it is the last one, else nothing).

    Raises DecodeError, IndexError or struct.error if the records are malformed.
    """
    ends = [start]
    for _ in range(records):
        at = skip_name(reply, ends[-1])
        *_, size = _RECORD.unpack_from(reply, at)
        ends.append(at + _RECORD.size + size)
    if ends[-1] != len(reply):
        raise DecodeError(ends[-1], "the records don't fill the message")
    if records and reply.startswith(_OPT_PLACE, ends[-2]):
        return ends[:-1], reply[ends[-2] :]
    return ends, b""
