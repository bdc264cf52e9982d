"""Packets that the way out sends to a client in the place of who is outside, and reads of a client. Pure.

Spec: RFC 792, RFC 4443 (ICMP); RFC 1071 (checksum); RFC 791, RFC 8200 (headers).
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from netcore.internet_checksum import checksum
from netcore.look.segments import ACK, RST, Segment, write
from netcore.model import IPAddress

ICMP, UDP, ICMPV6 = 1, 17, 58
_TTL = 64
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_ECHO = struct.Struct("!BBHHH")
_UDP = struct.Struct("!HHHH")
_ECHO_REQUEST, _ECHO_REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
_UNREACHABLE = {4: 3, 6: 1}
_MOST_QUOTED = {4: 548, 6: 1232}
"""Octets of the packet that an ICMP error is about, at most (RFC 1812 section 4.3.2.3, RFC 4443 section 3.1)."""
_PORT: Mapping[int, int] = {4: 3, 6: 4}
_PROHIBITED: Mapping[int, int] = {4: 13, 6: 1}
_CODES: Mapping[int, Mapping[int, int]] = {
    errno.ECONNREFUSED: _PORT,
    errno.EHOSTUNREACH: {4: 1, 6: 3},
    errno.ENETUNREACH: {4: 0, 6: 0},
    errno.EADDRNOTAVAIL: {4: 0, 6: 0},
    errno.EAFNOSUPPORT: {4: 0, 6: 0},
    errno.EACCES: _PROHIBITED,
    errno.EPERM: _PROHIBITED,
    errno.EPROTONOSUPPORT: {4: 2, 6: 1},
}
"""What was said outside → the code of "destination unreachable", by version of IP."""


@dataclass(frozen=True, slots=True)
class Echo:
    """A ping. *number*: of the program that sends it. *message*: what an ICMP socket is given, whose kernel sets the number."""

    source: IPAddress
    destination: IPAddress
    number: int
    sequence: int
    payload: bytes
    packet: bytes

    @property
    def message(self) -> bytes:
        return _ECHO.pack(_ECHO_REQUEST[self.source.version], 0, 0, 0, self.sequence) + self.payload


def read_echo(packet: bytes) -> Echo | None:
    """Return the echo request in a packet that begins with its IP header; None for anything else."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= _IPV4.size:
        first, _, total, _, fragment, _, protocol, _, source, destination = _IPV4.unpack_from(packet)
        at = (first & 15) * 4
        if protocol != ICMP or fragment & 0x3FFF:
            return None
        ends: tuple[IPAddress, IPAddress] = IPv4Address(source), IPv4Address(destination)
    elif version == 6 and len(packet) >= _IPV6.size:
        _, length, following, _, source, destination = _IPV6.unpack_from(packet)
        at, total = _IPV6.size, _IPV6.size + length
        if following != ICMPV6:
            return None
        ends = IPv6Address(source), IPv6Address(destination)
    else:
        return None
    if len(packet) < total or total < at + _ECHO.size:
        return None
    kind, code, _, number, sequence = _ECHO.unpack_from(packet, at)
    if kind != _ECHO_REQUEST[version] or code:
        return None
    return Echo(*ends, number, sequence, packet[at + _ECHO.size : total], packet)


def echo_reply(source: IPAddress, destination: IPAddress, number: int, reply: bytes) -> bytes | None:
    """Return the packet with a *reply* as an ICMP socket has received it, for the program with *number*; None if it is no echo reply."""
    if len(reply) < _ECHO.size or reply[0] != _ECHO_REPLY[source.version]:
        return None
    sequence = _ECHO.unpack_from(reply)[4]
    body = _ECHO.pack(reply[0], 0, 0, number, sequence) + reply[_ECHO.size :]
    return _icmp(source, destination, body)


def refusal_of_connection(opening: Segment, packet: bytes, code: int) -> bytes | None:
    """Return what a client gets whose connection failed outside with the errno *code*; None: nothing, as from outside."""
    if code in (errno.ECONNREFUSED, errno.ECONNRESET, errno.EMFILE, errno.ENFILE):
        return write(
            Segment(
                source=opening.destination, destination=opening.source,
                source_port=opening.destination_port, destination_port=opening.source_port,
                sequence=0, acknowledgement=opening.sequence + 1 + opening.length, flags=RST | ACK, window=0,
            )
        )  # fmt: skip
    return unreachable(packet, code)


def unreachable(packet: bytes, code: int) -> bytes | None:
    """Return the ICMP error for who sent *packet*, whose sending failed with the errno *code*; None if there is none for that."""
    if code not in _CODES or not packet:
        return None
    version = packet[0] >> 4
    source: IPAddress
    destination: IPAddress
    if version == 4:
        *_, packed, packed_to = _IPV4.unpack_from(packet)
        source, destination = IPv4Address(packed), IPv4Address(packed_to)
    else:
        *_, packed, packed_to = _IPV6.unpack_from(packet)
        source, destination = IPv6Address(packed), IPv6Address(packed_to)
    head = struct.pack("!BBHI", _UNREACHABLE[version], _CODES[code][version], 0, 0)
    return _icmp(destination, source, head + packet[: _MOST_QUOTED[version]])


def datagram(source: IPAddress, source_port: int, destination: IPAddress, destination_port: int, length: int) -> bytes:
    """Return the headers of a UDP datagram with *length* octets, as an ICMP error quotes them."""
    body = _UDP.pack(source_port, destination_port, _UDP.size + length, 0)
    return _header(source, destination, UDP, body, length) + body


def _icmp(source: IPAddress, destination: IPAddress, body: bytes) -> bytes:
    version = source.version
    pseudo = b"" if version == 4 else source.packed + destination.packed + struct.pack("!II", len(body), ICMPV6)
    whole = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    return _header(source, destination, ICMP if version == 4 else ICMPV6, whole, 0) + whole


def _header(source: IPAddress, destination: IPAddress, protocol: int, body: bytes, more: int) -> bytes:
    if source.version == 6:
        return _IPV6.pack(6 << 28, len(body) + more, protocol, _TTL, source.packed, destination.packed)
    start = _IPV4.pack(0x45, 0, _IPV4.size + len(body) + more, 0, 0, _TTL, protocol, 0, source.packed, destination.packed)
    return start[:10] + struct.pack("!H", checksum(start)) + start[12:]
