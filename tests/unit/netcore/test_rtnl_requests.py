"""Requests of rtnetlink, octet by octet as a codec writes them that is told by names what to write."""

import struct
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from netcore.kernel import rtnl
from tests.support.rtnetlink_codec import encode

MAC = "02:42:0a:00:00:02"
UP = {"flags": 1, "change": 1}
CREATE, EXCL = 0x400, 0x200
V4, V6, BRIDGE = 2, 10, 7
PERMANENT, NOARP = 0x80, 0x40


def named(name, *more):
    return [("IFLA_IFNAME", name), *more]


def info(kind, data=None):
    return ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", kind), *([("IFLA_INFO_DATA", {"attrs": data})] if data else [])]})


def port(*flags):
    return ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", {"attrs": [*flags]})]})


def brport(**flags):
    return [(f"IFLA_BRPORT_{name.upper()}", value) for name, value in flags.items()]


def veth(name, peer):
    queues = [("IFLA_NUM_TX_QUEUES", 1), ("IFLA_NUM_RX_QUEUES", 1)]
    inside = [("IFLA_IFNAME", peer), ("IFLA_ADDRESS", MAC), ("IFLA_MTU", 1450), ("IFLA_NET_NS_FD", 9), *queues]
    return named(name, ("IFLA_MTU", 1450), ("IFLA_MASTER", 70000), *queues, info("veth", [("VETH_INFO_PEER", {"attrs": inside})]))


TUNNEL = {"neigh_suppress": 1, "learning": 0, "unicast_flood": 0, "mcast_flood": 0, "bcast_flood": 0}
SANDBOX = {"learning": 0, "unicast_flood": 0, "mcast_max_groups": 70000, "group_fwd_mask": 0xFFFD, "multicast_router": 2}

LINKS = [
    # (request, type, flags, fields, attributes)
    (rtnl.add_bridge("br-0123456789ab", MAC, 1500), 16, CREATE | EXCL, {}, named("br-0123456789ab", ("IFLA_ADDRESS", MAC), ("IFLA_MTU", 1500), info("bridge", [("IFLA_BR_MCAST_SNOOPING", 0)]))),
    (rtnl.add_veth("vethabcdef", master=70000, mtu=1450, peer_ifname="eth0", peer_mac=MAC, peer_netns_descriptor=9), 16, CREATE | EXCL, {}, veth("vethabcdef", "eth0")),
    (rtnl.add_veth("v", master=70000, mtu=1450, peer_ifname="a-name-of-fifte", peer_mac=MAC, peer_netns_descriptor=9), 16, CREATE | EXCL, {}, veth("v", "a-name-of-fifte")),
    (rtnl.set_link("lo"), 16, 0, UP, named("lo")),
    (rtnl.set_link("eth0", up=False, alias="berth/ü", mtu=9000), 16, 0, {"flags": 0, "change": 1}, named("eth0", ("IFLA_IFALIAS", "berth/ü"), ("IFLA_MTU", 9000))),
    (rtnl.set_down(5), 16, 0, {"index": 5, "flags": 0, "change": 1}, []),
    (rtnl.move_link("lan", 7, 5, "eth1"), 16, 0, {"index": 7}, named("eth1", ("IFLA_NET_NS_FD", 5))),
    (rtnl.rename_link(7, "eth1"), 16, 0, {"index": 7}, named("eth1")),
    (rtnl.set_mac("eth0", MAC), 16, 0, {}, named("eth0", ("IFLA_ADDRESS", MAC))),
    (rtnl.set_master("eth0", 3), 16, 0, {}, named("eth0", ("IFLA_MASTER", 3))),
    (rtnl.delete_link("eth0"), 17, 0, {}, named("eth0")),
    (rtnl.get_link("eth0"), 18, 0, {}, named("eth0")),
    (rtnl.set_port("tunnel", **TUNNEL), 16, 0, {}, named("tunnel", port(*brport(**TUNNEL)))),
    (rtnl.set_port("v", mode=1), 16, 0, {}, named("v", port(*brport(mode=1)))),
    (rtnl.start_port("v", SANDBOX), 16, 0, UP, named("v", port(*brport(**SANDBOX), ("IFLA_BRPORT_FLUSH", None)))),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "type_", "flags", "fields", "attributes"), LINKS, ids=lambda value: getattr(value, "operation", None))
def test_links(request_, type_, flags, fields, attributes):
    assert (request_.type, request_.flags) == (type_, flags)
    assert request_.body == encode("link", fields, attributes)


@pytest.mark.parametrize(
    ("text", "family", "flags", "attributes"),
    [
        ("10.1.0.2/16", V4, 0, [("IFA_ADDRESS", "10.1.0.2"), ("IFA_LOCAL", "10.1.0.2"), ("IFA_BROADCAST", "10.1.255.255")]),
        ("10.1.0.2/31", V4, 0, [("IFA_ADDRESS", "10.1.0.2"), ("IFA_LOCAL", "10.1.0.2")]),
        ("10.1.0.2/32", V4, 0, [("IFA_ADDRESS", "10.1.0.2"), ("IFA_LOCAL", "10.1.0.2")]),
        ("fd00::2/64", V6, 2, [("IFA_ADDRESS", "fd00::2")]),
    ],
)
def test_addresses(text, family, flags, attributes):
    interface = ip_interface(text)
    fields = {"family": family, "prefixlen": interface.network.prefixlen, "index": 4, "flags": flags, "scope": 0}
    assert rtnl.add_address(interface, 4).body == encode("address", fields, attributes)
    without_broadcast = [(name, value) for name, value in attributes if name != "IFA_BROADCAST"]
    assert rtnl.delete_address(interface, 4).body == encode("address", fields, without_broadcast)


@pytest.mark.parametrize(
    ("destination", "gateway"),
    [("0.0.0.0/0", "10.1.0.1"), ("10.9.0.0/16", None), ("::/0", "fd00::1"), ("fd01::/48", "fe80::1"), ("fd02::/64", None)],
)
def test_routes(destination, gateway):
    network, hop = ip_network(destination), ip_address(gateway) if gateway else None
    fields = {
        "family": V4 if network.version == 4 else V6, "dst_len": network.prefixlen, "table": 254, "proto": 4,
        "scope": 0 if gateway else 253, "type": 1,
    }  # fmt: skip
    attributes = [("RTA_OIF", 4), *([("RTA_GATEWAY", gateway)] if gateway else [])]
    attributes += [("RTA_DST", str(network.network_address))] if network.prefixlen else []
    for request in (rtnl.replace_route(network, hop, 4), rtnl.delete_route(network, hop, 4)):
        assert request.body == encode("route", fields, attributes)


@pytest.mark.parametrize(("text", "family"), [("10.1.0.2", V4), ("fd00::2", V6)])
def test_neighbors(text, family):
    fields = {"family": family, "ifindex": 4, "state": PERMANENT}
    body = encode("neighbor", fields, [("NDA_DST", text), ("NDA_LLADDR", MAC)])
    assert rtnl.replace_neighbor(ip_address(text), MAC, 4).body == body
    assert rtnl.delete_neighbor(ip_address(text), MAC, 4).body == body


def test_forwarding_entries():
    static = {"family": BRIDGE, "ifindex": 4, "state": NOARP, "flags": 4 | 0x40}
    assert rtnl.static_entry(MAC, 4).body == encode("neighbor", static, [("NDA_LLADDR", MAC)])
    at_bridge, at_tunnel = rtnl.forwarding(MAC, ip_address("10.0.0.9"), 4, create=True)
    assert at_bridge.body == encode("neighbor", {"family": BRIDGE, "ifindex": 4, "state": NOARP, "flags": 4}, [("NDA_LLADDR", MAC)])
    fields = {"family": BRIDGE, "ifindex": 4, "state": PERMANENT | NOARP, "flags": 2}
    assert at_tunnel.body == encode("neighbor", fields, [("NDA_LLADDR", MAC), ("NDA_DST", "10.0.0.9")])


class Asked:
    """Remembers what is asked, and answers nothing."""

    def __init__(self):
        self.requests = []

    def dump(self, request):
        self.requests.append((request.type, request.body))
        return []


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (rtnl.links, [(18, "link", {}, [])]),
        (lambda netlink: rtnl.addresses(netlink, 7), [(22, "address", {"family": family, "index": 7}, []) for family in (V4, V6)]),
        (lambda netlink: rtnl.routes(netlink, 7), [(26, "route", {"family": family}, [("RTA_OIF", 7)]) for family in (V4, V6)]),
        (rtnl.routes, [(26, "route", {"family": family}, []) for family in (V4, V6)]),
        (rtnl.neighbors, [(30, "neighbor", {"family": family}, []) for family in (V4, V6)]),
    ],
)
def test_dumps(ask, expected):
    asked = Asked()
    ask(asked)
    assert asked.requests == [(type_, encode(kind, fields, attributes)) for type_, kind, fields, attributes in expected]


@pytest.mark.parametrize(
    ("request_", "kind", "attributes", "data"),
    [
        (rtnl.add_macvlan("m", parent=2, netns_descriptor=9, mode="bridge", mac=MAC, mtu=1500), "macvlan",
         named("m", ("IFLA_LINK", 2), ("IFLA_NET_NS_FD", 9), ("IFLA_MTU", 1500), ("IFLA_ADDRESS", MAC)), struct.pack("=HHI", 8, 1, 4)),
        (rtnl.add_macvlan("m", parent=2, netns_descriptor=9, mode="vepa", mac="", mtu=1500), "macvlan",
         named("m", ("IFLA_LINK", 2), ("IFLA_NET_NS_FD", 9), ("IFLA_MTU", 1500)), struct.pack("=HHI", 8, 1, 2)),
        (rtnl.add_vlan("v.7", base=2, vid=7), "vlan", named("v.7", ("IFLA_LINK", 2)), struct.pack("=HHHxx", 6, 1, 7)),
        (rtnl.add_dummy("d", 1400), "dummy", named("d", ("IFLA_MTU", 1400)), b""),
    ],
)  # fmt: skip
def test_links_of_other_kinds_differ_in_their_own_data_alone(request_, kind, attributes, data):
    body = encode("link", {}, attributes)
    assert request_.body.startswith(body)
    assert kind.encode() in request_.body[len(body) :]
    assert request_.body.endswith(data)
