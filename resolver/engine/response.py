"""Responses as octets: local answers, negative ones with SOA, failures, truncation. Pure.

A response that is too large for the client is sent with TC and the records that fit, the answer section first. Some stub
resolvers (musl before 1.2.4, busybox) never ask again over TCP: for them a response without records would mean that the
name does not exist. No more records are rendered than fit.

| RFC | what | status |
|---|---|---|
| 2181 9 | TC, with the part of the RRset that fits; additional records are left out without TC | done |
| 2308 2, 5 | SOA in negative answers, its MINIMUM as their lifetime | done |
| 6891 6.2.5 | the requestor's payload size is honoured, 512 at least and 4,096 at most | done |
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

from resolver import limits
from resolver.wire.message import (
    AA,
    CD,
    HEADER,
    IN,
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
)
from resolver.wire.name import from_text

_RECORD = struct.Struct("!HHIH")
PRIORITY_AND_WEIGHT = b"\0\0\0\1"
"""Of every SRV record of a sandbox: no target is preferred. HAProxy sends nothing to one with weight 0."""
OwnedRecord = tuple[bytes, int, int, bytes]
"""Owner, type, TTL and data of a record."""
_MASTER = from_text("ns.berth.internal")
_MAILBOX = from_text("hostmaster.berth.internal")
_POINTER_TO_QUESTION = b"\xc0\x0c"
_LEAST_SRV = 12 + 6 + 1
"""Octets of the shortest SRV record."""
_REFUSAL_TTL = 1
"""Seconds: a rule may be added at any time."""
LEAST_UDP = 512
"""Octets that every client can receive over UDP (RFC 1035 section 4.2.1)."""


def size_limit(query: Query, *, tcp: bool) -> int:
    """Return how many octets the client gets at most."""
    if tcp:
        return 65_535
    return min(max(LEAST_UDP, query.edns.payload), limits.UDP_RESPONSE) if query.edns is not None else LEAST_UDP


def render_addresses(query: Query, addresses: Sequence[bytes], ttl: int, *, tcp: bool) -> bytes:
    """Return a response with *addresses* (packed) as A or AAAA records, or a truncated one."""
    rtype = Type.A if len(addresses[0]) == 4 else Type.AAAA
    head = _POINTER_TO_QUESTION + _RECORD.pack(rtype, IN, ttl, len(addresses[0]))
    opt = _opt(query)
    room = size_limit(query, tcp=tcp) - HEADER.size - len(query.question) - len(opt)
    kept = min(len(addresses), room // (len(head) + len(addresses[0])))
    flags = QR | AA | RA | query.flags & (RD | CD) | (TC if kept < len(addresses) else 0)
    # The head comes before each address but the first of these, which is empty.
    body = head.join((b"", *addresses[:kept]))
    return HEADER.pack(query.id, flags, 1, kept, 0, 1 if opt else 0) + query.question + body + opt


def render_pointer(query: Query, target: bytes, ttl: int, *, tcp: bool) -> bytes:
    """Return a response with a PTR record."""
    record = _POINTER_TO_QUESTION + _RECORD.pack(Type.PTR, IN, ttl, len(target)) + target
    return _assemble(query, Rcode.NOERROR, [record], limit=size_limit(query, tcp=tcp))


def render_records(query: Query, rtype: int, values: Sequence[bytes], ttl: int, *, tcp: bool) -> bytes:
    """Return a response with the records *values* of one type, which the name asked for has."""
    records = [_POINTER_TO_QUESTION + _RECORD.pack(rtype, IN, ttl, len(value)) + value for value in values]
    return _assemble(query, Rcode.NOERROR, records, limit=size_limit(query, tcp=tcp))


def render_aliased(query: Query, records: Sequence[OwnedRecord], negative: tuple[Rcode, bytes, int] | None, *, tcp: bool) -> bytes:
    """Return a response with *records*, the aliases first. *negative*: RCODE, apex and TTL, if they end at what has none."""
    answer = [
        (_POINTER_TO_QUESTION if owner == query.qname else owner) + _RECORD.pack(rtype, IN, ttl, len(data)) + data
        for owner, rtype, ttl, data in records
    ]
    rcode, authority = (Rcode.NOERROR, []) if negative is None else (negative[0], [_soa(*negative[1:])])
    return _assemble(query, rcode, answer, authority, limit=size_limit(query, tcp=tcp))


def render_services(query: Query, services: Sequence[bytes], addresses: Mapping[bytes, Sequence[bytes]], ttl: int, *, tcp: bool) -> bytes:
    """Return a response with SRV records (RFC 2782), and the addresses of their targets if there is room.

    *services*: port (two octets) and target of each.
    """
    limit = size_limit(query, tcp=tcp)
    some = services[: limit // _LEAST_SRV + 1]
    heads = {
        size: _POINTER_TO_QUESTION + _RECORD.pack(Type.SRV, IN, ttl, len(PRIORITY_AND_WEIGHT) + size) + PRIORITY_AND_WEIGHT
        for size in set(map(len, some))
    }
    answer = [heads[len(service)] + service for service in some]
    more = [
        target + _RECORD.pack(Type.A if len(address) == 4 else Type.AAAA, IN, ttl, len(address)) + address
        for target in addresses
        for address in addresses[target]
    ]
    return _assemble(query, Rcode.NOERROR, answer, additional=more, limit=limit)


def render_negative(query: Query, rcode: Rcode, apex: bytes, ttl: int, *, tcp: bool) -> bytes:
    """Return NXDOMAIN or NODATA with the SOA of *apex* (RFC 2308 section 2)."""
    return _assemble(query, rcode, [], [_soa(apex, ttl)], limit=size_limit(query, tcp=tcp))


def render_refusal(query: Query, rcode: Rcode, text: str, *, tcp: bool) -> bytes:
    """Return NXDOMAIN, NODATA or another *rcode* for a query that a policy blocks, with the reason; the first two last a second."""
    opt = b""
    if query.edns is not None:
        opt = render_opt(do=query.edns.do, payload=limits.OUR_PAYLOAD, options=option_octets(ExtendedError.BLOCKED, text))
    soa = [_soa(query.qname, _REFUSAL_TTL)] if rcode in (Rcode.NOERROR, Rcode.NXDOMAIN) else []
    return _assemble(query, rcode, [], soa, limit=size_limit(query, tcp=tcp), opt=opt)


def render_soa(query: Query, ttl: int, *, tcp: bool) -> bytes:
    """Return the SOA of the name asked for, which is the apex of a zone of ours."""
    return _assemble(query, Rcode.NOERROR, [_soa(query.qname, ttl)], limit=size_limit(query, tcp=tcp))


def _soa(apex: bytes, ttl: int) -> bytes:
    data = _MASTER + _MAILBOX + struct.pack("!IIIII", 1, 3600, 600, 86_400, ttl)
    return apex + _RECORD.pack(Type.SOA, IN, ttl, len(data)) + data


def _opt(query: Query) -> bytes:
    return b"" if query.edns is None else render_opt(do=query.edns.do, payload=limits.OUR_PAYLOAD)


def _assemble(
    query: Query,
    rcode: Rcode,
    answer: Sequence[bytes],
    authority: Sequence[bytes] = (),
    additional: Sequence[bytes] = (),
    *,
    limit: int,
    opt: bytes | None = None,
) -> bytes:
    """Return the response with the records that fit into *limit* octets, in order; the additional section whole or not at all.

    TC is set if a record of the answer or authority section is missing. *opt*: in place of one without options.
    """
    opt = _opt(query) if opt is None else opt
    flags = QR | AA | RA | query.flags & (RD | CD) | rcode
    room = limit - HEADER.size - len(query.question) - len(opt)
    body = b"".join((*answer, *authority, *additional))
    answers, authorities, additionals = len(answer), len(authority), len(additional)
    if len(body) > room:
        ends = [*accumulate(map(len, (*answer, *authority)))]
        kept = bisect_right(ends, room)
        if kept < len(ends):
            flags |= TC
        body = body[: ends[kept - 1]] if kept else b""
        answers, authorities, additionals = min(kept, answers), max(0, kept - answers), 0
    counts = (1, answers, authorities, additionals + (1 if opt else 0))
    return HEADER.pack(query.id, flags, *counts) + query.question + body + opt


def render_failure(query: Query, code: ExtendedError, text: str, rcode: Rcode = Rcode.SERVFAIL) -> bytes:
    """Return SERVFAIL (or *rcode*), with the reason in an extended DNS error if the client speaks EDNS."""
    flags = QR | RA | query.flags & (RD | CD) | rcode
    opt = b""
    if query.edns is not None:
        opt = render_opt(do=query.edns.do, payload=limits.OUR_PAYLOAD, options=option_octets(code, text))
    return HEADER.pack(query.id, flags, 1, 0, 0, 1 if opt else 0) + query.question + opt
