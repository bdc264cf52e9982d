"""Ports of this namespace that sockets are bound to: who has one, and binding beside our own sockets. Blocking.

Two sockets of ours may want port 53: a network's resolver at its gateway address, and what holds a published port on all
addresses. The kernel gives a packet to the one that is bound more closely.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple

from netcore.model import DNS_PORT

_UDP_UNCONNECTED, _TCP_LISTEN = "07", "0A"


class _Bound(NamedTuple):
    """A socket that listens, or takes datagrams of everybody, at *address*; of IPv6, it may take IPv4 too. *inode*: of the socket."""

    address: IPv4Address | IPv6Address
    inode: str


def bind(sock: socket.socket, address: str, port: int) -> None:
    """Bind *sock*; port 53 also beside sockets of this process. OSError (EADDRINUSE) if another program has the port."""
    try:
        sock.bind((address, port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE or port != DNS_PORT or not only_ours_are_in_the_way(sock, address, port):
            raise
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((address, port))
    if port == DNS_PORT:
        # Only from now on: while it was bound no program that shares its ports could be overlooked.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def find_holder(port: int) -> str | None:
    """Return "program (pid N)" of another process that has UDP or TCP *port*; None if it can't be found."""
    wanted = {bound.inode for table in ("udp", "udp6", "tcp", "tcp6") for bound in _bound(table, port)}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            if wanted & set(_sockets(process)):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:
            continue
    return None


def have_at(protocol: str, address: IPv4Address | IPv6Address, port: int) -> bool:
    """Return whether a socket of this process, and no other, has *port* at exactly *address*."""
    table = protocol if address.version == 4 else f"{protocol}6"
    there = {bound.inode for bound in _bound(table, port) if bound.address == address}
    return bool(there) and there <= set(_sockets(Path("/proc/self")))


def only_ours_are_in_the_way(sock: socket.socket, address: str, port: int) -> bool:
    """Return whether all sockets that keep *sock* from being bound to *address* and *port* are of this process."""
    wanted = ip_address(address)
    takes_ipv4 = sock.family == socket.AF_INET6 and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    protocol = "tcp" if sock.type == socket.SOCK_STREAM else "udp"
    versions = {wanted.version, 4} if takes_ipv4 else {wanted.version}
    in_the_way = {
        bound.inode
        for table in (protocol, f"{protocol}6")
        for bound in _bound(table, port)
        if wanted.is_unspecified or bound.address.is_unspecified or bound.address == wanted
        if bound.address.version in versions or (bound.address.version == 6 and bound.address.is_unspecified)
    }
    return in_the_way <= set(_sockets(Path("/proc/self")))


def _bound(table: str, port: int) -> Iterator[_Bound]:
    """Yield the sockets that have *port*, of a *table* of this thread's namespace.

    Spec: Linux Documentation/networking/proc_net_tcp.rst.
    """
    try:
        rows = [line.split() for line in Path("/proc/thread-self/net", table).read_text().splitlines()][1:]
    except OSError:
        return
    for row in rows:
        address, _, number = row[1].rpartition(":")
        if int(number, 16) == port and row[3] in (_UDP_UNCONNECTED, _TCP_LISTEN):
            yield _Bound(_address(address), row[9])


def _address(text: str) -> IPv4Address | IPv6Address:
    """Return an address that is written as words of 32 bits in the order of this machine."""
    words = (int(text[at : at + 8], 16) for at in range(0, len(text), 8))
    address = ip_address(b"".join(word.to_bytes(4, sys.byteorder) for word in words))
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _sockets(process: Path) -> Iterator[str]:
    """Yield the inodes of the sockets that *process* has open."""
    for descriptor in (process / "fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            yield target[len("socket:[") : -1]
