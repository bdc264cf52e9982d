"""The Ethernet frames in which DHCPv4 and router discovery come from a guest and go to it. Pure.

Spec: RFC 791, RFC 768 (UDP), RFC 8200, RFC 4443; the filter is classic BPF (Linux Documentation/networking/filter.rst).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from netcore.classic_bpf import (
    JUMP_IF_EQUAL,
    JUMP_IF_SET,
    LOAD,
    LOAD_HALF,
    LOAD_HALF_BEHIND,
    LOAD_HEADER_LENGTH,
    LOAD_OCTET,
    RETURN,
    instruction,
)
from netcore.internet_checksum import checksum
from netcore.taps import dhcp_message, router_advertisement
from netcore.taps.dhcp_message import BROADCAST_FLAG, UNSPECIFIED, Kind, Message

_SERVER_PORT, _CLIENT_PORT = 67, 68
_IPV4, _IPV6, _UDP, _ICMPV6 = 0x0800, 0x86DD, 17, 58
_HEADER, _HEADER4, _HEADER6, _HEADER_UDP = 14, 20, 40, 8
_EVERYBODY, _ALL_NODES_MAC = b"\xff" * 6, bytes.fromhex("333300000001")
_BROADCAST, _ALL_NODES = IPv4Address("255.255.255.255"), IPv6Address("ff02::1")
_TTL = 64
MOST = 1514
"""Octets of a frame that is read."""

# Offset of what the kernel knows of a frame: whether it goes out.
_PACKET_TYPE, _OUTGOING = 0xFFFF_F000 + 4, 4


FILTER = b"".join((
    instruction(LOAD, _PACKET_TYPE), instruction(JUMP_IF_EQUAL, _OUTGOING, 15, 0),
    instruction(LOAD_HALF, 12), instruction(JUMP_IF_EQUAL, _IPV4, 0, 7),
    instruction(LOAD_OCTET, _HEADER + 9), instruction(JUMP_IF_EQUAL, _UDP, 0, 11),
    instruction(LOAD_HALF, _HEADER + 6), instruction(JUMP_IF_SET, 0x1FFF, 9, 0),
    instruction(LOAD_HEADER_LENGTH, _HEADER), instruction(LOAD_HALF_BEHIND, _HEADER + 2), instruction(JUMP_IF_EQUAL, _SERVER_PORT, 5, 6),
    instruction(JUMP_IF_EQUAL, _IPV6, 0, 5),
    instruction(LOAD_OCTET, _HEADER + 6), instruction(JUMP_IF_EQUAL, _ICMPV6, 0, 3),
    instruction(LOAD_OCTET, _HEADER + _HEADER6), instruction(JUMP_IF_EQUAL, router_advertisement.SOLICITATION, 0, 1),
    instruction(RETURN, MOST),
    instruction(RETURN, 0),
))  # fmt: skip
"""The program that lets through what comes in for port 67 of UDP and router solicitations, and nothing that goes out."""


@dataclass(frozen=True, slots=True)
class Solicitation:
    """A router solicitation. *source*: unspecified, or the guest's link-local address."""

    source: IPv6Address


def read(frame: bytes, mac: bytes) -> Message | Solicitation | None:
    """Return what a frame from the guest with *mac* asks; None if it is no such question, or of another MAC."""
    if len(frame) < _HEADER + _HEADER4 or frame[6:12] != mac:
        return None
    kind = int.from_bytes(frame[12:14], "big")
    packet = frame[_HEADER:]
    if kind == _IPV4:
        return _read_dhcp(packet)
    if kind == _IPV6 and len(packet) >= _HEADER6 + 8 and packet[6] == _ICMPV6 and packet[7] == 255:
        length = int.from_bytes(packet[4:6], "big")
        message = packet[_HEADER6 : _HEADER6 + length]
        if len(message) == length and router_advertisement.is_solicitation(message):
            return Solicitation(IPv6Address(packet[8:24]))
    return None


def _read_dhcp(packet: bytes) -> Message | None:
    start = (packet[0] & 0x0F) * 4
    if packet[0] >> 4 != 4 or start < _HEADER4 or packet[9] != _UDP or int.from_bytes(packet[6:8], "big") & 0x3FFF:
        return None
    datagram = packet[start:]
    if len(datagram) < _HEADER_UDP:
        return None
    _, port, length, _ = struct.unpack("!HHHH", datagram[:_HEADER_UDP])
    if port != _SERVER_PORT or not _HEADER_UDP <= length <= len(datagram):
        return None
    message = dhcp_message.decode(datagram[_HEADER_UDP:length])
    return message if message is not None and not message.is_reply else None


def dhcp_frame(message: Message, *, source: IPv4Address, mac: bytes) -> bytes:
    """Return the frame with a reply, from the server at *source* and *mac* (RFC 2131 section 4.1: where it is sent to)."""
    if message.client != UNSPECIFIED and message.kind is not Kind.NAK:
        to, to_mac = message.client, message.hardware_address
    elif message.flags & BROADCAST_FLAG or message.kind is Kind.NAK:
        to, to_mac = _BROADCAST, _EVERYBODY
    else:
        to, to_mac = message.yours, message.hardware_address
    payload = dhcp_message.encode(message)
    length = _HEADER_UDP + len(payload)
    # Without a checksum of UDP, as IPv4 allows; the header has one.
    udp = struct.pack("!HHHH", _SERVER_PORT, _CLIENT_PORT, length, 0) + payload
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, _HEADER4 + length, 0, 0, _TTL, _UDP, 0, source.packed, to.packed)
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    return to_mac + mac + struct.pack("!H", _IPV4) + header + udp


def advertisement_frame(message: bytes, *, source: IPv6Address, mac: bytes) -> bytes:
    """Return the frame with a router advertisement to all nodes, from the router at *source* and *mac*."""
    pseudo = source.packed + _ALL_NODES.packed + struct.pack("!II", len(message), _ICMPV6)
    message = message[:2] + struct.pack("!H", checksum(pseudo + message)) + message[4:]
    header = struct.pack("!IHBB", 6 << 28, len(message), _ICMPV6, 255) + source.packed + _ALL_NODES.packed
    return _ALL_NODES_MAC + mac + struct.pack("!H", _IPV6) + header + message
