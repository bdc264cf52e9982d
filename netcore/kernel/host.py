"""Facts about the host: links, addresses, routes and rules; and sockets that hold its ports."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from netcore import limits
from netcore.drivers.host_routes import HostRoute
from netcore.errors import Unavailable
from netcore.kernel import bound_ports, link_kinds, routing_tables, rtnl, sysctl
from netcore.kernel.deferred_deletes import is_leaving
from netcore.kernel.netlink import ROUTE, NetlinkSocket
from netcore.model import IPAddress, IPInterface
from netcore.plan.port_allocation import FALLBACK_EPHEMERAL


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSnapshot:
    """One look at the host. *links*: by index. *addresses*: (index of the link, address). *tables*: those that rules name.

    *routes*: with what rules refuse.
    """

    links: dict[int, rtnl.Link]
    addresses: tuple[tuple[int, IPInterface], ...]
    routes: tuple[HostRoute, ...]
    tables: frozenset[int]


def look() -> HostSnapshot:
    """Return what the namespace that this thread runs in has."""
    with NetlinkSocket(ROUTE) as netlink:
        tables, refused = routing_tables.rules(netlink)
        return HostSnapshot(
            links={link.index: link for link in rtnl.links(netlink) if not is_leaving(link.group)},
            addresses=tuple(rtnl.addresses(netlink)),
            routes=(*routing_tables.routes(netlink), *refused),
            tables=tables,
        )


def has_ipv6() -> bool:
    """Return whether the kernel has IPv6."""
    return os.path.exists("/proc/sys/net/ipv6/conf/all")


def has_force_forwarding() -> bool:
    """Return whether IPv6 forwarding can be switched on for one link (Linux 6.17)."""
    return os.path.exists("/proc/sys/net/ipv6/conf/all/force_forwarding")


_MODULES = {"vlan": "8021q"}


def check_link_kinds(kinds: Sequence[str]) -> None:
    """Raise Unavailable that names the kernel's module for the first of *kinds* that it can't make."""
    with NetlinkSocket(ROUTE) as netlink:
        for kind in kinds:
            if not link_kinds.knows_kind(netlink, kind):
                module = _MODULES.get(kind, kind)
                raise Unavailable(
                    f"kernel module {module}", f"this kernel can't make {kind} links; try `modprobe {module}` or another driver"
                )


def find_link(ifname: str) -> rtnl.Link | None:
    """Return the host's link called *ifname*, None if there is none."""
    with NetlinkSocket(ROUTE) as netlink:
        return rtnl.find_link(netlink, ifname)


def link_name(index: int) -> str:
    """Return the name of the host's link with *index*, "" if there is none."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return ""


def name() -> str:
    """Return the host's name (uname(2))."""
    return os.uname().nodename


def ephemeral_range() -> tuple[int, int]:
    """Return the host's range of ephemeral ports (rule CL-20)."""
    text = sysctl.read("net/ipv4/ip_local_port_range")
    try:
        low, high = map(int, (text or "").split())
    except ValueError:
        return FALLBACK_EPHEMERAL
    return low, high


_CONNECTIONLESS = ("udp",)
_NO_SUCH_SOCKETS = (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT)


MakeSocket = Callable[[int, int, int], socket.socket]
"""As `socket.socket`: of a family, kind and protocol."""


def port_socket(family: int, protocol: str, *, both: bool = False, make: MakeSocket = socket.socket) -> socket.socket | None:
    """Return a socket to bind a port of *protocol* with; None if the kernel has no sockets of that protocol (SCTP).

    Then no program can hold the port either, though NAT may still know the protocol. *both*: with *family* 6, for IPv4 too.
    *make*: makes it, in the namespace of the port.
    """
    kind = socket.SOCK_DGRAM if protocol in _CONNECTIONLESS else socket.SOCK_STREAM
    number = socket.IPPROTO_SCTP if protocol == "sctp" else 0
    try:
        sock = make(socket.AF_INET if family == 4 else socket.AF_INET6, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, number)
    except OSError as error:
        if protocol == "sctp" and error.errno in _NO_SUCH_SOCKETS:
            return None
        raise
    if family == 6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
    if protocol == "tcp":
        # Connections in TIME_WAIT do not hold a port; a listener does, also with this option.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return sock


def bind_port(sock: socket.socket, family: int, protocol: str, address: IPAddress | None, port: int) -> None:
    """Bind *sock* to a port of the host, on all its addresses if *address* is None; listen if *protocol* has connections.

    The backlog is for clients that are relayed; NAT takes the others to the sandbox before they reach this socket.
    """
    bound_ports.bind(sock, str(address) if address is not None else ("0.0.0.0" if family == 4 else "::"), port)
    if protocol not in _CONNECTIONLESS:
        sock.listen(limits.PROXY_BACKLOG)
