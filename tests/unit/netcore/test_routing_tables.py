"""Routes as the kernel writes them: kinds, tables above 255, several next hops, next hops of the other family."""

import struct
from ipaddress import ip_address, ip_network

import pytest

from netcore.drivers.host_routes import HostRoute, RouteKind
from netcore.kernel.netlink import attr
from netcore.kernel.routing_tables import read_routes

V4, V6 = 2, 10
DST, OIF, GATEWAY, MULTIPATH, TABLE, VIA = 1, 4, 5, 9, 15, 18


def message(*attributes, family=V4, length=0, table=254, kind=1, flags=0):
    return bytes(16) + struct.pack("=BBBBBBBBI", family, length, 0, 0, table, 3, 0, kind, flags) + b"".join(attributes)


def number(value):
    return struct.pack("=I", value)


def address(text):
    return ip_address(text).packed


def hop(link, *attributes):
    octets = b"".join(attributes)
    return struct.pack("=HBBi", 8 + len(octets), 0, 0, link) + octets


def route(destination, link, gateway=None, table=254, kind=RouteKind.SENT):
    return HostRoute(
        table=table, kind=kind, destination=ip_network(destination), link=link, gateway=ip_address(gateway) if gateway else None
    )


@pytest.mark.parametrize(
    ("octets", "routes"),
    [
        (message(attr(OIF, number(2)), attr(GATEWAY, address("192.0.2.1"))), [route("0.0.0.0/0", 2, "192.0.2.1")]),
        (message(attr(DST, address("10.0.0.0")), attr(OIF, number(2)), length=8), [route("10.0.0.0/8", 2)]),
        (message(attr(TABLE, number(51820)), attr(OIF, number(3)), table=252), [route("0.0.0.0/0", 3, table=51820)]),
        (message(attr(OIF, number(2)), attr(GATEWAY, address("fe80::1")), family=V6), [route("::/0", 2, "fe80::1")]),
        (message(attr(OIF, number(2)), attr(VIA, struct.pack("=H", V6) + address("fe80::1"))), [route("0.0.0.0/0", 2, "fe80::1")]),
        (
            message(attr(MULTIPATH, hop(2, attr(GATEWAY, address("192.0.2.1"))) + hop(3))),
            [route("0.0.0.0/0", 2, "192.0.2.1"), route("0.0.0.0/0", 3)],
        ),
        (message(attr(DST, address("10.0.0.0")), length=8, kind=6), [route("10.0.0.0/8", 0, kind=RouteKind.REFUSED)]),
        (message(attr(DST, address("10.0.0.0")), length=8, kind=7), [route("10.0.0.0/8", 0, kind=RouteKind.REFUSED)]),
        (message(attr(DST, address("10.0.0.0")), length=8, kind=8), [route("10.0.0.0/8", 0, kind=RouteKind.REFUSED)]),
        (message(attr(DST, address("127.0.0.0")), attr(OIF, number(1)), length=8, kind=2), [route("127.0.0.0/8", 1, kind=RouteKind.LOCAL)]),
        # Broadcast, multicast; what was learned for one destination; another family.
        (message(kind=3), []),
        (message(kind=5, family=V6), []),
        (message(flags=0x200), []),
        (message(family=28), []),
        (message(attr(MULTIPATH, struct.pack("=HBBi", 4, 0, 0, 2))), []),
    ],
)  # fmt: skip
def test_what_a_route_says(octets, routes):
    assert [*read_routes(octets)] == routes
