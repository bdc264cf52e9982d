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
from netcore.kernel import rtnl_bodies
from netcore.kernel.netlink import NetlinkSocket, Request, find, walk
from netcore.model import IPAddress

_GETROUTE, _GETRULE = 26, 34
_RTMSG = struct.Struct("=BBBBBBBBI")
_RTNEXTHOP = struct.Struct("=HBBi")
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_MULTIPATH, _RTA_TABLE, _RTA_VIA = 1, 4, 5, 9, 15, 18
_FRA_DST, _FRA_SRC, _FRA_TABLE, _TO_TABLE = 1, 2, 15, 1
_FRA_MORE = {3, 10, 12, 17, 19, 20, 22, 23, 24}
"""Links, mark, tunnel, VRF, users, protocol and ports: a rule with one of them is not about all packets from or to somewhere."""
_INVERTED = 0x2
_CLONED = 0x200
_REFUSING = (6, 7, 8)
_THROW, _LOCAL = 9, 2
_KINDS = {1: RouteKind.SENT, _LOCAL: RouteKind.LOCAL, _THROW: RouteKind.REFUSED, **dict.fromkeys(_REFUSING, RouteKind.REFUSED)}
"""Of RTN_ types: unicast, local; throw; blackhole, unreachable, prohibit. The others are no ways for packets of ours."""

_FAMILIES = ((socket.AF_INET, 4), (socket.AF_INET6, 16))
_NO_RULES = (errno.EOPNOTSUPP, errno.EAFNOSUPPORT)


def routes(netlink: NetlinkSocket) -> list[HostRoute]:
    """Return the routes of every table of the namespace."""
    found: list[HostRoute] = []
    for family, _ in _FAMILIES:
        request = Request(_GETROUTE, 0, rtnl_bodies.route(family), "list", "routes")
        for message in netlink.dump(request):
            found += read_routes(message)
    return found


def is_link_local(message: bytes) -> bool:
    """Return whether a message (header included) is of one of the routes that each link has by itself with IPv6. It is read no further."""
    if message[16] != socket.AF_INET6:
        return False
    destination, length = find(message[16 + _RTMSG.size :], _RTA_DST) or b"\0", message[17]
    return (length >= 8 and destination[0] == 0xFF) or (length >= 10 and destination[0] == 0xFE and destination[1] & 0xC0 == 0x80)


def read_routes(message: bytes) -> Iterator[HostRoute]:
    """Yield what one message (header included) says: a route for each next hop; nothing for kinds that do not count here."""
    family, length, _, _, table, _, _, kind, flags = _RTMSG.unpack_from(message, 16)
    size = dict(_FAMILIES).get(family)
    if kind not in _KINDS or flags & _CLONED or size is None:
        return
    attributes = dict(walk(message[16 + _RTMSG.size :]))
    if _RTA_TABLE in attributes:
        table = _number(attributes[_RTA_TABLE])
    if kind == _THROW and table != MAIN_TABLE:
        # On to the next table, which is the main one in the end; behind that there is none.
        return
    if kind == _LOCAL and length == 0:
        # Of a transparent proxy, for the packets that its rule marks: it makes no address this host's own.
        return
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


def rules(netlink: NetlinkSocket) -> tuple[frozenset[int], list[HostRoute]]:
    """Return the tables that some rule sends packets to, and what rules refuse, as routes.

    Without rules in the kernel, the tables are those that it looks up then.
    """
    tables: set[int] = set()
    refused: list[HostRoute] = []
    for family, _ in _FAMILIES:
        try:
            messages = netlink.dump(Request(_GETRULE, 0, _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0), "list", "rules"))
        except KernelError as error:
            if error.errno not in _NO_RULES:
                raise
            tables |= {MAIN_TABLE, DEFAULT_TABLE}
            continue
        for message in messages:
            table = read_table(message)
            if table is not None:
                tables.add(table)
            refused += read_refusal(message)
    return frozenset(tables), refused


def read_table(message: bytes) -> int | None:
    """Return the table that a rule (header included) sends packets to, None if it does something else."""
    _, _, _, _, table, _, _, action, _ = _RTMSG.unpack_from(message, 16)
    attributes = dict(walk(message[16 + _RTMSG.size :]))
    if action != _TO_TABLE:
        return None
    return _number(attributes[_FRA_TABLE]) if _FRA_TABLE in attributes else table


def read_refusal(message: bytes) -> Iterator[HostRoute]:
    """Yield where a rule lets no packet go to or come from: `ip rule add to 172.17.0.0/16 prohibit`."""
    _, to_length, from_length, _, _, _, _, action, flags = _RTMSG.unpack_from(message, 16)
    attributes = dict(walk(message[16 + _RTMSG.size :]))
    if action not in _REFUSING or flags & _INVERTED or attributes.keys() & _FRA_MORE:
        return
    for attribute, length in ((_FRA_DST, to_length), (_FRA_SRC, from_length)):
        if attribute in attributes:
            subnet = ip_network((attributes[attribute], length))
            yield HostRoute(table=MAIN_TABLE, kind=RouteKind.REFUSED, destination=subnet, link=0, gateway=None)


def _number(octets: bytes) -> int:
    return int.from_bytes(octets, sys.byteorder)
