"""Which notifications from inside a sandbox lead to a comparison: none that an operation of ours causes, each that may be damage."""

import struct
from ipaddress import ip_address, ip_interface

import pytest

from netcore.controller.drift import inside
from netcore.desired.objects import Address, Neighbor, VethPeer
from netcore.kernel.all_namespaces import Notice
from netcore.kernel.netlink import attr
from netcore.plan.drift import Concern, Part

MAC, BRIDGE_MAC = "02:42:00:00:00:02", "02:42:00:00:00:01"
GATEWAY, OTHER = "10.1.0.1", "10.1.0.77"
OBJECTS = (
    VethPeer(host_ifname="v0", sandbox_id="s", ifname="eth0", mac=MAC, mtu=1500),
    Address(sandbox_id="s", ifname="eth0", interface=ip_interface("10.1.0.2/24")),
    Neighbor(sandbox_id="s", ifname="eth0", address=ip_address(GATEWAY), mac=BRIDGE_MAC),
    Neighbor(sandbox_id=None, ifname="br0", address=ip_address(OTHER), mac=MAC),
)
REPLACE = 0x100


def message(type_, body, flags=0):
    return struct.pack("=IHHII", 16 + len(body), type_, flags, 0, 0) + body


def octets(mac):
    return bytes.fromhex(mac.replace(":", ""))


def link(name="eth0", *, index=2, up=True, mac=MAC, mtu=1500, type_=16, family=0):
    body = struct.pack("=BxHiII", family, 1, index, int(up), 0) + attr(3, name.encode() + b"\0") + attr(1, octets(mac))
    return message(type_, body + attr(4, struct.pack("=I", mtu)))


def neighbor(address=GATEWAY, *, mac=BRIDGE_MAC, state=0x80, type_=28):
    body = struct.pack("=BxxxiHBB", 2, 2, state, 0, 1) + attr(1, ip_address(address).packed) + attr(2, octets(mac))
    return message(type_, body)


def netconf(number, value):
    return message(80, struct.pack("=Bxxx", 2) + attr(1, struct.pack("=i", 2)) + attr(number, struct.pack("=i", value)))


ADDRESS, ROUTE = struct.pack("=BBBBI", 2, 24, 0, 0, 2), struct.pack("=BBBBBBBBI", 2, 24, 0, 0, 254, 3, 0, 1, 0)


def concerns(*messages, nsid=5, objects=OBJECTS):
    return inside.contradicted([Notice(nsid, one) for one in messages], {5: "s"}, lambda _: objects)


OF_A_CONNECT = (
    link(up=False), netconf(3, 2), message(20, ADDRESS), message(24, ROUTE), link(), message(24, ROUTE), neighbor(), message(24, ROUTE, 0x600), link(),
)  # fmt: skip


def test_a_connect_of_ours_leads_to_no_comparison():
    assert concerns(*OF_A_CONNECT) == set()


@pytest.mark.parametrize(
    "told",
    [
        [link(up=False)],
        [link(), link(up=False)],
        [link(mac=BRIDGE_MAC)],
        [link(mtu=1400)],
        [link("wan0")],
        [link("other0", index=9)],
        [link(type_=17)],
        [message(21, ADDRESS)],
        [message(25, ROUTE)],
        [message(24, ROUTE, REPLACE)],
        [neighbor(mac=MAC)],
        [neighbor(state=0x02)],
        [neighbor(type_=29)],
        [netconf(3, 1)],
        [netconf(2, 1)],
        [message(32, ROUTE)],
    ],
)
def test_what_may_be_damage_leads_to_one(told):
    assert concerns(*told) == concerns(*OF_A_CONNECT, *told) == {Concern(Part.SANDBOX, "s")}


@pytest.mark.parametrize("told", [neighbor(OTHER), neighbor(OTHER, type_=29), neighbor(OTHER, state=0x04, mac=MAC)])
def test_neighbours_that_a_sandbox_finds_by_itself_say_nothing(told):
    assert concerns(told) == set()


def test_what_is_of_no_sandbox_of_ours_is_of_nobody():
    assert concerns(link(up=False), nsid=6) == concerns(link(up=False), nsid=None) == set()


def test_of_a_sandbox_that_has_gone_nothing_is_expected():
    assert concerns(message(20, ADDRESS), objects=()) == set()
