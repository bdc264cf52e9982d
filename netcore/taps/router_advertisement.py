"""ICMPv6 router solicitations and advertisements (RFC 4861), with RDNSS and DNSSL (RFC 8106). Pure.

The kernel fills in the checksum of a raw ICMPv6 socket; here it is zero.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network

from netcore.parse.mac import interface_identifier

SOLICITATION, ADVERTISEMENT = 133, 134
SOURCE_LINK_ADDRESS, PREFIX, LINK_MTU, RDNSS, DNSSL = 1, 3, 5, 25, 31
ON_LINK, AUTONOMOUS = 0x80, 0x40
HOP_LIMIT = 64


@dataclass(frozen=True)
class Advertisement:
    """What the router says. Lifetimes in seconds; `router_lifetime` 0 says that it is no default router."""

    link_address: bytes
    prefix: IPv6Network
    mtu: int
    router_lifetime: int
    lifetime: int
    name_servers: Sequence[IPv6Address] = ()
    search: Sequence[str] = ()


def is_solicitation(data: bytes) -> bool:
    """Whether this ICMPv6 message is a well-formed router solicitation (RFC 4861, section 6.1.1, as to what the message itself shows)."""
    if len(data) < 8 or data[0] != SOLICITATION or data[1] != 0:
        return False
    at = 8
    while at < len(data):
        if at + 1 >= len(data) or data[at + 1] == 0:
            return False
        at += 8 * data[at + 1]
    return at == len(data)


def encode(said: Advertisement) -> bytes:
    """The advertisement as an ICMPv6 message."""
    message = struct.pack("!BBHBBHII", ADVERTISEMENT, 0, 0, HOP_LIMIT, 0, said.router_lifetime, 0, 0)
    message += _option(SOURCE_LINK_ADDRESS, said.link_address)
    message += _option(LINK_MTU, struct.pack("!HI", 0, said.mtu))
    flags = ON_LINK | (AUTONOMOUS if said.prefix.prefixlen == 64 else 0)  # SLAAC needs 64 bits (RFC 4862, section 5.5.3)
    prefix = struct.pack("!BBIII16s", said.prefix.prefixlen, flags, said.lifetime, said.lifetime, 0, said.prefix.network_address.packed)
    message += _option(PREFIX, prefix)
    if said.name_servers:
        servers = b"".join(server.packed for server in said.name_servers)
        message += _option(RDNSS, struct.pack("!HI", 0, said.lifetime) + servers)
    if said.search:
        message += _option(DNSSL, struct.pack("!HI", 0, said.lifetime) + b"".join(map(_name, said.search)))
    return message


def interface_address(prefix: IPv6Network, hardware_address: bytes) -> IPv6Address:
    """The address that a guest with this MAC makes of a /64 by SLAAC with EUI-64 (RFC 4291, appendix A)."""
    if prefix.prefixlen != 64 or len(hardware_address) != 6:
        raise ValueError(f"EUI-64 needs a /64 and 6 bytes, not {prefix} and {len(hardware_address)} bytes")
    return prefix[int.from_bytes(interface_identifier(hardware_address), "big")]


def _option(kind: int, value: bytes) -> bytes:
    eighths = (len(value) + 2 + 7) // 8
    return (bytes((kind, eighths)) + value).ljust(8 * eighths, b"\0")


def _name(name: str) -> bytes:
    labels = [label.encode("ascii") for label in name.rstrip(".").split(".")]
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
