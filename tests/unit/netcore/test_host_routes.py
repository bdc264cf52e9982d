"""What routes and rules of the host mean: uplinks by family, and what a new subnet must keep clear of."""

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from netcore.drivers.host_routes import (
    HostLinkInfo,
    HostRoute,
    HostRoutes,
    HostView,
    OnLink,
    RouteKind,
    classify,
    refusal,
    warning,
)
from netcore.plan import ipam

LINKS = {
    1: HostLinkInfo(name="lo", mtu=65536, is_tunnel=False),
    2: HostLinkInfo(name="eth0", mtu=1500, is_tunnel=False),
    3: HostLinkInfo(name="wg0", mtu=1420, is_tunnel=True),
    4: HostLinkInfo(name="br-a", mtu=1500, is_tunnel=False),
    5: HostLinkInfo(name="lan0", mtu=9000, is_tunnel=False),
}
ADDRESSES = tuple(
    (index, ip_interface(text))
    for index, text in (
        (1, "127.0.0.1/8"), (2, "192.0.2.5/24"), (2, "2001:db8::5/64"), (2, "fe80::5/64"), (3, "10.8.0.2/24"), (4, "172.17.0.1/16"),
    )
)  # fmt: skip


def route(destination, link=2, gateway=None, table=254, kind=RouteKind.SENT):
    return HostRoute(
        table=table, kind=kind, destination=ip_network(destination), link=link, gateway=ip_address(gateway) if gateway else None
    )


CONNECTED = (route("192.0.2.0/24"), route("2001:db8::/64"), route("fe80::/64"), route("10.8.0.0/24", 3), route("172.17.0.0/16", 4))
DEFAULT = route("0.0.0.0/0", gateway="192.0.2.1")


def classified(*routes, tables=(253, 254, 255)):
    return classify(HostView(links=LINKS, addresses=ADDRESSES, routes=(*CONNECTED, *routes), tables=tables), {"br-a"})


@pytest.mark.parametrize(
    ("routes", "tables", "uplinks4", "uplinks6"),
    [
        ((), (254,), (), ()),
        ((DEFAULT,), (254,), ("eth0",), ()),
        ((DEFAULT, route("::/0", gateway="fe80::1")), (254,), ("eth0",), ("eth0",)),
        # wg-quick: not fwmark 51820 lookup 51820.
        ((DEFAULT, route("0.0.0.0/0", 3, table=51820)), (254, 51820), ("eth0", "wg0"), ()),
        ((DEFAULT, route("0.0.0.0/0", 3, table=51820)), (254,), ("eth0",), ()),
        # def1, with and without a gateway.
        ((DEFAULT, route("0.0.0.0/1", 3, "10.8.0.1"), route("128.0.0.0/1", 3, "10.8.0.1")), (254,), ("eth0", "wg0"), ()),
        ((route("::/1", 3), route("8000::/1", 3)), (254,), (), ("wg0",)),
        ((route("0.0.0.0/1"), route("128.0.0.0/1")), (254,), ("eth0",), ()),
        # Split: by a gateway, or over a tunnel, which has none.
        ((DEFAULT, route("10.50.0.0/16", 5, "192.0.2.9")), (254,), ("eth0", "lan0"), ()),
        ((DEFAULT, route("10.50.0.0/16", 3)), (254,), ("eth0", "wg0"), ()),
        # A neighbourhood is no way out, and what is refused leads nowhere.
        ((DEFAULT, route("10.50.0.0/16", 5)), (254,), ("eth0",), ()),
        ((route("0.0.0.0/0", 1, kind=RouteKind.REFUSED),), (254,), (), ()),
        ((route("0.0.0.0/0", 4, "172.17.0.9"), route("0.0.0.0/0", 9, "172.17.0.9")), (254,), (), ()),
        # Several default routes, of one table or of several next hops.
        ((DEFAULT, route("0.0.0.0/0", 5, "198.51.100.1")), (254,), ("eth0", "lan0"), ()),
    ],
)  # fmt: skip
def test_uplinks_are_the_links_that_traffic_leaves_by(routes, tables, uplinks4, uplinks6):
    found = classified(*routes, tables=tables)
    assert (found.uplinks4, found.uplinks6) == (uplinks4, uplinks6)
    assert set(found.uplinks) == {*uplinks4, *uplinks6}


def test_mtu_is_the_lowest_of_links_with_a_default_route():
    assert classified().egress_mtu is None
    assert classified(DEFAULT, route("10.50.0.0/16", 3)).egress_mtu == 1500
    assert classified(DEFAULT, route("0.0.0.0/1", 3), route("128.0.0.0/1", 3)).egress_mtu == 1420


def test_what_no_pool_may_overlap():
    found = classified(
        DEFAULT, route("10.66.0.0/16", gateway="198.51.100.9"), route("172.30.0.0/16", 5), route("203.0.113.0/24", 1, kind=RouteKind.LOCAL, table=255),
        route("ff00::/8"), route("::/0", gateway="fe80::1"),
    )  # fmt: skip
    assert {str(subnet) for subnet in found.forbidden()} == {
        "127.0.0.0/8", "127.0.0.1/32", "192.0.2.0/24", "192.0.2.5/32", "2001:db8::/64", "2001:db8::5/128", "10.8.0.0/24", "10.8.0.2/32",
        "192.0.2.1/32", "198.51.100.9/32", "172.30.0.0/16", "203.0.113.0/24",
    }  # fmt: skip
    assert found.distant == ((ip_network("10.66.0.0/16"), "eth0"),)


POOLS = ((ip_network("10.0.0.0/15"), 16),)


@pytest.mark.parametrize(
    ("routes", "chosen"),
    [
        ((), "10.0.0.0/16"),
        # Wider than the subnet: the network's own route is the more particular one.
        ((route("10.0.0.0/8", gateway="192.0.2.1"),), "10.0.0.0/16"),
        ((route("10.0.0.0/16", gateway="192.0.2.1"),), "10.1.0.0/16"),
        ((route("10.0.5.0/24", gateway="192.0.2.1"),), "10.1.0.0/16"),
        # There is no other one.
        ((route("10.0.5.0/24", gateway="192.0.2.1"), route("10.1.5.0/24", gateway="192.0.2.1")), "10.0.0.0/16"),
        ((route("10.0.0.0/16", 0, kind=RouteKind.REFUSED),), "10.1.0.0/16"),
        ((route("10.0.0.0/16", 0, kind=RouteKind.REFUSED), route("10.1.5.0/24", gateway="192.0.2.1")), "10.1.0.0/16"),
        ((route("10.0.0.0/8", 0, kind=RouteKind.REFUSED),), "10.0.0.0/16"),
        # In a table that no rule names.
        ((route("10.0.5.0/24", gateway="192.0.2.1", table=7),), "10.0.0.0/16"),
    ],
)
def test_pool_prefers_what_routes_leave_alone(routes, chosen):
    found = classified(*routes)
    assert str(ipam.choose_subnet(POOLS, found.forbidden(), avoided=found.unwelcome())) == chosen


def test_default_in_disguise_is_none_of_the_routes_to_avoid():
    pieces = [route(subnet, 3, "10.8.0.1") for subnet in ip_network("0.0.0.0/0").subnets(new_prefix=4)]
    found = classified(*pieces)
    assert found.distant == ()
    assert found.uplinks4 == ("wg0",)


@pytest.mark.parametrize(
    ("subnet", "ours", "reason"),
    [
        ("192.0.2.0/24", (), "overlaps 192.0.2.0/24, the subnet of this host's link eth0; choose another subnet"),
        ("192.0.2.128/25", (), "overlaps 192.0.2.0/24, the subnet of this host's link eth0; choose another subnet"),
        ("192.0.2.0/24", ("eth0",), None),
        ("10.8.0.0/16", (), "covers 10.8.0.2, this host's own address on link wg0; choose another subnet"),
        ("10.8.0.128/25", (), None),
        ("198.51.100.0/24", (), "covers 198.51.100.9, a router that this host uses on link eth0; choose another subnet"),
        ("2001:db8::/64", (), "overlaps 2001:db8::/64, the subnet of this host's link eth0; choose another subnet"),
        ("10.50.0.0/16", (), None),
    ],
)
def test_subnet_of_the_host_is_refused(subnet, ours, reason):
    found = classified(DEFAULT, route("10.66.0.0/16", gateway="198.51.100.9"))
    assert refusal(ip_network(subnet), found, ours) == reason


@pytest.mark.parametrize(
    ("subnet", "text"),
    [
        ("10.66.5.0/24", "subnet 10.66.5.0/24 overlaps this host's route to 10.66.0.0/16 by link eth0: this host no longer reaches 10.66.5.0/24 there"),
        ("10.0.0.0/8", "subnet 10.0.0.0/8 overlaps this host's route to 10.66.0.0/16 by link eth0: 10.66.0.0/16 is not reached on the network"),
        ("10.77.0.0/16", "subnet 10.77.0.0/16 overlaps 10.77.0.0/16, which a route or rule of this host refuses (blackhole, unreachable, prohibit, throw)"),
        ("10.77.7.0/24", None),
        ("fd00::/64", None),
    ],
)  # fmt: skip
def test_subnet_over_a_route_is_a_warning(subnet, text):
    routes = HostRoutes(
        distant=((ip_network("10.66.0.0/16"), "eth0"),),
        refused=(ip_network("10.77.0.0/16"),),
        on_link=(OnLink(ip_network("192.0.2.0/24"), "eth0"),),
    )
    assert warning(ip_network(subnet), routes) == text
