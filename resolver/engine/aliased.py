"""An alias of ours that leads to an external name: the query for that name, and the response with the aliases before it. Pure.

The response of an upstream is rendered for the question that was asked: its compressed names point into it. So it is taken apart
and made anew here, by dnspython; a module of its own, since that takes long to import and few have such aliases.
"""

from __future__ import annotations

import dns.flags
import dns.message
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from resolver.engine.answer import Aliased
from resolver.engine.response import size_limit
from resolver.wire.message import HEADER, IN, RD, Query, Type, render_opt


def target_query(query: Query, aliased: Aliased) -> tuple[Query, bytes]:
    """Return the query for the name that *aliased* leads to, on behalf of *query*, and its octets."""
    target = aliased.links[-1][2]
    question = target + query.qtype.to_bytes(2, "big") + IN.to_bytes(2, "big")
    flags = query.flags | RD
    opt = b"" if query.edns is None else render_opt(do=query.edns.do, payload=query.edns.payload)
    octets = HEADER.pack(query.id, flags, 1, 0, 0, 1 if opt else 0) + question + opt
    return Query(query.id, flags, target.lower(), query.qtype, IN, question, query.edns), octets


def render(query: Query, aliased: Aliased, reply: bytes, *, tcp: bool) -> bytes:
    """Return the response to *query*: the aliases, then what *reply* to the `target_query` has."""
    received = dns.message.from_wire(reply, ignore_trailing=True)
    made = dns.message.Message(id=query.id)
    made.flags = (received.flags | dns.flags.QR | dns.flags.RA) & ~(dns.flags.AA | dns.flags.AD)
    made.set_rcode(received.rcode())
    made.question = [dns.rrset.RRset(_name(query.question), dns.rdataclass.IN, dns.rdatatype.RdataType.make(query.qtype))]
    owners = [made.question[0].name, *(_name(owner) for owner, _, _ in aliased.links[1:])]
    cname = Type.CNAME.name
    for owner, (_, ttl, target) in zip(owners, aliased.links, strict=True):
        made.answer.append(dns.rrset.from_rdata(owner, ttl, dns.rdata.from_wire("IN", cname, target, 0, len(target))))
    made.answer += received.answer
    made.authority, made.additional = received.authority, received.additional
    if query.edns is not None:
        made.use_edns(0, received.ednsflags, received.payload, options=list(received.options))
    return made.to_wire(max_size=max(512, size_limit(query, tcp=tcp)), prefer_truncation=True)


def _name(wire: bytes) -> dns.name.Name:
    return dns.name.from_wire(wire, 0)[0]
