"""Announce a fresh address: gratuitous ARP and unsolicited neighbour advertisement, from a packet socket.

`arp_notify` of the kernel sends nothing for a link that is brought up in another namespace.

Spec: RFC 5227 section 3 (ARP announcement), RFC 4861 section 7.2.6 (unsolicited advertisement, override flag set).
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address

from netcore.internet_checksum import checksum
from netcore.model import IPAddress
from netcore.parse.mac import octets

ETH_ARP, _ETH_IPV6 = 0x0806, 0x86DD
_BROADCAST = b"\xff" * 6
_ALL_NODES = IPv6Address("ff02::1")
_ALL_NODES_MAC = bytes.fromhex("333300000001")
_NEIGHBOR_ADVERTISEMENT, _OVERRIDE, _TARGET_LINK_LAYER = 136, 0x2000_0000, 2
_ICMPV6 = 58


def open_packet_socket() -> socket.socket:
    """Return a packet socket in the calling thread's namespace that receives nothing. Any thread may bind it to a link there."""
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)


def send(sock: socket.socket, mac: str, addresses: tuple[IPAddress, ...]) -> None:
    """Send one announcement of each address."""
    own = octets(mac)
    for address in addresses:
        sock.send(arp_frame(own, address) if isinstance(address, IPv4Address) else neighbor_frame(own, address))


def arp_frame(mac: bytes, address: IPv4Address) -> bytes:
    """Return a gratuitous ARP request for *address*."""
    packed = address.packed
    return _BROADCAST + mac + struct.pack("!HHHBBH", ETH_ARP, 1, 0x0800, 6, 4, 1) + mac + packed + bytes(6) + packed


def neighbor_frame(mac: bytes, address: IPv6Address) -> bytes:
    """Return an unsolicited neighbour advertisement for *address*, to all nodes."""
    return advertisement(mac, address, _ALL_NODES_MAC, _ALL_NODES, _OVERRIDE)


def advertisement(mac: bytes, address: IPv6Address, to_mac: bytes, to_address: IPv6Address, flags: int) -> bytes:
    """Return a neighbour advertisement that *mac* has *address* (RFC 4861 section 4.4)."""
    body = struct.pack("!BBHI", _NEIGHBOR_ADVERTISEMENT, 0, 0, flags) + address.packed
    body += bytes([_TARGET_LINK_LAYER, 1]) + mac
    pseudo = address.packed + to_address.packed + struct.pack("!II", len(body), _ICMPV6)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), _ICMPV6, 255) + address.packed + to_address.packed
    return to_mac + mac + struct.pack("!H", _ETH_IPV6) + header + body
