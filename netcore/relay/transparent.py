"""Sockets with addresses that are not this host's: what is sent to those comes to them, where rules and routes see to it (ip(7))."""

from __future__ import annotations

import contextlib
import socket
from ipaddress import IPv6Address, ip_address

from netcore.model import IPAddress
from netcore.relay.clients import Peer

_IP_TRANSPARENT, _IPV6_TRANSPARENT = 19, 75


def make_transparent(sock: socket.socket) -> None:
    """Let *sock* have any address (IP_TRANSPARENT); OSError without CAP_NET_ADMIN over its namespace."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)


def take_source(sock: socket.socket, peer: Peer) -> None:
    """Give *sock* the address and port of the client *peer*, if what is sent to that can come back to it.

    A client on the host itself has none that could: loopback, link-local, and one of the other family; *sock* then has what the
    kernel chooses.
    """
    address: IPAddress = ip_address(str(peer[0]).partition("%")[0])
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    version = 6 if sock.family == socket.AF_INET6 else 4
    if address.version != version or address.is_loopback or address.is_link_local or address.is_unspecified:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    make_transparent(sock)
    # Refused where the sandbox has a connection of that very port still; then it sees the nest.
    with contextlib.suppress(OSError):
        sock.bind((str(address), peer[1]))
