"""Facts about the host: links, routes, uplinks, MTU of the egress route; and sockets that hold its ports."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from netcore import limits
from netcore.errors import Unavailable
from netcore.kernel import rtnl, sysctl
from netcore.kernel.netlink import ROUTE, NetlinkSocket
from netcore.model import IPAddress, IPInterface, IPNetwork
from netcore.plan.port_allocation import FALLBACK_EPHEMERAL

_DEFAULT_MTU = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """One look at the host. *on_link*: subnets of its addresses and routes, the default route excluded."""

    links: tuple[rtnl.Link, ...]
    addresses: tuple[tuple[str, IPInterface], ...]
    on_link: tuple[IPNetwork, ...]
    uplinks: tuple[str, ...]
    egress_mtu: int
    ipv6: bool
    force_forwarding: bool
    accept_ra: tuple[str, ...]


def look() -> HostFacts:
    """Return the facts about the namespace that this thread runs in."""
    with NetlinkSocket(ROUTE) as netlink:
        links = rtnl.links(netlink)
        addresses = rtnl.addresses(netlink)
        routes = rtnl.routes(netlink)
    by_index = {link.index: link for link in links}
    uplinks = []
    for index, destination, _ in routes:
        if destination.prefixlen == 0 and index in by_index and by_index[index].name not in uplinks:
            uplinks.append(by_index[index].name)
    mtus = [link.mtu for link in links if link.name in uplinks]
    ipv6 = os.path.exists("/proc/sys/net/ipv6/conf/all")
    return HostFacts(
        links=tuple(links),
        addresses=tuple((by_index[index].name, interface) for index, interface in addresses if index in by_index),
        on_link=tuple(destination for _, destination, _ in routes if destination.prefixlen),
        uplinks=tuple(uplinks),
        egress_mtu=min(mtus, default=_DEFAULT_MTU),
        ipv6=ipv6,
        force_forwarding=os.path.exists("/proc/sys/net/ipv6/conf/all/force_forwarding"),
        accept_ra=tuple(name for name in uplinks if sysctl.read(f"net/ipv6/conf/{name}/accept_ra") == "1"),
    )


_MODULES = {"vlan": "8021q"}


def check_link_kinds(kinds: Sequence[str]) -> None:
    """Raise Unavailable that names the kernel's module for the first of *kinds* that it can't make."""
    with NetlinkSocket(ROUTE) as netlink:
        for kind in kinds:
            if not rtnl.knows_kind(netlink, kind):
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


def port_socket(family: int, protocol: str, *, both: bool = False) -> socket.socket | None:
    """Return a socket to bind a port of *protocol* with; None if the kernel has no sockets of that protocol (SCTP).

    Then no program can hold the port either, though NAT may still know the protocol. *both*: with *family* 6, for IPv4 too.
    """
    kind = socket.SOCK_DGRAM if protocol in _CONNECTIONLESS else socket.SOCK_STREAM
    number = socket.IPPROTO_SCTP if protocol == "sctp" else 0
    try:
        sock = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, number)
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
    sock.bind((str(address) if address is not None else ("0.0.0.0" if family == 4 else "::"), port))
    if protocol not in _CONNECTIONLESS:
        sock.listen(limits.PROXY_BACKLOG)
