"""How often damage is repaired, and which of it root in a sandbox may have done."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest

from netcore import limits
from netcore.controller.drift import kernel_objects
from netcore.desired.objects import Address, BridgePort, LinkUp, Neighbor, Sysctl, Veth, VethPeer
from netcore.kernel.observe import Damaged
from netcore.plan.drift import Concern, Damage, Part, Repairs

BOX, NET = Concern(Part.SANDBOX, "box"), Concern(Part.NETWORK, "net")
MAC = "02:42:00:00:00:01"


def damage(name="link v0", *, inside=False, concern=BOX):
    return Damage(key=("link", name), kind="veth", description=name, concern=concern, owner="box", inside=inside)


@pytest.mark.parametrize(("inside", "times"), [(False, limits.DRIFT_ATTEMPTS), (True, limits.DRIFT_ATTEMPTS_INSIDE)])
def test_an_object_is_repaired_so_often_and_then_left(inside, times):
    repairs, broken = Repairs(), damage(inside=inside)
    for number in range(times):
        assert repairs.choose([broken], float(number)) == ([broken], [])
        repairs.done(broken, float(number), None)
        repairs.settle(BOX, [], float(number))
    assert repairs.choose([broken], 100.0) == ([], [broken])
    # It is said once, and warned of as long as it lasts.
    assert repairs.choose([broken], 101.0) == ([], [])
    assert repairs.left() == [broken]
    assert "left alone now" in repairs.warnings(101.0)[0]
    assert repairs.counts == {"veth": times}


def broken_until_left(repairs, broken, now=0.0):
    while repairs.choose([broken], now) != ([], [broken]):
        repairs.done(broken, now, None)


def test_what_was_left_on_the_host_is_repaired_again_after_it_was_right_or_an_hour_later():
    repairs, broken = Repairs(), damage()
    broken_until_left(repairs, broken)
    repairs.settle(BOX, [], 2.0)
    assert repairs.choose([broken], 3.0) == ([broken], [])
    broken_until_left(repairs, broken, 3.0)
    assert repairs.choose([broken], 5.0 + limits.DRIFT_PERIOD) == ([broken], [])


def test_what_is_in_a_sandbox_stays_left_until_somebody_asks():
    repairs, broken = Repairs(), damage(inside=True)
    broken_until_left(repairs, broken)
    assert repairs.choose([broken], 5.0 + limits.DRIFT_PERIOD) == ([], [])
    # Its root puts it right, and breaks it again: nothing is said while it is right, and nothing is repaired any more.
    repairs.settle(BOX, [], 6.0)
    assert (repairs.left(), repairs.warnings(7.0 + limits.DRIFT_PERIOD)) == ([], ())
    assert repairs.choose([broken], 8.0) == ([], [])
    assert repairs.left() == [broken]
    repairs.forget(BOX)
    assert repairs.choose([broken], 9.0) == ([broken], [])


def test_what_needs_something_that_is_left_waits_and_is_not_said():
    repairs, link = Repairs(), damage(inside=True)
    route = replace(damage("route", inside=True), needs=frozenset({link.key}))
    chosen, _ = repairs.choose([route, link], 0.0)
    assert chosen == [link, route]
    repairs.done(link, 0.0, None)
    assert repairs.choose([route, link], 1.0) == ([], [link])
    assert [line.split(" was")[0] for line in repairs.warnings(1.0)] == ["link v0 (sandbox box)"]
    # With the link it is right again, or can be repaired.
    repairs.settle(BOX, [route], 2.0)
    assert repairs.choose([replace(route, needs=frozenset())], 3.0) == ([replace(route, needs=frozenset())], [])


def test_what_is_left_is_named_before_what_was_repaired():
    repairs = Repairs()
    for number in range(limits.DRIFT_WARNINGS):
        repairs.done(damage(str(number)), 0.0, None)
    broken_until_left(repairs, damage("left", inside=True))
    assert "left (sandbox box) was changed again" in repairs.warnings(1.0)[0]


VETH = Veth(host_ifname="v0", sandbox_id="box", ifname="eth0", mac=MAC, mtu=1500, bridge="br0")
PEER = VethPeer(host_ifname="v0", sandbox_id="box", ifname="eth0", mac=MAC, mtu=1500)
UP, PORT = LinkUp(sandbox_id="box", ifname="eth0"), BridgePort(host_ifname="v0", mac=MAC)
ADDRESS = Address(sandbox_id="box", ifname="eth0", interface=ip_interface("10.0.0.2/24"))
RP_FILTER = Sysctl(sandbox_id="box", path="net/ipv4/conf/eth0/rp_filter", value="2")
NEIGHBOR = Neighbor(sandbox_id=None, ifname="br0", address=ip_address("10.0.0.2"), mac=MAC)


@pytest.mark.parametrize(
    ("damaged", "inside", "needs"),
    [
        ([VETH], {"veth": False}, {}),
        ([PEER], {"veth_peer": True}, {}),
        ([NEIGHBOR], {"neighbor": False}, {}),
        # The pair is gone: root in the sandbox may have deleted it, and all that is on it goes with it.
        (
            [VETH, PORT, UP, ADDRESS, PEER],
            {"veth": True, "bridge_port": False, "link_up": True, "address": True, "veth_peer": True},
            {
                "bridge_port": {VETH.key},
                "veth_peer": {VETH.key},
                "link_up": {VETH.key, PEER.key},
                "address": {VETH.key, UP.key, PEER.key},
            },
        ),
        ([UP, ADDRESS], {"link_up": True, "address": True}, {"address": {UP.key}}),
        ([UP, RP_FILTER], {"link_up": True, "sysctl": True}, {}),
        ([PEER, UP, RP_FILTER], dict.fromkeys(("veth_peer", "link_up", "sysctl"), True), {"link_up": {PEER.key}, "sysctl": {PEER.key}}),
        (
            [VETH, PEER, UP, ADDRESS],
            dict.fromkeys(("veth_peer", "link_up", "address"), True) | {"veth": False},
            {"link_up": {PEER.key}, "address": {PEER.key, UP.key}},
        ),
        ([VETH, PEER], {"veth": False, "veth_peer": True}, {}),
    ],
    ids=["host's end", "sandbox's end", "host", "pair", "down", "down and a sysctl", "renamed", "renamed and off the bridge", "both ends"],
)
def test_what_root_in_a_sandbox_may_have_broken(damaged, inside, needs):
    gone = frozenset({VETH.key}) if PORT in damaged else frozenset()
    damages = kernel_objects.damages_of(Damaged(tuple(damaged), gone), BOX, "box")
    assert {damage.kind: damage.inside for damage in damages} == inside
    assert {damage.kind: set(damage.needs) for damage in damages if damage.needs} == needs


def test_what_could_not_be_repaired_is_said_until_it_is_right():
    repairs, broken = Repairs(), damage()
    repairs.choose([broken], 0.0)
    repairs.done(broken, 0.0, "no such bridge")
    assert repairs.warnings(1.0) == ("link v0 (sandbox box) is not as it should be and could not be repaired: no such bridge",)
    repairs.settle(BOX, [], 2.0)
    assert "berth has repaired it once" in repairs.warnings(3.0)[0]
    repairs.settle(BOX, [], 1.0 + limits.DRIFT_PERIOD)
    assert repairs.warnings(1.0 + limits.DRIFT_PERIOD) == ()


def test_others_are_not_settled_and_what_is_gone_is_forgotten():
    repairs, mine, other = Repairs(), damage("a"), damage("b", concern=NET)
    for broken in (mine, other):
        repairs.choose([broken], 0.0)
        repairs.done(broken, 0.0, None)
    repairs.forget(NET)
    assert [line.split(" (")[0] for line in repairs.warnings(1.0)] == ["a"]


def test_the_status_names_some_and_counts_the_rest():
    repairs = Repairs()
    for number in range(limits.DRIFT_WARNINGS + 3):
        repairs.done(damage(str(number)), 0.0, None)
    lines = repairs.warnings(1.0)
    assert (len(lines), lines[-1]) == (limits.DRIFT_WARNINGS + 1, "3 more objects were changed by other programs")
