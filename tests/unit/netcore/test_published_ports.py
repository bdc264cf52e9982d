"""Where published ports go: NAT, a proxy for what the kernel can't translate, or nowhere."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from types import SimpleNamespace

import pytest

from netcore.desired import firewall
from netcore.errors import Conflict, InvalidRequest
from netcore.keeper.kept_sockets import KeptSockets
from netcore.model import Endpoint, Sandbox
from netcore.parse.ports import parse_port
from netcore.plan import published_ports
from netcore.relay.port_proxy import PortProxies
from tests.support.networks import bridge_network, parent_network, pool

V4 = bridge_network("four", pool("10.4.0.0/24", "10.4.0.1"))
V6 = bridge_network("six", pool("fd06::/64", "fd06::1"))
BOTH = bridge_network("both", pool("10.5.0.0/24", "10.5.0.1"), pool("fd05::/64", "fd05::1"))
ROUTED6 = bridge_network("routed", pool("10.7.0.0/24", "10.7.0.1"), pool("fd07::/64", "fd07::1"), given={"gateway_mode_ipv6": "routed"})
ROUTED = bridge_network(
    "open",
    pool("10.9.0.0/24", "10.9.0.1"),
    pool("fd09::/64", "fd09::1"),
    given={"gateway_mode_ipv4": "routed", "gateway_mode_ipv6": "routed"},
)
LAN = parent_network("lan", "macvlan", pool("10.8.0.0/24", "10.8.0.1"), given={"parent": "eth0"})
HERE = bridge_network("here", pool("10.11.0.0/24", "10.11.0.1"), pool("fd11::/64", "fd11::1"), given={"host_binding": "192.0.2.7"})
LOCAL = bridge_network("local", pool("10.12.0.0/24", "10.12.0.1"), pool("fd12::/64", "fd12::1"), given={"host_binding": "::1"})
NETWORKS = {item.id: item for item in (V4, V6, BOTH, ROUTED6, ROUTED, LAN, HERE, LOCAL)}
ADDRESSES = {
    "four": ("10.4.0.2/24", None), "six": (None, "fd06::2/64"), "both": ("10.5.0.2/24", "fd05::2/64"),
    "here": ("10.11.0.2/24", "fd11::2/64"), "local": ("10.12.0.2/24", "fd12::2/64"),
    "routed": ("10.7.0.2/24", "fd07::2/64"), "lan": ("10.8.0.2/24", None), "open": ("10.9.0.2/24", "fd09::2/64"),
}  # fmt: skip


def endpoint(name, priority=0):
    ipv4, ipv6 = (ip_interface(item) if item else None for item in ADDRESSES[name])
    return Endpoint(
        origin="api", network_id=name, sandbox_id="s", ifname=name, host_ifname="v", mac="02:42:00:00:00:02", ipv4=ipv4, ipv6=ipv6,
        gateway_priority=priority,
    )  # fmt: skip


def plan(texts, *names, ports=(), host_ipv6=True):
    made, endpoints = full_plan(texts, *names, ports=ports, host_ipv6=host_ipv6)
    return made.mappings, endpoints


def full_plan(texts, *names, ports=(), host_ipv6=True, **more):
    sandbox = Sandbox(id="s", name="s", hostname="s", netns_path="/x", boot_id="", port_requests=tuple(map(parse_port, texts)), ports=ports)
    endpoints = [endpoint(*name) if isinstance(name, tuple) else endpoint(name) for name in names]
    given = {"taken": (), "find_busy": lambda *_: None, "ephemeral": (40000, 40010), "start": 0, "host_ipv6": host_ipv6, **more}
    made = published_ports.plan_ports(sandbox, endpoints, NETWORKS, **given)
    return made, published_ports.assign_ports(endpoints, NETWORKS, made.mappings)


def test_who_exposes_nothing_asks_for_no_port():
    plain = Sandbox(id="s", name="s", hostname="s", netns_path="/x", boot_id="")
    assert not published_ports.asks_for_ports(plain)
    assert not published_ports.asks_for_ports(replace(plain, publish_all=True))
    assert published_ports.asks_for_ports(replace(plain, publish_all=True, exposed=("80/tcp",)))
    assert published_ports.asks_for_ports(replace(plain, port_requests=(parse_port("80"),)))


def test_warnings_say_whose_ports_are_ignored():
    assert published_ports.ignored("shop-web-1").startswith("shop-web-1: published ports are ignored: ")
    assert published_ports.freed("shop-web-1").startswith("shop-web-1: its published ports are free for others; ")


def shown(endpoints):
    return sorted(
        (item.network_id, mapping.family, str(mapping.host_address or "*"), mapping.host_port, mapping.proxied)
        for item in endpoints
        for mapping in item.ports
    )


def relays(endpoints, *, everything=False):
    found = published_ports.proxies(endpoints, everything=everything)
    return {
        (item.family, str(item.host_address or "*")): " ".join([*map(str, to.addresses), str(to.port), *["for ::1"] * to.only_loopback])
        for item, to in found.items()
    }


def test_family_that_the_sandbox_lacks_is_carried_to_the_other():
    _, endpoints = plan(["8080:80"], "four")
    assert shown(endpoints) == [("four", 4, "*", 8080, False), ("four", 6, "*", 8080, True)]
    assert relays(endpoints) == {(6, "*"): "10.4.0.2 80"}
    _, endpoints = plan(["8080:80"], "six")
    assert shown(endpoints) == [("six", 4, "*", 8080, True), ("six", 6, "*", 8080, False)]
    assert relays(endpoints) == {(4, "*"): "fd06::2 80", (6, "*"): "fd06::2 80 for ::1"}


def test_with_both_families_only_loopback_needs_a_relay():
    _, endpoints = plan(["8080:80"], "both")
    assert shown(endpoints) == [("both", 4, "*", 8080, False), ("both", 6, "*", 8080, False)]
    assert relays(endpoints) == {(6, "*"): "fd05::2 10.5.0.2 80 for ::1"}


def test_loopback_of_both_families():
    _, endpoints = plan(["127.0.0.1:8080:80", "[::1]:8080:80"], "both")
    assert shown(endpoints) == [("both", 4, "127.0.0.1", 8080, False), ("both", 6, "::1", 8080, True)]
    assert relays(endpoints) == {(6, "::1"): "fd05::2 10.5.0.2 80"}
    _, endpoints = plan(["[::1]:8080:80"], "four")
    assert relays(endpoints) == {(6, "::1"): "10.4.0.2 80"}


def test_where_everything_is_relayed_each_family_is_relayed_to_its_own_first():
    _, endpoints = plan(["8080:80"], "both")
    assert relays(endpoints, everything=True) == {(4, "*"): "10.5.0.2 fd05::2 80", (6, "*"): "fd05::2 10.5.0.2 80"}
    _, endpoints = plan(["8080:80"], ("four", 1), "both")
    assert relays(endpoints, everything=True) == {(4, "*"): "10.4.0.2 fd05::2 80", (6, "*"): "fd05::2 10.5.0.2 80"}


def test_ports_of_both_families_at_one_socket_are_relayed_as_each_of_them_is():
    _, endpoints = plan(["8080:80"], ("four", 1), "both")
    found = published_ports.proxies(endpoints, everything=True)
    own, other, ipv6 = ((ip_address(text), 80) for text in ("10.4.0.2", "10.5.0.2", "fd05::2"))
    sock = object()
    for wanted in (found, dict(reversed(found.items()))):
        (rule,) = PortProxies(SimpleNamespace(opened=lambda _: sock), lambda *_: False, KeptSockets("", 0))._rules(wanted).values()
        targets = {peer: rule.targets((peer, 5, 0, 0), lambda *_: False) for peer in ("::ffff:192.0.2.1", "2001:db8::1", "::1")}
        assert targets["::ffff:192.0.2.1"] == (own, ipv6)
        assert targets["2001:db8::1"] == targets["::1"] == (ipv6, other)


def test_relayed_family_goes_to_nat_when_a_network_brings_it():
    mappings, _ = plan(["8080:80"], "four")
    again, endpoints = plan(["8080:80"], "four", "six", ports=mappings)
    assert again == mappings
    assert shown(endpoints) == [("four", 4, "*", 8080, False), ("six", 6, "*", 8080, False)]


def test_routed_family_is_not_relayed_and_has_no_host_port():
    _, endpoints = plan(["8080:80"], "routed")
    assert shown(endpoints) == [("routed", 4, "*", 8080, False), ("routed", 6, "*", 0, False)]
    assert relays(endpoints) == {}


def test_nothing_is_published_where_the_way_out_is_no_bridge():
    assert plan(["8080:80"], "lan")[0] == ()
    assert plan(["8080:80"], ("lan", 5), "four")[0] == ()
    _, endpoints = plan(["8080:80"], ("lan", -5), "four")
    assert shown(endpoints) == [("four", 4, "*", 8080, False), ("four", 6, "*", 8080, True)]


def test_host_without_ipv6():
    _, endpoints = plan(["8080:80"], "four", host_ipv6=False)
    assert shown(endpoints) == [("four", 4, "*", 8080, False)]
    with pytest.raises(InvalidRequest, match="nothing can be published on IPv6"):
        plan(["[::1]:8080:80"], "four", host_ipv6=False)


def test_what_is_relayed_is_not_translated():
    _, (one,) = plan(["8080:80", "[::1]:9090:90"], "four")
    (element,) = firewall.port_elements(V4, one)
    assert (element.set.name, element.fields, element.data) == ("dnat4_any", ("tcp", 8080), (ip_address("10.4.0.2"), 80))


def test_without_any_way_outside_nothing_is_published():
    inside = replace(V4, id="inside", name="inside", internal=True)
    mappings, _ = plan(["8080:80"], "four")
    bare = replace(endpoint("four"), network_id="inside")
    assert published_ports.assign_ports([bare], {"inside": inside}, mappings) == (bare,)


def test_exposed_ports_are_published_by_publish_all_unless_they_are_already():
    sandbox = Sandbox(
        id="s", name="s", hostname="s", netns_path="/x", boot_id="", port_requests=(parse_port("8080:80"),), publish_all=True,
        exposed=("80", "53/udp"),
    )  # fmt: skip
    mappings = published_ports.plan_ports(
        sandbox, [endpoint("four")], NETWORKS, taken=(), find_busy=lambda *_: None, ephemeral=(40000, 40010), start=0, host_ipv6=False
    ).mappings
    assert [(item.host_port, item.sandbox_port, item.protocol) for item in mappings] == [(8080, 80, "tcp"), (40000, 53, "udp")]


@pytest.mark.parametrize(
    ("address", "link", "internal"),
    [
        ("10.6.0.9", None, True), ("10.6.0.9", "br-inside", True), ("10.6.0.9", "br-four", False), ("10.4.0.9", None, False),
        ("10.9.0.9", "br-inside", True), ("10.8.0.9", None, False), ("10.8.0.9", "eth0", False),
    ],
)  # fmt: skip
def test_clients_on_internal_networks_are_known_by_their_link_or_address(address, link, internal):
    inside = bridge_network("inside", pool("10.6.0.0/24", "10.6.0.1"), internal=True)
    # The host does not route what is on a parent link.
    networks = [inside, replace(LAN, internal=True), V4]
    assert published_ports.is_internal_client(networks, ip_address(address), link) is internal


ALL = [(4, "*", 8080, False), (6, "*", 8080, False)]
NO_HOST_PORT = [(4, "*", 0, False), (6, "*", 0, False)]


def test_ports_follow_the_gateway_between_translated_and_routed_networks():
    mappings, endpoints = plan(["8080:80"], "both")
    assert shown(endpoints) == [("both", *one) for one in ALL]
    for priority, wanted in ((5, [("open", *one) for one in NO_HOST_PORT]), (-5, [("both", *one) for one in ALL])) * 2:
        mappings, endpoints = plan(["8080:80"], "both", ("open", priority), ports=mappings)
        assert shown(endpoints) == wanted
    # A family that stays as it was keeps its port, also an ephemeral one.
    mappings, _ = plan(["80"], "both")
    (four,) = [mapping for mapping in mappings if mapping.family == 4]
    again, endpoints = plan(["80"], "both", ("routed", 5), ports=mappings)
    assert four in again
    assert shown(endpoints) == [("routed", 4, "*", four.host_port, False), ("routed", 6, "*", 0, False)]


def test_ports_follow_the_addresses_that_gateway_networks_bind():
    bound = {"both": ALL, "here": [(4, "192.0.2.7", 8080, False)], "local": [(6, "::1", 8080, True)], "open": NO_HOST_PORT}
    mappings = ()
    for name in ("here", "both", "local", "here", "open", "local", "both"):
        mappings, endpoints = plan(["8080:80"], "four", (name, 5), ports=mappings)
        assert shown(endpoints) == [(name, *one) for one in bound[name]]
    # What was asked for at an address of its own stays.
    mappings, _ = plan(["127.0.0.1:9090:90", "[::1]:9090:90", "8080:80"], "here")
    again, _ = plan(["127.0.0.1:9090:90", "[::1]:9090:90", "8080:80"], ("both", 5), ports=mappings)
    assert {(item.family, str(item.host_address), item.host_port) for item in again} == {
        (4, "127.0.0.1", 9090), (6, "::1", 9090), (4, "None", 8080), (6, "None", 8080),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "network", "families"),
    [("2222:22", "open", [4, 6]), ("22", "open", []), ("2222:22", "routed", [6]), ("2222:22", "both", []), ("127.0.0.1::22", "open", [4])],
)
def test_host_part_that_a_routed_network_does_not_use_is_said(text, network, families):
    made, _ = full_plan([text], network)
    assert [int(warning.partition("for IPv")[2][0]) for warning in made.warnings] == families
    # Once: what is there already is not said again.
    assert full_plan([text], network, ports=made.mappings)[0].warnings == ()


def test_address_of_a_routed_family_is_not_published_by_the_other():
    _, endpoints = plan(["[::1]:8080:80"], "routed")
    assert shown(endpoints) == [("routed", 6, "*", 0, False)]


def test_ports_are_free_without_a_network_and_come_back():
    mappings, _ = plan(["8080:80"], "both")
    none, _ = plan(["8080:80"], ports=mappings)
    assert none == ()
    assert plan(["8080:80"], "both", ports=none)[0] == mappings


def test_port_that_is_taken_meanwhile_stops_who_asks_strictly_only():
    mappings, _ = plan(["8080:80", "9090:90"], "both")
    theirs = [("thief", mapping) for mapping in mappings if mapping.host_port == 8080]
    with pytest.raises(Conflict, match="allocated by thief"):
        full_plan(["8080:80", "9090:90"], "both", taken=theirs)
    made, _ = full_plan(["8080:80", "9090:90"], "both", taken=theirs, strict=False)
    assert {mapping.host_port for mapping in made.mappings} == {9090}
    assert ["thief" in warning for warning in made.warnings] == [True]
    # It comes with the next operation on the sandbox that finds it free; that never fails for its sake.
    for who, ports in ((theirs, {9090}), ([], {8080, 9090})):
        again, _ = full_plan(["8080:80", "9090:90"], "both", ports=made.mappings, taken=who)
        assert {mapping.host_port for mapping in again.mappings} == ports


@pytest.mark.parametrize(
    ("address", "local", "warned"),
    [
        ("1.2.3.4", ["192.0.2.9/32"], True), ("1.2.3.4", ["1.2.3.0/24"], False), ("127.0.0.5", ["127.0.0.0/8"], False),
        ("2001:db8::1", ["1.2.3.4/32"], True), ("2001:db8::1", ["2001:db8::1/128"], False), ("1.2.3.4", None, False),
    ],
)  # fmt: skip
def test_host_address_that_the_host_lacks_is_said(address, local, warned):
    mappings, _ = plan([f"[{address}]:8080-8090:80-90" if ":" in address else f"{address}:8080-8090:80-90"], "both")
    known = [ip_network(subnet) for subnet in local] if local is not None else None
    said = published_ports.lacking_addresses("web", mappings, known)
    assert [f"web publishes ports on {address}, which is no address of this host" in warning for warning in said] == [True] * warned
