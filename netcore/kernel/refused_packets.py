"""Packets that egress rules refused, and searches for neighbours, as the kernel tells them by a log group (nfnetlink_log).

Spec: Linux include/uapi/linux/netfilter/nfnetlink_log.h; RFC 791, RFC 8200.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, replace
from ipaddress import ip_address

from netcore.desired.egress_rules import LEARNED, LOG_GROUP, SOUGHT
from netcore.kernel.netlink import NETFILTER, NetlinkSocket, Request, attr, find, message_type
from netcore.kernel.sought_neighbors import Sought, read_search
from netcore.model import IPAddress

_SUBSYSTEM = 4
_PACKET, _CONFIG = _SUBSYSTEM << 8, _SUBSYSTEM << 8 | 1
_COMMAND, _MODE, _TIMEOUT, _QUEUE_THRESHOLD = 1, 2, 4, 5
HELD_FOR = 0.1
"""Seconds for which the kernel gathers packets before it hands them on (NFULA_CFG_TIMEOUT, in hundredths)."""
_BIND, _COPY_PACKET = 1, 2
_PORT, _HARDWARE_ADDRESS, _PAYLOAD, _PREFIX = 6, 8, 9, 10
_BODY = 20
_COPIED = 128
"""Octets of each packet: an IPv6 header with some extensions, and ports."""
_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "ipv6-icmp", 132: "sctp"}
_WITH_PORTS = ("tcp", "udp", "sctp")
_EXTENSIONS = (0, 43, 60)
"""Hop-by-hop options, routing, destination options: eight octets and eight times what their second octet says."""


@dataclass(frozen=True, slots=True)
class RefusedPacket:
    """*protocol*: its name, or its number. *port*: of the destination, 0 if it has none. *is_learned*: it was not refused but recorded."""

    source: IPAddress
    address: IPAddress
    protocol: str
    port: int
    is_learned: bool = False


class RefusedPackets:
    """What comes from the log group, in the namespace of the thread that makes it. Raises KernelError if another program has the group."""

    def __init__(self) -> None:
        self._socket = NetlinkSocket(NETFILTER)
        try:
            for attribute in (
                attr(_COMMAND, bytes([_BIND])),
                attr(_MODE, struct.pack("!IBx", _COPIED, _COPY_PACKET)),
                attr(_TIMEOUT, struct.pack("!I", round(HELD_FOR * 100))),
                attr(_QUEUE_THRESHOLD, struct.pack("!I", 50)),
            ):
                head = struct.pack("!BBH", socket.AF_UNSPEC, 0, LOG_GROUP)
                self._socket.execute(Request(_CONFIG, 0, head + attribute, "bind", f"log group {LOG_GROUP}"))
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor that is readable once something came."""
        return self._socket.fileno()

    def read(self) -> list[RefusedPacket | Sought]:
        """Return what came; packets that can't be read are left out, as those are that the kernel had no room for."""
        read = (_read_message(message[_BODY:]) for message in self._socket.take() if message_type(message) == _PACKET)
        return [packet for packet in read if packet is not None]

    def close(self) -> None:
        """Give the group back."""
        self._socket.close()


def _read_message(body: bytes) -> RefusedPacket | Sought | None:
    prefix, octets = (find(body, _PREFIX) or b"").rstrip(b"\0"), find(body, _PAYLOAD) or b""
    if prefix == SOUGHT.encode():
        # Behind its length and two octets that mean nothing.
        mac = (find(body, _HARDWARE_ADDRESS) or b"")[4:10]
        return read_search(int.from_bytes(find(body, _PORT) or b"", "big"), mac, octets)
    packet = read_packet(octets)
    return replace(packet, is_learned=True) if packet is not None and prefix == LEARNED.encode() else packet


def read_packet(octets: bytes) -> RefusedPacket | None:
    """Return what the beginning of an IP packet says, None if it is none. Pure."""
    version = octets[0] >> 4 if octets else 0
    if version == 4 and len(octets) >= 20:
        protocol, at = octets[9], (octets[0] & 0xF) * 4
        source, address = octets[12:16], octets[16:20]
        has_ports = not int.from_bytes(octets[6:8], "big") & 0x1FFF
    elif version == 6 and len(octets) >= 40:
        protocol, at = octets[6], 40
        source, address = octets[8:24], octets[24:40]
        while protocol in _EXTENSIONS and at + 2 <= len(octets):
            protocol, at = octets[at], at + 8 + 8 * octets[at + 1]
        has_ports = True
    else:
        return None
    name = _PROTOCOLS.get(protocol, str(protocol))
    port = int.from_bytes(octets[at + 2 : at + 4], "big") if name in _WITH_PORTS and has_ports and at + 4 <= len(octets) else 0
    return RefusedPacket(ip_address(source), ip_address(address), name, port)
