"""Default routes that an adopted namespace has by itself: read, taken away and given back as they were.

A route is kept as the kernel tells it, and told to the kernel as it is kept, like `ip route save` and `ip route restore` do:
so metric, source address, several next hops and all else come back. Spec: rtnetlink(7), struct rtmsg.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address

from netcore.default_route import DefaultRoute
from netcore.kernel.netlink import CREATE, ROUTE, NetlinkSocket, Request, walk

_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_RTMSG = struct.Struct("=BBBBBBBBI")
_HEADER_LENGTH = 16
_TABLE_MAIN, _UNICAST = 254, 1
_RTA_GATEWAY, _RTA_PRIORITY = 5, 6
_RTNH_F_ONLINK = 4
_APPEND = 0x800


def read() -> tuple[DefaultRoute, ...]:
    """Return the default routes of the main table of the namespace that this thread is in."""
    result = []
    with NetlinkSocket(ROUTE) as netlink:
        for family, number in ((socket.AF_INET, 4), (socket.AF_INET6, 6)):
            for message in netlink.dump(Request(_GETROUTE, 0, _RTMSG.pack(family, *[0] * 8), "list", "routes")):
                body = message[_HEADER_LENGTH:]
                *fields, flags = _RTMSG.unpack_from(body)
                _, length, _, _, table, _, _, kind = fields
                if length or table != _TABLE_MAIN or kind != _UNICAST:
                    continue
                # What else is in the flags is the state of the link, which the kernel does not take back.
                kept = _RTMSG.pack(*fields, flags & _RTNH_F_ONLINK) + body[_RTMSG.size :]
                hop = dict(walk(body[_RTMSG.size :])).get(_RTA_GATEWAY)
                result.append(DefaultRoute(family=number, gateway=ip_address(hop) if hop else None, message=kept.hex()))
    return tuple(result)


def metric(route: DefaultRoute) -> int:
    """Return the metric of a route, 0 for none."""
    given = dict(walk(bytes.fromhex(route.message)[_RTMSG.size :])).get(_RTA_PRIORITY)
    return struct.unpack("=I", given)[0] if given is not None else 0


def give_back(route: DefaultRoute) -> Request:
    """Set *route* beside one that has the same metric."""
    return Request(_NEWROUTE, CREATE | _APPEND, bytes.fromhex(route.message), "set", route.describe())


def take_away(route: DefaultRoute) -> Request:
    return Request(_DELROUTE, 0, bytes.fromhex(route.message), "delete", route.describe())
