"""Which notifications contradict what must exist, and what must exist as the state changes."""

import struct
from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest

from netcore.controller.drift import notices
from netcore.controller.drift.notices import Expectations, ExpectedLink, HostNotices
from netcore.controller.state_writer import StateWriter
from netcore.drivers.facts import Facts
from netcore.kernel.all_namespaces import Notice
from netcore.kernel.netlink import attr, nested
from netcore.kernel.rtnl import Link
from netcore.model import Endpoint, MadeLink, PortMapping, Sandbox
from netcore.plan.drift import TABLES, UPLINKS, Concern, Part
from netcore.plan.host_state import SandboxState
from tests.support.lines import Lines, growth
from tests.support.networks import bridge_network, parent_network, pool

BOX, NET = Concern(Part.SANDBOX, "box"), Concern(Part.NETWORK, "net")
MAC = "02:42:00:00:00:01"


def message(type_, body, port=0):
    return struct.pack("=IHHII", 16 + len(body), type_, 0, 0, port) + body


def link(name, *, index=7, up=True, master=0, mac=MAC, hairpin=False, type_=16, family=0):
    body = (
        struct.pack("=BxHiII", family, 1, index, int(up), 0) + attr(3, name.encode() + b"\0") + attr(1, bytes.fromhex(mac.replace(":", "")))
    )
    body += attr(10, struct.pack("=I", master))
    if hairpin:
        body += nested(18, attr(1, b"veth\0"), nested(5, attr(4, b"\1")))
    return message(type_, body)


class Expected:
    """A bridge of a network, a port of it of a sandbox, and that sandbox as a neighbour."""

    def link(self, name):
        return {"br0": ExpectedLink(NET, mac=MAC), "v0": ExpectedLink(BOX, master="br0", has_hairpin=True, port_mac=MAC)}.get(name)

    def neighbor(self, name, address):
        return {("br0", ip_address("10.0.0.2")): (BOX, MAC)}.get((name, address))


EXPECTED = Expected()


def host_with(count):
    """Return the state of a host with *count* sandboxes on one network."""
    front = replace(bridge_network("front", pool("10.1.0.0/16", "10.1.0.1")), id="net")
    writer = StateWriter("/run/berth", Facts(uplinks=("eth0",)))
    writer.put_network(front)
    for number in range(count):
        writer.put_sandbox(box_on(front, number))
    return writer, front


def box_on(network, number, ports=()):
    sandbox = Sandbox(id=f"s{number}", name=f"s{number}", hostname="s", netns_path="/x", boot_id="")
    endpoint = Endpoint(
        origin="api", network_id=network.id, sandbox_id=sandbox.id, ifname="eth0", host_ifname=f"v{number}", mac=MAC,
        ipv4=ip_interface(f"10.1.{number // 250}.{number % 250 + 2}/16"), ipv6=None, ports=ports,
    )  # fmt: skip
    return SandboxState(sandbox, (endpoint,))


def test_expectations_follow_what_comes_changes_and_goes():
    writer, front = host_with(2)
    made, state, bridge = Expectations(), writer.state, front.bridge.bridge_name
    made.take_networks(state)
    for sandbox_id in state.sandboxes:
        made.take_sandbox(state, sandbox_id)
    assert made.link(bridge) == ExpectedLink(NET, mac=front.bridge.bridge_mac, alias="berth:net")
    first = Concern(Part.SANDBOX, "s0")
    assert made.link("v0") == ExpectedLink(first, master=bridge, mtu=1500, port_mac=MAC)
    assert made.neighbor(bridge, ip_address("10.1.0.2")) == (first, MAC)
    published = PortMapping(family=4, protocol="tcp", host_address=None, host_port=80, sandbox_port=80)
    writer.put_sandbox(box_on(front, 0, (published,)))
    made.take_sandbox(state, "s0")
    assert made.link("v0").has_hairpin
    writer.drop_sandbox("s0")
    made.take_sandbox(state, "s0")
    assert (made.link("v0"), made.neighbor(bridge, ip_address("10.1.0.2"))) == (None, None)
    assert made.link("v1") is not None
    writer.drop_network("net")
    made.take_networks(state)
    assert made.link(bridge) is None


@pytest.mark.parametrize("order", [("s0", "new"), ("new", "s0")])
def test_one_that_takes_the_place_of_another_is_expected_in_whatever_order_they_are_taken(order):
    # A tap keeps its name, and an address may be given again: both changes are often read together.
    writer, front = host_with(1)
    made, state, place = Expectations(), writer.state, (front.bridge.bridge_name, ip_address("10.1.0.2"))
    made.take_sandbox(state, "s0")
    before = box_on(front, 0)
    writer.drop_sandbox("s0")
    (endpoint,) = before.endpoints
    writer.put_sandbox(SandboxState(replace(before.sandbox, id="new"), (replace(endpoint, sandbox_id="new"),)))
    for sandbox_id in order:
        made.take_sandbox(state, sandbox_id)
    now = Concern(Part.SANDBOX, "new")
    assert made.link("v0") == ExpectedLink(now, master=front.bridge.bridge_name, mtu=1500, port_mac=MAC)
    assert made.neighbor(*place) == (now, MAC)
    writer.drop_sandbox("new")
    made.take_sandbox(state, "new")
    assert (made.link("v0"), made.neighbor(*place)) == (None, None)


def lines_of_changes(count):
    """Return the lines that run when one of *count* sandboxes, and when one of *count* networks comes, changes and goes."""
    writer, front = host_with(count)
    made, lines, found = Expectations(), Lines(), {}
    for number in range(count):
        writer.put_network(network(number))
    made.take_networks(writer.state)

    def take(concern):
        if concern.part is Part.SANDBOX:
            made.take_sandbox(writer.state, concern.identity)
        else:
            made.take_network(writer.state, concern.identity)

    writer.on_change = take
    changes = {
        "sandbox": lambda: writer.put_sandbox(box_on(front, 1)),
        "network comes": lambda: writer.put_network(network(count)),
        "network changes": lambda: writer.put_network(network(count)),
        "network goes": lambda: writer.drop_network(network(count).id),
    }
    for _ in range(2):
        # The first round fills caches.
        for name, change in changes.items():
            with lines.counting() as run:
                change()
            found[name] = run
    return found


def network(number):
    return bridge_network(f"n{number}", pool(f"10.2.{number}.0/24", f"10.2.{number}.1"))


def test_a_change_costs_the_same_with_any_number_of_others():
    assert growth(lines_of_changes(2), lines_of_changes(200)) == {}


def test_a_link_of_several_networks_is_expected_until_the_last_of_them_goes():
    writer = StateWriter("/run/berth", Facts(uplinks=("eth0",)))
    made, state = Expectations(), writer.state
    vlan = {"parent": "eth0.7"}
    one, other = (parent_network(name, "macvlan", pool(f"10.{number}.0.0/24"), given=vlan) for number, name in enumerate(("one", "other")))
    for member in (one, other):
        member = replace(member, driver_options=replace(member.driver_options, makes=MadeLink.VLAN, base="eth0", vid=7))
        writer.put_network(member)
        made.take_network(state, member.id)
    assert made.link("eth0.7") == ExpectedLink(Concern(Part.NETWORK, "one"))
    for gone, left in (("one", ExpectedLink(Concern(Part.NETWORK, "other"))), ("other", None)):
        writer.drop_network(gone)
        made.take_network(state, gone)
        assert made.link("eth0.7") == left


def test_a_change_says_what_it_is_about():
    writer, front = host_with(1)
    told = []
    writer.on_change = told.append
    writer.put_sandbox(box_on(front, 0))
    writer.drop_sandbox("s0")
    writer.activate("net", {})
    writer.set_facts(Facts(uplinks=()))
    writer.drop_switched("net/x")
    assert told == [Concern(Part.SANDBOX, "s0")] * 2 + [NET, UPLINKS, None]


def known():
    made = HostNotices()
    base = {"kind": "", "up": True, "mtu": 1500, "mac": MAC, "alias": "", "master": 0}
    made.know([Link(index=3, name="br0", **base), Link(index=7, name="v0", **base), Link(index=9, name="eth0", **base)])
    return made


def neighbor(type_, *, state=0x80, mac=MAC, address="10.0.0.2", index=3):
    body = struct.pack("=BxxxiHBB", 2, index, state, 0, 1)
    return message(type_, body + attr(1, ip_address(address).packed) + attr(2, bytes.fromhex(mac.replace(":", ""))))


def port_flag(flag, value):
    body = struct.pack("=BxHiII", 7, 1, 7, 1, 0) + attr(3, b"v0\0")
    return message(16, body + nested(12, attr(flag, bytes([value]))))


def entry(type_, *, mac=MAC, index=7):
    return message(type_, struct.pack("=BxxxiHBB", 7, index, 0x40, 0x2, 0) + attr(2, bytes.fromhex(mac.replace(":", ""))))


@pytest.mark.parametrize(
    ("messages", "whose"),
    [
        ([link("v0", master=3, hairpin=True)], None),
        # A link is judged as it is at the end of a burst, so that its creation says nothing.
        ([link("v0", up=False), link("v0", up=False, master=3), link("v0", master=3, hairpin=True)], None),
        ([link("v0", master=3)], BOX),
        ([link("v0", hairpin=True)], BOX),
        ([link("v0", master=3, up=False, hairpin=True)], BOX),
        ([link("stolen", master=3, hairpin=True)], BOX),
        ([link("v0", type_=17)], BOX),
        ([link("v0", family=7, type_=17)], None),
        ([link("br0", index=3, mac="02:00:00:00:00:99")], NET),
        ([link("br0", index=3)], None),
        ([link("eth0", index=9, up=False), link("eth0", index=9, type_=17)], None),
        ([message(21, struct.pack("=BBBBI", 2, 24, 0, 0, 3))], NET),
        ([message(21, struct.pack("=BBBBI", 2, 24, 0, 0, 9))], None),
        ([message(20, struct.pack("=BBBBI", 2, 24, 0, 0, 3))], None),
        ([message(25, bytes(12) + attr(4, struct.pack("=I", 3)))], NET),
        ([neighbor(29)], BOX),
        ([neighbor(28)], None),
        ([neighbor(28, mac="02:00:00:00:00:99")], BOX),
        ([neighbor(28, state=2)], BOX),
        ([neighbor(29, address="10.0.0.77")], None),
        ([port_flag(8, 1)], BOX),
        ([port_flag(33, 1)], BOX),
        ([port_flag(8, 0), port_flag(33, 0), port_flag(4, 1)], None),
        ([port_flag(4, 0)], BOX),
        ([port_flag(8, 1), port_flag(8, 0)], None),
        ([port_flag(8, 0), port_flag(8, 1)], BOX),
        ([entry(29)], BOX),
        ([entry(29, mac="02:00:00:00:00:99"), entry(28)], None),
    ],
)  # fmt: skip
def test_only_what_contradicts_leads_to_a_comparison(messages, whose):
    assert known().concerns(messages, EXPECTED) == ({whose} if whose is not None else set())


def test_ten_thousand_notifications_of_our_own_lead_to_no_comparison():
    made = known()
    burst = [link("v0", master=3, hairpin=True), neighbor(28)] * 5000
    assert made.concerns(burst, EXPECTED) == set()


def table(kind, *, name=b"berth\0", family=1, nsid=None, port=0):
    return Notice(nsid, message(10 << 8 | kind, struct.pack("!BBH", family, 0, 0) + attr(1, name), port))


@pytest.mark.parametrize(
    ("notice", "whose", "is_foreign"),
    [
        (table(8), {TABLES}, True),
        (table(14, family=7), {TABLES}, True),
        (table(14, port=5), set(), False),
        (table(8, name=b"mine\0"), set(), True),
        (table(8, nsid=4, family=2), {BOX}, False),
        (table(8, nsid=5, family=2), set(), False),
    ],
    ids=["rule", "element", "element of our own", "another table", "in a sandbox", "elsewhere"],
)
def test_changes_of_tables(notice, whose, is_foreign):
    told = notices.of_tables([notice], {4: "box"}, {5})
    assert (told.concerns, told.is_foreign) == (whose, is_foreign)


def test_of_a_burst_only_the_last_word_on_links_of_ours_is_read_in_full(monkeypatch):
    read = []
    original = notices.rtnl.read_link
    monkeypatch.setattr(notices.rtnl, "read_link", lambda octets: read.append(octets) or original(octets))
    host = HostNotices()
    host.know([original(link("br0", index=3))])
    foreign, wrong, right = link("eth0", index=9), link("v0", up=False), link("v0", master=3, hairpin=True)
    assert host.concerns([foreign, wrong, wrong, foreign, right, foreign], EXPECTED) == set()
    assert read == [right]
    assert host.concerns([right, wrong], EXPECTED) == {BOX}
