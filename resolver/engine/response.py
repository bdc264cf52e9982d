"""Responses as octets: local answers, negative ones with SOA, failures, truncation. Pure.

| RFC | what | status |
|---|---|---|
| 2181 5.1, 9 | an RRset is sent whole or not at all; TC if a required one is left out | done |
| 2308 2, 5 | SOA in negative answers, its MINIMUM as their lifetime | done |
| 6891 6.2.5 | the requestor's payload size is honoured, 512 at least | done |
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import dns.exception
import dns.flags
import dns.message

from resolver import limits
from resolver.wire.message import AA, CD, HEADER, IN, QR, RA, RD, TC, ExtendedError, Query, Rcode, Type, option_octets, render_opt
from resolver.wire.name import from_text

_RECORD = struct.Struct("!HHIH")
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

    *services*: (port, target). Priority and weight are 0: no target is preferred.
    """
    answer = b""
    for port, target in services:
        data = struct.pack("!HHH", 0, 0, port) + target
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
    size = HEADER.size + len(query.question) + len(answer) + len(authority) + len(opt)
    more, limit = b"".join(additional), size_limit(query, tcp=tcp)
    if size + len(more) > limit:
        # They are optional (RFC 2181 section 9).
        more, additional = b"", ()
    if size > limit:
        answer, answers, authority, flags = b"", 0, b"", flags | TC
    counts = (1, answers, 1 if authority else 0, len(additional) + (1 if opt else 0))
    return HEADER.pack(query.id, flags, *counts) + query.question + answer + authority + more + opt


def render_failure(query: Query, code: ExtendedError, text: str, rcode: Rcode = Rcode.SERVFAIL) -> bytes:
    """Return SERVFAIL (or *rcode*), with the reason in an extended DNS error if the client speaks EDNS."""
    flags = QR | RA | query.flags & (RD | CD) | rcode
    opt = b""
    if query.edns is not None:
        opt = render_opt(do=query.edns.do, payload=limits.OUR_PAYLOAD, options=option_octets(code, text))
    return HEADER.pack(query.id, flags, 1, 0, 0, 1 if opt else 0) + query.question + opt


def fit(query: Query, reply: bytes, *, tcp: bool) -> bytes:
    """Return *reply*, truncated between RRsets if it is too large for the client (RFC 2181 section 9)."""
    if len(reply) <= size_limit(query, tcp=tcp):
        return reply
    return _truncate(query, reply, size_limit(query, tcp=tcp))


def _truncate(query: Query, reply: bytes, limit: int) -> bytes:
    """Return *reply* truncated to *limit* octets between RRsets, with TC."""
    try:
        message = dns.message.from_wire(reply, ignore_trailing=True)
        message.flags |= dns.flags.TC
        return message.to_wire(max_size=limit, prefer_truncation=True)
    except (dns.exception.DNSException, ValueError):
        flags = int.from_bytes(reply[2:4], "big") | TC
        return HEADER.pack(query.id, flags, 1, 0, 0, 0) + query.question
