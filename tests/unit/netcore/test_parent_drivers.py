"""macvlan and ipvlan: what must exist, and the netlink messages for it, byte for byte as iproute2 sends them."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest

from netcore import drivers
from netcore.desired.diff import diff
from netcore.desired.objects import DEFAULT4, DEFAULT6, Address, Announcement, DummyLink, Element, Ipvlan, LinkUp, Macvlan, Route, VlanLink
from netcore.drivers.facts import ExistingLink, Facts, HostConstraints
from netcore.drivers.protocol import AttachedLink, MacSource, NewNetwork
from netcore.errors import Conflict, Exhausted, InvalidRequest
from netcore.kernel import link_kinds, rtnl
from netcore.kernel.netlink import walk
from netcore.model import Endpoint, EndpointRequest, MadeLink, Sandbox
from netcore.plan import desired_state, gateway
from netcore.plan.known_networks import KnownNetworks
from tests.support.networks import bridge_network, parent_network, pool

FACTS = Facts(uplinks=("up0",))
HOST = HostConstraints(
    pools4=(), pools6=(), reserved=(), egress_mtu=1450, ipv6=True, now=0.0,
    links={
        "eth0": ExistingLink(kind="", mtu=9000), "eth0.7": ExistingLink(kind="vlan", mtu=1500),
        "eth1": ExistingLink(kind="", mtu=1500, master="bridge"),
    },
)  # fmt: skip
SANDBOX = Sandbox(id="s" * 12, name="web", hostname="web", netns_path="/x", boot_id="")


def endpoint(network, *, ipv4="10.0.1.2/24", ipv6=None, ifname="eth0", priority=0):
    return Endpoint(
        origin="api", network_id=network.id, sandbox_id=SANDBOX.id, ifname=ifname, host_ifname="", mac="02:42:00:00:01:02",
        ipv4=ip_interface(ipv4) if ipv4 else None, ipv6=ip_interface(ipv6) if ipv6 else None, gateway_priority=priority,
    )  # fmt: skip


def desired(networks, *endpoints):
    known = {item.id: item for item in networks}
    return desired_state.desired(SANDBOX, endpoints, known, FACTS, hosts_path="/hosts", loopback_ipv6=True)


def of(kind, objects):
    return [item for item in objects if isinstance(item, kind)]


def test_macvlan_is_a_link_an_address_and_nothing_on_the_host():
    net = parent_network("lan", "macvlan", pool("10.0.1.0/24"), given={"parent": "eth0"})
    objects = desired([net], endpoint(net))
    assert of(Macvlan, objects) == [
        Macvlan(sandbox_id=SANDBOX.id, ifname="eth0", parent="eth0", mode="bridge", mac="02:42:00:00:01:02", mtu=1500)
    ]
    assert of(Address, objects) == [Address(sandbox_id=SANDBOX.id, ifname="eth0", interface=ip_interface("10.0.1.2/24"))]
    assert not of(Element, objects)
    assert of(Announcement, objects)[0].port is None
    assert drivers.of(net).network_objects(net, FACTS) == ()
    # Without a gateway given by the user there is no route, but it is the way out (GW-7).
    assert not of(Route, objects)
    assert gateway.gateway_endpoints([endpoint(net)], {"lan": net})[0] == endpoint(net)
    assert gateway.has_external_access([endpoint(net)], {"lan": net})


def test_gateway_of_a_parent_network_is_the_users():
    net = parent_network("lan", "macvlan", pool("10.0.1.0/24", "10.0.1.254"), pool("10.0.2.0/24", "10.0.2.254"), given={"parent": "eth0"})
    (route,) = of(Route, desired([net], endpoint(net, ipv4="10.0.2.7/24")))
    assert (route.destination, route.gateway) == (DEFAULT4, ip_address("10.0.2.254"))


def test_link_goes_by_itself_and_takes_the_rest_along():
    net = parent_network("lan", "macvlan", pool("10.0.1.0/24", "10.0.1.254"), given={"parent": "eth0"})
    deletes = [step.subject for step in diff(desired([net], endpoint(net)), desired([net])) if step.after is None]
    assert [type(item) for item in deletes] == [Macvlan]


@pytest.mark.parametrize(("mode", "hops", "announced"), [("l2", [], 1), ("l3", [DEFAULT4, DEFAULT6], 0), ("l3s", [DEFAULT4, DEFAULT6], 0)])
def test_ipvlan_by_mode(mode, hops, announced):
    net = parent_network(
        "lan", "ipvlan", pool("10.0.1.0/24"), pool("fd01::/64"), given={"parent": "eth0", "ipvlan_mode": mode, "ipvlan_flag": "private"}
    )
    objects = desired([net], endpoint(net, ipv6="fd01::2/64"))
    assert of(Ipvlan, objects) == [Ipvlan(sandbox_id=SANDBOX.id, ifname="eth0", parent="eth0", mode=mode, flag="private", mtu=1500)]
    # Layer 3: the default route is the link itself, without a next hop (IV-2).
    assert [(item.destination, item.gateway) for item in of(Route, objects)] == [(hop, None) for hop in hops]
    assert len(of(Announcement, objects)) == announced


def test_device_route_only_while_it_is_the_gateway():
    """Docker's TestMixL3IPVlanAndBridge: the bridge network comes first unless the other has a higher priority."""
    flat = parent_network("a", "ipvlan", pool("10.0.1.0/24"), given={"parent": "eth0", "ipvlan_mode": "l3"})
    bridge = bridge_network("b", pool("10.0.2.0/24", "10.0.2.1"))
    on_bridge = endpoint(bridge, ipv4="10.0.2.2/24", ifname="eth1", priority=1)
    (route,) = of(Route, desired([flat, bridge], endpoint(flat), on_bridge))
    assert (str(route.gateway), route.ifname) == ("10.0.2.1", "eth1")
    (route,) = of(Route, desired([flat, bridge], endpoint(flat)))
    assert (route.gateway, route.ifname) == (None, "eth0")


def test_internal_parent_network_gives_no_way_out():
    net = parent_network("lan", "macvlan", pool("10.0.1.0/24", "10.0.1.254"), given={"parent": "eth0"}, internal=True)
    assert not of(Route, desired([net], endpoint(net)))
    assert not gateway.has_external_access([endpoint(net)], {"lan": net})


def attributes(octets):
    return dict(walk(octets))


# What `strace -x -e trace=sendmsg ip link add link up0 name eth0 mtu 1400 type ..` (iproute2 6.1) showed of each:
# IFLA_INFO_KIND and the octets of IFLA_INFO_DATA.
RECORDED = {
    "type ipvlan mode l3s vepa": (b"ipvlan", b"\x06\x00\x01\x00\x02\x00\x00\x00\x06\x00\x02\x00\x02\x00\x00\x00"),
    "type vlan id 10": (b"vlan", b"\x06\x00\x01\x00\x0a\x00\x00\x00"),
    "type macvlan mode bridge": (b"macvlan", b"\x08\x00\x01\x00\x04\x00\x00\x00"),
    "type dummy": (b"dummy", None),
}
REQUESTS = {
    "type ipvlan mode l3s vepa": link_kinds.add_ipvlan("eth0", parent=7, netns_descriptor=5, mode="l3s", flag="vepa", mtu=1400),
    "type vlan id 10": link_kinds.add_vlan("eth0", base=7, vid=10),
    "type macvlan mode bridge": link_kinds.add_macvlan(
        "eth0", parent=7, netns_descriptor=5, mode="bridge", mac="02:42:00:00:00:01", mtu=1400
    ),
    "type dummy": link_kinds.add_dummy("eth0", 1400),
}


@pytest.mark.parametrize("words", RECORDED)
def test_messages_are_those_of_iproute2(words):
    request, (kind, data) = REQUESTS[words], RECORDED[words]
    found = attributes(request.body[16:])
    assert (request.type, request.flags) == (16, 0x600)  # RTM_NEWLINK, NLM_F_EXCL|NLM_F_CREATE
    assert found[3].rstrip(b"\0") == b"eth0"
    info = attributes(found[18])
    assert (info[1], info.get(2)) == (kind, data)
    if kind != b"dummy":
        assert found[5] == b"\7\0\0\0"  # IFLA_LINK
    if kind != b"vlan":
        assert found[4] == b"\x78\5\0\0"  # IFLA_MTU
    if kind in (b"ipvlan", b"macvlan"):
        assert found[28] == b"\5\0\0\0"  # IFLA_NET_NS_FD
    assert found.get(1) == (bytes.fromhex("024200000001") if kind == b"macvlan" else None)


def test_passthru_leaves_the_address_to_the_kernel():
    request = link_kinds.add_macvlan("eth0", parent=7, netns_descriptor=5, mode="passthru", mac="", mtu=1500)
    assert 1 not in attributes(request.body[16:])


def test_route_to_the_link_has_no_next_hop():
    request = rtnl.replace_route(DEFAULT4, None, 3)
    assert dict(walk(request.body[12:])) == {4: b"\3\0\0\0"}
    assert request.body[6] == 253  # RT_SCOPE_LINK


def test_parent_that_we_make():
    vlan = parent_network("v", "macvlan", pool("10.0.1.0/24"), given={"parent": "eth0.10"})
    made = replace(vlan, driver_options=replace(vlan.driver_options, makes=MadeLink.VLAN, base="eth0", vid=10))
    other = replace(made, id="w", name="w")
    assert drivers.of(made).network_objects(made, FACTS) == (VlanLink(name="eth0.10", base="eth0", vid=10, tag="berth:parent"),)
    # The link stays until the last network on it goes.
    assert drivers.of(made).exclusive_objects(made, [made, other], FACTS) == ()
    assert len(drivers.of(made).exclusive_objects(made, [made], FACTS)) == 1
    alone = parent_network("n" * 12, "ipvlan", pool("10.0.1.0/24"))
    assert drivers.of(alone).network_objects(alone, FACTS) == (DummyLink(name="di-nnnnnnnnnnnn", mtu=1500, tag="berth:parent"),)
    assert drivers.of(alone).link_kinds(alone) == ("ipvlan", "dummy")
    assert drivers.of(made).link_kinds(made) == ("macvlan", "vlan")
    assert LinkUp(sandbox_id=SANDBOX.id, ifname="eth0") in desired([alone], endpoint(alone))


def configure(driver, *existing, **given):
    made = drivers.named(driver)
    return made.configure(NewNetwork(id="n" * 12, name="n", labels=made.read_options(given)), KnownNetworks(existing), HOST)


def with_options(driver, *existing, **given):
    configured = configure(driver, *existing, **given)
    return replace(parent_network("old", driver), driver_options=configured.options)


def test_a_parent_that_the_host_has_gives_its_mtu():
    made = configure("macvlan", parent="eth0", macvlan_mode="vepa")
    assert (made.mtu, made.internal) == (9000, False)
    assert (made.options.parent, made.options.mode, made.options.makes) == ("eth0", "vepa", MadeLink.NOTHING)
    flat = configure("ipvlan", parent="eth0", ipvlan_mode="l3s", ipvlan_flag="private").options
    assert (flat.mode, flat.flag) == ("l3s", "private")
    # One that is called like a VLAN, but was there before, is not ours.
    assert configure("macvlan", parent="eth0.7").options.makes is MadeLink.NOTHING


def test_a_parent_that_is_made():
    vlan = configure("macvlan", parent="eth0.10")
    assert (vlan.options.makes, vlan.options.base, vlan.options.vid, vlan.mtu) == (MadeLink.VLAN, "eth0", 10, 9000)
    # The link of another network is not among those of the host.
    assert configure("macvlan", with_options("macvlan", parent="eth0.10"), parent="eth0.10").options == vlan.options
    dummy = configure("ipvlan")
    assert (dummy.options.parent, dummy.options.makes, dummy.mtu, dummy.internal) == ("di-nnnnnnnnnnnn", MadeLink.DUMMY, 1450, True)


@pytest.mark.parametrize(
    ("driver", "given", "error", "message"),
    [
        ("macvlan", {"parent": "lo"}, InvalidRequest, "invalid option parent: 'lo': the loopback link can't be a parent"),
        ("macvlan", {"parent": "gone"}, InvalidRequest, "invalid option parent: the host has no link gone; name one that it has, or VLAN 1 to 4094 of one, like eth0.10"),
        ("macvlan", {"parent": "gone.10"}, InvalidRequest, "invalid option parent: the host has neither a link gone.10 nor gone"),
        ("macvlan", {"parent": "eth1"}, Conflict, "link eth1 is a port of a bridge, which takes all its packets; name that one as parent"),
        ("ipvlan", {"parent": "eth0"}, Conflict, "link eth0 is the parent of macvlan network old; macvlan and ipvlan can't share one"),
        ("macvlan", {"parent": "eth0", "macvlan_mode": "passthru"}, Conflict, "link eth0 is the parent of macvlan network old; passthru needs it for itself"),
    ],
)  # fmt: skip
def test_parents_that_can_not_be_had(driver, given, error, message):
    with pytest.raises(error) as caught:
        configure(driver, with_options("macvlan", parent="eth0"), bridge_network("b"), **given)
    assert str(caught.value) == message


def test_ipvlan_networks_on_one_parent_are_alike():
    old = with_options("ipvlan", parent="eth0")
    configure("ipvlan", bridge_network("b"), old, parent="eth0")
    with pytest.raises(Conflict, match="ipvlan network old; it has mode l2 and flag bridge, and all on one parent have the same"):
        configure("ipvlan", old, parent="eth0", ipvlan_mode="l3")
    configure("macvlan", with_options("macvlan", parent="eth0"), parent="eth0")


def test_whose_mac_a_link_has_and_how_many_there_may_be():
    lan, whole, flat = (
        parent_network("n", driver, given={"parent": "eth0", **more})
        for driver, more in (("macvlan", {}), ("macvlan", {"macvlan_mode": "passthru"}), ("ipvlan", {}))
    )
    assert [drivers.of(net).mac_source(net) for net in (lan, whole, flat)] == [MacSource.ENDPOINT, MacSource.HOST_LINK, MacSource.HOST_LINK]
    (sub_interface,) = of(Macvlan, desired([whole], endpoint(whole)))
    assert sub_interface.mac == ""
    asked, chosen = EndpointRequest(network="n"), EndpointRequest(network="n", mac="02:42:00:00:00:01")
    drivers.of(lan).check_endpoint(lan, chosen, 1)
    drivers.of(whole).check_endpoint(whole, asked, 0)
    drivers.of(flat).check_endpoint(flat, asked, 1)
    with pytest.raises(Exhausted, match="network n: a macvlan network in passthru mode takes one endpoint"):
        drivers.of(whole).check_endpoint(whole, asked, 1)
    for net in (whole, flat):
        with pytest.raises(InvalidRequest, match="invalid mac-address"):
            drivers.of(net).check_endpoint(net, chosen, 0)


def test_the_host_is_beside_a_parent_network_and_not_on_it():
    lan = parent_network("n", "macvlan", given={"parent": "eth0"})
    driver = drivers.of(lan)
    assert driver.host_link(lan) == AttachedLink(name="eth0", made=False, routed=False)
    assert driver.host_link(parent_network("n" * 12, "macvlan")).made
    assert (driver.wants_gateway(lan, 4), driver.publishing(lan, 4), driver.host_addresses(lan)) == (False, None, ())
