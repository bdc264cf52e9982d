"""Every kind of kernel object: its place in the order, its lane, what goes with it, and its description."""

from dataclasses import FrozenInstanceError, fields, replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import get_args

import pytest

from netcore.default_route import DefaultRoute
from netcore.desired.objects import (
    DEFAULT4,
    HOST,
    Address,
    Announcement,
    Bridge,
    BridgePort,
    DummyLink,
    Element,
    EspBlock,
    EspPolicy,
    EspState,
    FirewallSet,
    Forwarding,
    GuardedLink,
    GuardedPort,
    Hairpin,
    HostsLines,
    Ipvlan,
    KernelObject,
    Lane,
    LinkUp,
    Macvlan,
    MovedLink,
    Neighbor,
    Order,
    OwnDefaultRoute,
    Route,
    Subsystem,
    Sysctl,
    TapLink,
    Veth,
    VethPeer,
    VlanLink,
    VxlanLink,
)

S = "0123456789abcdef"
ONE, TWO = ip_address("10.0.0.1"), ip_address("10.0.0.2")
MAC = "02:42:0a:00:00:02"
PORTS = FirewallSet(table="inet", name="dnat4_any", key_types=("inet_proto", "inet_service"), data_types=("ipv4_addr", "inet_service"))
BINDING = FirewallSet(table="bridge", name="ports", key_types=("ifname",), order=Order.PORT_BINDING)
GUARDED = FirewallSet(table="inet", name="closed4", key_types=("ifname",), family=4, order=Order.FORWARDING_GUARD)
BRIDGES = FirewallSet(table="inet", name="bridges", key_types=("ifname",))

LINKS, STACK, HOST_STACK = Lane(Subsystem.LINKS), Lane(Subsystem.STACK, S), Lane(Subsystem.STACK)
XFRM, NFTABLES, FILES = Lane(Subsystem.XFRM), Lane(Subsystem.NFTABLES), Lane(Subsystem.FILES)

BRIDGE = Bridge(name="br0", mac=MAC, mtu=1500, tag="t")
VETH = Veth(host_ifname="v0", sandbox_id=S, ifname="eth0", mac=MAC, mtu=1500, bridge="br0")

# object, order, lane of its deletion, description
CASES = [
    (GuardedLink(ifname="br0"), Order.GUARD, Lane(Subsystem.GUARD), "guard for br0"),
    (GuardedPort(ifname="v0"), Order.GUARD, Lane(Subsystem.GUARD), "guard for port v0"),
    (EspState(source=ONE, target=TWO, spi=0x1001, key_material="00" * 20, request_id=7), Order.ESP_STATE, XFRM,
     "esp state 10.0.0.1 to 10.0.0.2 spi 0x1001"),
    (EspPolicy(source=ONE, target=TWO, port=4789, outgoing=True, request_id=7), Order.ESP_POLICY, XFRM,
     "esp policy out 10.0.0.1 to 10.0.0.2 udp dport 4789"),
    (EspPolicy(source=TWO, target=ONE, port=4789, outgoing=False, request_id=7), Order.ESP_POLICY, XFRM,
     "esp policy in 10.0.0.2 to 10.0.0.1 udp dport 4789"),
    (EspBlock(own=ONE, port=4789, outgoing=True), Order.ESP_POLICY, XFRM, "esp block out 10.0.0.1 udp dport 4789"),
    (EspBlock(own=ONE, port=4789, outgoing=False), Order.ESP_POLICY, XFRM, "esp block in 10.0.0.1 udp dport 4789"),
    (BRIDGE, Order.HOST_LINK, LINKS, f"link br0 type bridge address {MAC} mtu 1500"),
    (VlanLink(name="eth0.7", base="eth0", vid=7, tag="t"), Order.HOST_LINK, LINKS, "link eth0.7 type vlan id 7 link eth0"),
    (DummyLink(name="dm-1", mtu=1400, tag="t"), Order.HOST_LINK, LINKS, "link dm-1 type dummy mtu 1400"),
    (Element(set=GUARDED, fields=("up0",)), Order.FORWARDING_GUARD, NFTABLES, "element inet closed4 { up0 }"),
    (Sysctl(sandbox_id=HOST, path="net/ipv4/conf/br0/forwarding", value="1"), Order.HOST_SYSCTL, HOST_STACK,
     "sysctl net/ipv4/conf/br0/forwarding=1"),
    (Address(sandbox_id=HOST, ifname="br0", interface=ip_interface("10.0.0.1/24")), Order.HOST_ADDRESS, HOST_STACK,
     "address 10.0.0.1/24 dev br0"),
    (VxlanLink(name="vx-5", vni=5, port=4789, local=ONE, bridge="br0", mtu=1450, tag="t"), Order.TUNNEL, LINKS,
     "link vx-5 type vxlan id 5 dstport 4789 local 10.0.0.1 master br0 mtu 1450"),
    (Forwarding(ifname="vx-5", mac=MAC, vtep=TWO), Order.FORWARDING, LINKS, f"fdb {MAC} dev vx-5 dst 10.0.0.2 static"),
    (Element(set=BINDING, fields=("v0",)), Order.PORT_BINDING, NFTABLES, "element bridge ports { v0 }"),
    (TapLink(host_ifname="vm1", owner=1000, group=None, mtu=1500, bridge="br0", tag="berth-tap:1"), Order.SANDBOX_LINK, LINKS,
     "link vm1 type tap user 1000 master br0 mtu 1500"),
    (VETH, Order.SANDBOX_LINK, LINKS, f"link v0 type veth master br0 mtu 1500 peer eth0 address {MAC} in 0123456789ab"),
    (VethPeer(host_ifname="v0", sandbox_id=S, ifname="eth0", mac=MAC, mtu=1500), Order.SANDBOX_LINK, STACK,
     f"link eth0 type veth peer v0 address {MAC} mtu 1500 in 0123456789ab"),
    (Macvlan(sandbox_id=S, ifname="eth1", parent="lan0", mode="bridge", mac=MAC, mtu=1500), Order.SANDBOX_LINK, STACK,
     f"link eth1 type macvlan mode bridge link lan0 address {MAC} mtu 1500 in 0123456789ab"),
    (Macvlan(sandbox_id=S, ifname="eth2", parent="lan0", mode="passthru", mac="", mtu=1500), Order.SANDBOX_LINK, STACK,
     "link eth2 type macvlan mode passthru link lan0 mtu 1500 in 0123456789ab"),
    (Ipvlan(sandbox_id=S, ifname="eth3", parent="lan0", mode="l2", flag="bridge", mtu=1500), Order.SANDBOX_LINK, STACK,
     "link eth3 type ipvlan mode l2 bridge link lan0 mtu 1500 in 0123456789ab"),
    (MovedLink(sandbox_id=S, ifname="eth4", source="plug0", mac=MAC), Order.SANDBOX_LINK, STACK, "link plug0 moved to eth4 in 0123456789ab"),
    (BridgePort(host_ifname="v0", mac=MAC), Order.BRIDGE_PORT, LINKS, f"bridge port v0 up learning off fdb {MAC} static sticky"),
    (Hairpin(host_ifname="v0"), Order.HAIRPIN, LINKS, "bridge port v0 hairpin on"),
    (Sysctl(sandbox_id=S, path="net/ipv6/conf/eth0/accept_dad", value="0"), Order.SANDBOX_SYSCTL, STACK,
     "sysctl net/ipv6/conf/eth0/accept_dad=0 in 0123456789ab"),
    (Address(sandbox_id=S, ifname="eth0", interface=ip_interface("10.0.0.2/24")), Order.SANDBOX_ADDRESS, STACK,
     "address 10.0.0.2/24 dev eth0 in 0123456789ab"),
    (LinkUp(sandbox_id=S, ifname="eth0"), Order.LINK_UP, STACK, "link eth0 up in 0123456789ab"),
    (Neighbor(sandbox_id=S, ifname="eth0", address=ONE, mac=MAC), Order.SANDBOX_NEIGHBOR, STACK,
     f"neighbor 10.0.0.1 lladdr {MAC} dev eth0 permanent in 0123456789ab"),
    (Route(sandbox_id=S, destination=DEFAULT4, gateway=ONE, ifname="eth0"), Order.ROUTE, STACK,
     "route 0.0.0.0/0 via 10.0.0.1 dev eth0 in 0123456789ab"),
    (Route(sandbox_id=S, destination=ip_network("10.9.0.0/16"), gateway=None, ifname="eth0"), Order.ROUTE, STACK,
     "route 10.9.0.0/16 dev eth0 in 0123456789ab"),
    (OwnDefaultRoute(sandbox_id=S, route=DefaultRoute(family=4, gateway=ONE, message="02")), Order.ROUTE, STACK,
     "default route via 10.0.0.1 of its own (IPv4) in 0123456789ab"),
    (Neighbor(sandbox_id=HOST, ifname="br0", address=TWO, mac=MAC), Order.HOST_NEIGHBOR, HOST_STACK,
     f"neighbor 10.0.0.2 lladdr {MAC} dev br0 permanent"),
    (Element(set=BRIDGES, fields=("br0",)), Order.FIREWALL_ELEMENT, NFTABLES, "element inet bridges { br0 }"),
    (Element(set=PORTS, fields=("tcp", 80), data=(TWO, 8080)), Order.FIREWALL_ELEMENT, NFTABLES,
     "element inet dnat4_any { tcp . 80 : 10.0.0.2 . 8080 }"),
    (HostsLines(path="/run/hosts", lines=("10.0.0.2\tweb", "10.0.0.3\tdb")), Order.HOSTS_LINES, FILES,
     "hosts lines /run/hosts: 10.0.0.2 web; 10.0.0.3 db"),
    (Announcement(sandbox_id=S, ifname="eth0", port="v0", mac=MAC, addresses=(ONE, TWO), count=3, interval=1.0), Order.ANNOUNCEMENT,
     Lane(Subsystem.PACKETS, S), "announcement of 10.0.0.1, 10.0.0.2 on eth0 in 0123456789ab"),
]  # fmt: skip
OBJECTS = [case[0] for case in CASES]
SANDBOX_LINKS = (Macvlan, Ipvlan, MovedLink)


def test_every_kind_has_a_case():
    assert {type(kernel_object) for kernel_object in OBJECTS} == set(get_args(KernelObject))


@pytest.mark.parametrize(("kernel_object", "order", "lane", "description"), CASES, ids=lambda value: type(value).__name__)
def test_kind_carries_its_own_data(kernel_object, order, lane, description):
    assert kernel_object.order is order
    assert kernel_object.lane == lane
    assert kernel_object.describe() == description
    # Links of a sandbox that are made of one of the host's are made from there.
    assert kernel_object.creation_lane == (LINKS if isinstance(kernel_object, (*SANDBOX_LINKS, VethPeer)) else lane)


def test_cases_are_in_the_order_of_creation():
    assert [case[1] for case in CASES] == sorted(case[1] for case in CASES)
    assert set(Order) - {case[1] for case in CASES} == {Order.LEAVING}


def test_pairs_are_the_first_to_go():
    for kernel_object, order, *_ in CASES:
        assert kernel_object.deletion_order is (Order.LEAVING if isinstance(kernel_object, Veth | TapLink) else order)


def test_keys_tell_all_apart():
    keys = [kernel_object.key for kernel_object in OBJECTS]
    assert len(set(keys)) == len(keys)
    assert len({*OBJECTS, *OBJECTS}) == len(OBJECTS)


def test_key_of_a_route_has_no_next_hop_and_that_of_an_element_no_data():
    route = Route(sandbox_id=S, destination=DEFAULT4, gateway=ONE, ifname="eth0")
    assert route.key == Route(sandbox_id=S, destination=DEFAULT4, gateway=TWO, ifname="eth1").key
    element = Element(set=PORTS, fields=("tcp", 80), data=(TWO, 8080))
    assert element.key == Element(set=PORTS, fields=("tcp", 80), data=(ONE, 81)).key == ("element", "inet", "dnat4_any", "tcp", "80")


@pytest.mark.parametrize("kernel_object", OBJECTS, ids=lambda value: type(value).__name__)
def test_objects_are_values(kernel_object):
    with pytest.raises(FrozenInstanceError):
        setattr(kernel_object, fields(kernel_object)[0].name, "other")
    assert not hasattr(kernel_object, "__dict__")


def test_key_material_is_not_described():
    assert "5ec2e7" not in EspState(source=ONE, target=TWO, spi=1, key_material="5ec2e7" * 6, request_id=7).describe()


def test_links_that_go_with_an_object():
    gone = {type(kernel_object): kernel_object.links() for kernel_object in OBJECTS if kernel_object.links()}
    assert gone == {
        Bridge: ((HOST, "br0"),),
        VlanLink: ((HOST, "eth0.7"),),
        DummyLink: ((HOST, "dm-1"),),
        VxlanLink: ((HOST, "vx-5"),),
        TapLink: ((HOST, "vm1"),),
        Veth: ((HOST, "v0"), (S, "eth0")),
        Macvlan: ((S, "eth2"),),
        Ipvlan: ((S, "eth3"),),
        MovedLink: ((S, "eth4"),),
    }
    assert Bridge(name="mine", mac=MAC, mtu=1500, tag="t", reused=True).links() == ()


def test_objects_that_go_with_a_link():
    def kinds(*links):
        return {type(kernel_object) for kernel_object in OBJECTS if kernel_object.goes_with(set(links))}

    # There is nothing to delete of these.
    assert kinds() == {Sysctl, Announcement}
    # What the host had before is put back.
    assert not replace(OBJECTS[[type(one) for one in OBJECTS].index(Sysctl)], original="0").goes_with(set())
    assert kinds((S, "eth0")) - kinds() == {Address, LinkUp, Neighbor, Route, VethPeer}
    assert kinds((HOST, "br0")) - kinds() == {Address, Neighbor}
    assert kinds((HOST, "v0")) - kinds() == {BridgePort, Hairpin}
    assert kinds((HOST, "vx-5")) - kinds() == {Forwarding}
    # The same name in another namespace is another link.
    assert kinds(("other", "eth0"), (HOST, "eth0"), (S, "v0")) == kinds()
