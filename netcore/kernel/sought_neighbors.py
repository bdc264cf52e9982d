"""Searches for neighbours on a bridge by sandboxes with rules that allow no peer, and the answers that they get.

Peers must not hear such a search, because it could tell them anything. Without an answer a connection would fail late and without a
word; with one, its first packet comes to the host, which refuses it at once.

Spec: RFC 826; RFC 4861 sections 4.3, 4.4 and 7.2.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from netcore.kernel import announce
from netcore.model import IPAddress

_REQUEST, _REPLY = 1, 2
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ETHERNET_AND_IPV4 = 1, 0x0800, 6, 4
_SOLICITATION = 135
_IPV6_HEADER, _SOLICITATION_LENGTH = 40, 24
_OVERRIDE, _SOLICITED = 0x2000_0000, 0x4000_0000


@dataclass(frozen=True, slots=True)
class Sought:
    """Who has *address*? *port*: index of the bridge port that asks. *mac*, *source*: of who does."""

    port: int
    mac: bytes
    source: IPAddress
    address: IPAddress


def read_search(port: int, mac: bytes, octets: bytes) -> Sought | None:
    """Return what a frame from *port* asks, None if it is no such question. *octets*: behind its Ethernet header. Pure."""
    if len(octets) >= _ARP.size and octets[0] == 0:
        *kinds, operation, own, source, _, target = _ARP.unpack_from(octets)
        return (
            Sought(port, own, IPv4Address(source), IPv4Address(target))
            if (*kinds,) == _ETHERNET_AND_IPV4 and operation == _REQUEST
            else None
        )
    if (
        len(octets) >= _IPV6_HEADER + _SOLICITATION_LENGTH
        and octets[0] >> 4 == 6
        and octets[_IPV6_HEADER] == _SOLICITATION
        and len(mac) == 6
    ):
        target = octets[_IPV6_HEADER + 8 : _IPV6_HEADER + _SOLICITATION_LENGTH]
        return Sought(port, mac, ip_address(octets[8:24]), IPv6Address(target))
    return None


def answer(sought: Sought, mac: bytes) -> bytes:
    """Return the frame that tells who asks that *mac* has the address. Pure."""
    if isinstance(sought.address, IPv6Address):
        assert isinstance(sought.source, IPv6Address)
        return announce.advertisement(mac, sought.address, sought.mac, sought.source, _SOLICITED | _OVERRIDE)
    said = _ARP.pack(*_ETHERNET_AND_IPV4, _REPLY, mac, sought.address.packed, sought.mac, sought.source.packed)
    return sought.mac + mac + announce.ETH_ARP.to_bytes(2, "big") + said


class NeighborAnswers:
    """Sends answers, in the namespace of the thread that makes it. Raises OSError."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)

    def send(self, sought: Sought, mac: bytes) -> None:
        """Answer by the port that asked: nobody else gets it. One that has gone meanwhile gets nothing."""
        try:
            self._socket.sendto(answer(sought, mac), (socket.if_indextoname(sought.port), 0))
        except OSError:
            return

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
