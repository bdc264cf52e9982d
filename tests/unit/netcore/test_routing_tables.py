"""Routes as the kernel writes them: kinds, tables above 255, several next hops, next hops of the other family."""

import struct
from ipaddress import ip_address, ip_network

import pytest

from netcore.drivers.host_routes import HostRoute, RouteKind
from netcore.kernel.netlink import attr
from netcore.kernel.routing_tables import read_refusal, read_routes, read_table

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
        # Of a transparent proxy, for the packets that it marks.
        (message(attr(OIF, number(1)), table=100, kind=2), []),
        (message(attr(DST, address("10.0.0.0")), length=8, kind=9), [route("10.0.0.0/8", 0, kind=RouteKind.REFUSED)]),
        (message(attr(DST, address("fd00::")), length=8, kind=9, family=V6), [route("fd00::/8", 0, kind=RouteKind.REFUSED)]),
        # Thrown out of a table of a VPN, to be sent by the main one.
        (message(attr(DST, address("10.0.0.0")), length=8, kind=9, table=52), []),
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


FWMARK, SRC = 10, 2


def rule(*attributes, family=V4, to=0, source=0, table=0, action=1, flags=0):
    return bytes(16) + struct.pack("=BBBBBBBBI", family, to, source, 0, table, 0, 0, action, flags) + b"".join(attributes)


@pytest.mark.parametrize(
    ("octets", "table", "refused"),
    [
        (rule(table=254), 254, []),
        (rule(attr(TABLE, number(51820)), table=252), 51820, []),
        (rule(attr(DST, address("172.17.0.0")), to=16, action=8), None, ["172.17.0.0/16"]),
        (rule(attr(DST, address("172.17.0.0")), to=16, action=6), None, ["172.17.0.0/16"]),
        (rule(attr(SRC, address("fd77::")), source=64, action=7, family=V6), None, ["fd77::/64"]),
        # Of some packets only; of all others; of everything (a kill switch, which a rule before it makes exceptions of).
        (rule(attr(DST, address("172.17.0.0")), attr(FWMARK, number(1)), to=16, action=8), None, []),
        (rule(attr(DST, address("172.17.0.0")), to=16, action=8, flags=2), None, []),
        (rule(action=8), None, []),
    ],
)
def test_what_a_rule_says(octets, table, refused):
    assert read_table(octets) == table
    assert [*read_refusal(octets)] == [route(subnet, 0, kind=RouteKind.REFUSED) for subnet in refused]
