"""The host's routes of all tables and its rules, as values: what `plan.host_routes` classifies. Reads only.

Spec: include/uapi/linux/rtnetlink.h (rtmsg, rtnexthop), include/uapi/linux/fib_rules.h.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from netcore.drivers.host_routes import DEFAULT_TABLE, MAIN_TABLE, HostRoute, RouteKind
from netcore.errors import KernelError
from netcore.kernel import codec
from netcore.kernel.netlink import NetlinkSocket, Request, walk
from netcore.model import IPAddress

_GETROUTE, _GETRULE = 26, 34
_RTMSG = struct.Struct("=BBBBBBBBI")
_RTNEXTHOP = struct.Struct("=HBBi")
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_MULTIPATH, _RTA_TABLE, _RTA_VIA = 1, 4, 5, 9, 15, 18
_FRA_TABLE, _TO_TABLE = 15, 1
_CLONED = 0x200
_KINDS = {
    1: RouteKind.SENT,
    2: RouteKind.LOCAL,
    6: RouteKind.REFUSED,
    7: RouteKind.REFUSED,
    8: RouteKind.REFUSED,
}
"""Of RTN_ types: unicast, local; blackhole, unreachable, prohibit. The others are no ways for packets of ours."""

_FAMILIES = ((socket.AF_INET, 4), (socket.AF_INET6, 16))
_NO_RULES = (errno.EOPNOTSUPP, errno.EAFNOSUPPORT)


def routes(netlink: NetlinkSocket) -> list[HostRoute]:
    """Return the routes of every table of the namespace."""
    found: list[HostRoute] = []
    for family, _ in _FAMILIES:
        request = Request(_GETROUTE, 0, codec.encode("route", {"family": family}, []), "list", "routes")
        for message in netlink.dump(request):
            found += read_routes(message)
    return found


def read_routes(message: bytes) -> Iterator[HostRoute]:
    """Yield what one message (header included) says: a route for each next hop; nothing for kinds that do not count here."""
    family, length, _, _, table, _, _, kind, flags = _RTMSG.unpack_from(message, 16)
    size = dict(_FAMILIES).get(family)
    if kind not in _KINDS or flags & _CLONED or size is None:
        return
    attributes = dict(walk(message[16 + _RTMSG.size :]))
    if _RTA_TABLE in attributes:
        table = _number(attributes[_RTA_TABLE])
    destination = ip_network((attributes.get(_RTA_DST, bytes(size)), length))
    hops = [*_next_hops(attributes[_RTA_MULTIPATH])] if _RTA_MULTIPATH in attributes else [_next_hop(attributes)]
    for link, gateway in hops:
        yield HostRoute(table=table, kind=_KINDS[kind], destination=destination, link=link, gateway=gateway)


def _next_hops(octets: bytes) -> Iterator[tuple[int, IPAddress | None]]:
    while len(octets) >= _RTNEXTHOP.size:
        length, _, _, link = _RTNEXTHOP.unpack_from(octets)
        if length < _RTNEXTHOP.size:
            return
        yield link, _gateway(dict(walk(octets[_RTNEXTHOP.size : length])))
        octets = octets[(length + 3) & ~3 :]


def _next_hop(attributes: dict[int, bytes]) -> tuple[int, IPAddress | None]:
    return _number(attributes.get(_RTA_OIF, b"")), _gateway(attributes)


def _gateway(attributes: dict[int, bytes]) -> IPAddress | None:
    # RTA_VIA: the next hop is of the other family (two octets of it, then the address).
    octets = attributes.get(_RTA_GATEWAY) or attributes.get(_RTA_VIA, b"")[2:]
    return ip_address(octets) if octets else None


def tables(netlink: NetlinkSocket) -> frozenset[int]:
    """Return the tables that some rule sends packets to; without rules in the kernel, those that it looks up then."""
    found: set[int] = set()
    for family, _ in _FAMILIES:
        try:
            messages = netlink.dump(Request(_GETRULE, 0, _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0), "list", "rules"))
        except KernelError as error:
            if error.errno not in _NO_RULES:
                raise
            found |= {MAIN_TABLE, DEFAULT_TABLE}
            continue
        for message in messages:
            _, _, _, _, table, _, _, action, _ = _RTMSG.unpack_from(message, 16)
            attributes = dict(walk(message[16 + _RTMSG.size :]))
            if action == _TO_TABLE:
                found.add(_number(attributes[_FRA_TABLE]) if _FRA_TABLE in attributes else table)
    return frozenset(found)


def _number(octets: bytes) -> int:
    return int.from_bytes(octets, sys.byteorder)
