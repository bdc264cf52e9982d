"""Screening: which messages are queries that we answer, and the response to those that are not. Pure.

Rules DNS-11..DNS-15 of docs/rules.md, in this order: too short or a response → no answer; unknown opcode → NOTIMP;
wrong counts or malformed → FORMERR; EDNS version above 0 → BADVERS (RFC 6891 section 6.1.3); class not IN, and zone
transfers, which a resolver does not serve → REFUSED.
"""

from __future__ import annotations

from resolver import limits
from resolver.errors import DecodeError
from resolver.wire.message import ANY_CLASS, CD, HEADER, IN, OPCODE, QR, RA, RD, Query, Rcode, Type, find_edns, read_question, render_opt

_TRANSFERS = (Type.AXFR, Type.IXFR)


def screen(octets: bytes) -> Query | bytes | None:
    """Return the query in *octets*, or the response that refuses it; None: no response."""
    if len(octets) < HEADER.size:
        return None
    identity, flags, questions, answers, authorities, additionals = HEADER.unpack_from(octets)
    if flags & QR:
        return None
    if flags & OPCODE:
        return _bare(identity, flags, Rcode.NOTIMP)
    if questions != 1 or answers > 1 or authorities > 1 or additionals > 2:
        return _bare(identity, flags, Rcode.FORMERR)
    try:
        name, qtype, qclass, at = read_question(octets)
        records = answers + authorities + additionals
        edns = find_edns(octets, at, records) if records or len(octets) != at else None
    except DecodeError:
        return _bare(identity, flags, Rcode.FORMERR)
    query = Query(identity, flags, name.lower(), qtype, qclass, octets[12:at], edns)
    if edns is not None and edns.version > 0:
        return refuse(query, Rcode.BADVERS)
    if qclass not in (IN, ANY_CLASS) or qtype in _TRANSFERS:
        return refuse(query, Rcode.REFUSED)
    return query


def refuse(query: Query, rcode: Rcode, options: bytes = b"") -> bytes:
    """Return a response without records: the question, and OPT if the query had one."""
    flags = QR | RA | query.flags & (RD | CD) | rcode & 0xF
    opt = b""
    if query.edns is not None:
        opt = render_opt(rcode=rcode, do=query.edns.do, payload=limits.OUR_PAYLOAD, options=options)
    return HEADER.pack(query.id, flags, 1, 0, 0, 1 if opt else 0) + query.question + opt


def _bare(identity: int, flags: int, rcode: Rcode) -> bytes:
    return HEADER.pack(identity, QR | RA | flags & (OPCODE | RD | CD) | rcode, 0, 0, 0, 0)
