"""An upstream's response taken apart: what is kept of it, for how long, and how it is rendered for a client. Pure.

The OPT record is hop by hop (RFC 6891 section 6.1.1), so it is removed and each client gets one of ours; extended errors
in it are passed on. The rest stays as octets: compressed names in it point to offsets, which do not change.

| RFC | what | status |
|---|---|---|
| 2181 5.2, 8 | one TTL for an RRset, TTLs with the top bit set count as 0 | done |
| 2308 3, 5 | lifetime of negative answers from the SOA, none without it | done |
| 6891 6.1 | OPT is hop by hop | done |
| 7871 | answers for a client's subnet are not cached | done |
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

import dns.edns
import dns.exception
import dns.message
import dns.rcode
import msgspec

from resolver import limits
from resolver.engine.response import LEAST_UDP, fit
from resolver.errors import DecodeError
from resolver.wire.message import AD, CD, HEADER, QR, RA, RD, Option, Query, Rcode, Type, options, render_opt, skip_name

_RECORD = struct.Struct("!HHiH")
_TTL = struct.Struct("!i")
_PLAIN_OPT, _OPT = b"\0\0\x29", int(Type.OPT)
_OPT_OR_SOA = (_OPT, int(Type.SOA))


class Received(msgspec.Struct, frozen=True, gc=False):
    """*rcode*, *authentic* (AD), *counts* of the three sections and their *body*, all without OPT.

    *ttls*: where in *body* TTLs are. *lifetime*: seconds for which it may be cached, 0: not at all. *errors*: extended errors, as
    EDNS options.
    """

    rcode: int
    authentic: bool
    counts: tuple[int, int, int]
    body: bytes
    ttls: tuple[int, ...]
    lifetime: int
    errors: bytes


def take_apart(message: bytes, start: int) -> Received:
    """Return what is kept of *message*, whose records begin at *start*; DecodeError if it is malformed."""
    end = len(message)
    if message[4:6] != b"\0\1":
        raise DecodeError(4, "not one question")
    try:
        if message.startswith(_PLAIN_OPT, end - 11) and message.endswith(b"\0\0") and message[10:12] != b"\0\0":
            # It looks like the OPT record that ends nearly every response. If it is not one, the other records don't end before it.
            made = _read(message, start, end - 11, message[end - 6] << 4)
            if made is not None:
                return made
        made = _read(message, start, end, 0)
    except (IndexError, struct.error) as error:
        raise DecodeError(end, "a record is cut off") from error
    return made if made is not None else _without_opt(message)


def _read(message: bytes, start: int, end: int, extended: int) -> Received | None:
    """Return what is kept of the records from *start* to *end*; None if they don't fill the space, or OPT is among them.

    *extended*: the upper bits of the RCODE, from an OPT behind *end*.
    """
    _, flags, _, answers, authorities, additionals = HEADER.unpack_from(message)
    opts = end < len(message)
    ttls, least, soa, at = [], limits.LONGEST_TTL, False, start
    for number in range(answers + authorities + additionals - opts):
        at = at + 2 if message[at] >= 0xC0 else skip_name(message, at)
        rtype, _, ttl, size = _RECORD.unpack_from(message, at)
        ttls.append(at - start + 4)
        at += 10 + size
        if at > end:
            if opts:
                return None
            raise DecodeError(at, "a record is cut off")
        if rtype in _OPT_OR_SOA:
            if rtype == _OPT:
                return None
            if answers <= number < answers + authorities:
                soa = True
                ttl = min(ttl, _TTL.unpack_from(message, at - 4)[0])
        if ttl < least:
            # A TTL with the top bit set is negative here, and means 0 (RFC 2181 section 8).
            least = ttl if ttl > 0 else 0
    if opts and at != end:
        return None
    rcode = extended | flags & 0xF
    keeps = (rcode == 0 and answers > 0) or (rcode in (0, 3) and soa)
    counts = (answers, authorities, additionals - opts)
    return Received(rcode, flags & AD != 0, counts, message[start:at], tuple(ttls), least if keeps else 0, b"")


def _read_options(octets: bytes) -> tuple[bytes, bool]:
    """Return (the extended errors, whether the answer is for a client's subnet only)."""
    errors, tailored = b"", False
    for code, data in options(octets):
        if code == Option.EXTENDED_ERROR:
            errors += struct.pack("!HH", code, len(data)) + data
        elif code == Option.CLIENT_SUBNET:
            tailored = True
    return errors, tailored


def _option_octets(option: dns.edns.Option) -> bytes:
    data = option.to_wire() or b""
    return struct.pack("!HH", option.otype, len(data)) + data


def _without_opt(message: bytes) -> Received:
    """Return what is kept of a message whose OPT has options, or is not the last record: names after it may point across it."""
    try:
        read = dns.message.from_wire(message, ignore_trailing=True)
        given = b"".join(_option_octets(option) for option in read.options)
        rcode = int(read.rcode())
        read.use_edns(False)
        read.set_rcode(dns.rcode.NOERROR)
        plain = read.to_wire(max_size=65_535)
    except (dns.exception.DNSException, ValueError) as error:
        raise DecodeError(0, str(error)) from error
    start = skip_name(plain, HEADER.size) + 4 if read.question else HEADER.size
    made = _read(plain[:3] + bytes([plain[3] & 0xF0 | rcode & 0xF]) + plain[4:], start, len(plain), rcode & 0xFF0)
    if made is None:
        raise DecodeError(0, "its OPT record can't be taken out")
    errors, tailored = _read_options(given)
    return Received(made.rcode, made.authentic, made.counts, made.body, made.ttls, 0 if tailored else made.lifetime, errors)


def is_negative(received: Received) -> bool:
    """Return whether it says that the name does not exist (NXDOMAIN) or has no records of this type (NODATA)."""
    return received.rcode != Rcode.NOERROR or not received.counts[0]


def render(
    query: Query, received: Received, *, tcp: bool, ttls: tuple[int, int, int] | None = None, rotation: int = 0, errors: bytes = b""
) -> bytes:
    """Return the response for a client: with its ID, its spelling of the question, within its size, with OPT if it sent one.

    *ttls*: (least, most, age) for a cached answer; None for a fresh one. *errors*: more extended errors.
    """
    flags = QR | RA | query.flags & (RD | CD) | received.rcode & 0xF
    if received.authentic and (query.flags & AD or (query.edns is not None and query.edns.do)):
        flags |= AD
    body = _rotated(received, rotation) if rotation else received.body
    if ttls is not None:
        body = _aged(body, received.ttls, *ttls)
    answers, authorities, additionals = received.counts
    opt = b""
    if query.edns is not None:
        opt = render_opt(rcode=received.rcode, do=query.edns.do, payload=limits.OUR_PAYLOAD, options=received.errors + errors)
        additionals += 1
    reply = HEADER.pack(query.id, flags, 1, answers, authorities, additionals) + query.question + body + opt
    return reply if len(reply) <= LEAST_UDP else fit(query, reply, tcp=tcp)


def _aged(body: bytes, ttls: tuple[int, ...], least: int, most: int, age: int) -> bytes:
    """Return *body* with every TTL between *least* and *most*, less *age*."""
    changed = bytearray(body)
    for at in ttls:
        ttl = max(0, _TTL.unpack_from(body, at)[0])
        _TTL.pack_into(changed, at, max(0, max(least, min(ttl, most)) - age))
    return bytes(changed)


def orders(received: Received) -> int:
    """Return how many orders of the addresses there are."""
    first, count, _ = _run(received)
    return min(count, limits.ROTATIONS) if first >= 0 else 1


def _run(received: Received) -> tuple[int, int, int]:
    """Return (offset, count, size) of the addresses at the end of the answer section; offset -1 if there is one or none.

    Only records whose owner is a pointer are moved: no name begins in them that another could point to.
    """
    answers = received.counts[0]
    sizes = {4: 16, 16: 28}
    first, count, size, wanted = -1, 0, 0, b""
    for number in range(answers - 1, -1, -1):
        at = received.ttls[number] - 6
        head = received.body[at : at + 6] + received.body[at + 10 : at + 12]
        data = int.from_bytes(head[6:8], "big")
        if at < 0 or head[0] < 0xC0 or head[2:4] not in (b"\0\x01", b"\0\x1c") or data not in sizes or (wanted and head != wanted):
            break
        wanted, first, count, size = head, at, count + 1, sizes[data]
    return (first, count, size) if count > 1 else (-1, 0, 0)


def _rotated(received: Received, rotation: int) -> bytes:
    first, count, size = _run(received)
    if first < 0:
        return received.body
    cut, end = first + rotation % count * size, first + count * size
    body = received.body
    return body[:first] + body[cut:end] + body[first:cut] + body[end:]


class Protected:
    """Networks into which no answer of an upstream may point: an external name that does is an attack (DNS rebinding)."""

    __slots__ = ("_by_size", "_first")

    def __init__(self, networks: Sequence[IPv4Network | IPv6Network] = ()) -> None:
        by_size: dict[int, dict[int, set[int]]] = {4: {}, 16: {}}
        for network in networks:
            size = 4 if network.version == 4 else 16
            by_size[size].setdefault(network.max_prefixlen - network.prefixlen, set()).add(
                int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
            )
        # Most addresses are told apart by their first octet.
        ranges = [range(network.network_address.packed[0], network.broadcast_address.packed[0] + 1) for network in networks]
        self._first = frozenset(bytes((octet,)) for octets in ranges for octet in octets)
        if networks:
            # An IPv4 address in an IPv6 one.
            self._first |= {b"\0"}
        self._by_size = {size: tuple((shift, frozenset(values)) for shift, values in shifts.items()) for size, shifts in by_size.items()}

    def holds(self, address: bytes) -> bool:
        """Return whether the packed *address* is in one of the networks."""
        value = int.from_bytes(address, "big")
        return any(value >> shift in values for shift, values in self._by_size[len(address)])

    def found_in(self, received: Received) -> str | None:
        """Return the first address of the answer section that is in one of the networks; None if there is none."""
        body = received.body
        for at in received.ttls[: received.counts[0]]:
            if body[at + 6 : at + 7] not in self._first:
                continue
            kind = body[at - 4 : at - 2] + body[at + 4 : at + 6]
            if kind == b"\0\x01\0\x04":
                address = body[at + 6 : at + 10]
            elif kind == b"\0\x1c\0\x10":
                address = body[at + 6 : at + 22]
            else:
                continue
            if self.holds(address):
                return str(ip_address(address))
            if address[:12] == _MAPPED and self.holds(address[12:]):
                return str(ip_address(address[12:]))
        return None


_MAPPED = bytes(10) + b"\xff\xff"
