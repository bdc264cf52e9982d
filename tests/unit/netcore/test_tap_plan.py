"""What a sandbox with a tap may be, and what its guest is told."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_interface

import pytest

from netcore.drivers.facts import Facts
from netcore.errors import InvalidRequest
from netcore.model import Endpoint, EndpointRequest, SandboxRequest
from netcore.plan import guest, tap
from netcore.tap import Tap
from tests.support.networks import bridge_network, parent_network, pool

MAC = "02:42:0a:05:00:02"
OWN6 = IPv6Address("fd00:5::42:aff:fe05:2")
FRONT = bridge_network("front", pool("10.5.0.0/24", "10.5.0.1"), pool("fd00:5::/64", "fd00:5::1"))
ASKED = EndpointRequest(network="front", ifname="vm1", tap=Tap(owner=1000))
ENDPOINT = Endpoint(
    origin="api", network_id="front", sandbox_id="1", ifname="vm1", host_ifname="vm1", mac=MAC,
    ipv4=ip_interface("10.5.0.2/24"), ipv6=ip_interface(f"{OWN6}/64"), tap=Tap(owner=1000),
)  # fmt: skip


def test_ipv6_is_what_the_guest_makes_of_its_mac():
    assert tap.with_own_ipv6(ASKED, FRONT, MAC).ipv6 == OWN6
    assert tap.with_own_ipv6(replace(ASKED, ipv6=OWN6), FRONT, MAC).ipv6 == OWN6
    with pytest.raises(InvalidRequest, match="makes fd00:5::42:aff:fe05:2 of its MAC"):
        tap.with_own_ipv6(replace(ASKED, ipv6=IPv6Address("fd00:5::9")), FRONT, MAC)
    alone = bridge_network("front", pool("10.5.0.0/24", "10.5.0.1"))
    assert tap.with_own_ipv6(ASKED, alone, MAC).ipv6 is None


@pytest.mark.parametrize(
    ("request_", "network", "text"),
    [
        (ASKED, parent_network("front", "macvlan", pool("10.5.0.0/24")), "driver macvlan"),
        (replace(ASKED, ifname=None), FRONT, "its name is missing"),
        (replace(ASKED, ifname="veth1"), FRONT, "are for links that berth names"),
        (replace(ASKED, routes=("10.0.0.0/8=10.5.0.9",)), FRONT, "invalid route"),
        (replace(ASKED, link_local=(IPv4Address("169.254.1.1"),)), FRONT, "invalid link-local-ip"),
        (replace(ASKED, driver_options=(("a", "b"),)), FRONT, "invalid driver-opt"),
        (ASKED, bridge_network("front", pool("fd00:5::/80")), "must be a /64"),
    ],
)
def test_what_an_endpoint_with_a_tap_cannot_be(request_, network, text):
    with pytest.raises(InvalidRequest, match=text):
        tap.check_request(request_, network)


def test_what_a_sandbox_with_a_tap_cannot_be():
    tap.check_sandbox(SandboxRequest(name="web", networks=(EndpointRequest(network="a"), EndpointRequest(network="b"))))
    tap.check_sandbox(SandboxRequest(name="vm1", networks=(ASKED,)))
    for more, text in (
        ({"networks": (ASKED, EndpointRequest(network="back"))}, "is on one network"),
        ({"netns": "/run/netns/x"}, "invalid netns"),
        ({"sysctls": ("net.ipv4.ip_forward=1",)}, "invalid sysctl"),
        ({"forwards": True}, "invalid forward"),
        ({"follows": "podman:web"}, "invalid follow"),
    ):
        with pytest.raises(InvalidRequest, match=text):
            tap.check_sandbox(replace(SandboxRequest(name="vm1", networks=(ASKED,)), **more))


def test_no_network_comes_or_goes_later():
    tap.check_connect((), EndpointRequest(network="back"))
    with pytest.raises(InvalidRequest, match="together with its sandbox"):
        tap.check_connect((), ASKED)
    with pytest.raises(InvalidRequest, match="stays on its one network"):
        tap.check_connect((ENDPOINT,), EndpointRequest(network="back"))


def test_what_a_guest_is_told():
    told = guest.binding(FRONT, ENDPOINT, "vm1", resolver=True)
    gateway = IPv4Address("10.5.0.1")
    assert (told.interface, told.server, told.router, told.name_servers, told.mtu) == (
        ip_interface("10.5.0.2/24"), gateway, gateway, [gateway], 1500,
    )  # fmt: skip
    said = guest.advertisement(FRONT, ENDPOINT, b"\2\0\0\0\0\1", resolver=True)
    assert (str(said.prefix), said.router_lifetime, said.name_servers) == ("fd00:5::/64", guest.ROUTER_LIFETIME, [IPv6Address("fd00:5::1")])


def test_an_internal_network_has_names_and_no_way_out():
    inside = replace(FRONT, internal=True)
    assert guest.binding(inside, ENDPOINT, "vm1", resolver=True).router is None
    assert guest.advertisement(inside, ENDPOINT, b"\2\0\0\0\0\1", resolver=False).router_lifetime == 0
    assert guest.binding(inside, ENDPOINT, "vm1", resolver=False).name_servers == ()


@pytest.mark.parametrize(("mtu", "told"), [(1280, 1280), (9000, 9000), (65520, 1500)])
def test_an_mtu_that_a_network_card_can_have(mtu, told):
    network = replace(FRONT, common=replace(FRONT.common, mtu=mtu))
    assert guest.binding(network, ENDPOINT, "vm1", resolver=True).mtu == told
    assert guest.advertisement(network, ENDPOINT, bytes(6), resolver=True).mtu == told


def test_only_the_families_that_are_there():
    assert guest.binding(FRONT, replace(ENDPOINT, ipv4=None), "vm1", resolver=True) is None
    assert guest.advertisement(FRONT, replace(ENDPOINT, ipv6=None), b"\2\0\0\0\0\1", resolver=True) is None


def test_nothing_of_it_is_in_the_sandbox():
    from netcore import drivers

    objects = drivers.of(FRONT).endpoint_objects(FRONT, ENDPOINT, Facts(uplinks=(), firewall=True, ipv6=True))
    assert {wanted.lane.sandbox_id for wanted in objects} == {None}
    assert [wanted.describe() for wanted in objects][:2] == [
        "link vm1 type tap user 1000 master br-front mtu 1500",
        f"bridge port vm1 up learning off fdb {MAC} static sticky",
    ]
