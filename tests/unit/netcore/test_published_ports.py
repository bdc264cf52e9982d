"""Where published ports go: NAT, a proxy for what the kernel can't translate, or nowhere."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest

from netcore.desired import firewall
from netcore.errors import InvalidRequest
from netcore.model import Endpoint, Sandbox
from netcore.parse.ports import parse_port
from netcore.plan import published_ports
from tests.support.networks import bridge_network, parent_network, pool

V4 = bridge_network("four", pool("10.4.0.0/24", "10.4.0.1"))
V6 = bridge_network("six", pool("fd06::/64", "fd06::1"))
BOTH = bridge_network("both", pool("10.5.0.0/24", "10.5.0.1"), pool("fd05::/64", "fd05::1"))
ROUTED6 = bridge_network("routed", pool("10.7.0.0/24", "10.7.0.1"), pool("fd07::/64", "fd07::1"), given={"gateway_mode_ipv6": "routed"})
LAN = parent_network("lan", "macvlan", pool("10.8.0.0/24", "10.8.0.1"), given={"parent": "eth0"})
NETWORKS = {item.id: item for item in (V4, V6, BOTH, ROUTED6, LAN)}
ADDRESSES = {
    "four": ("10.4.0.2/24", None), "six": (None, "fd06::2/64"), "both": ("10.5.0.2/24", "fd05::2/64"),
    "routed": ("10.7.0.2/24", "fd07::2/64"), "lan": ("10.8.0.2/24", None),
}  # fmt: skip


def endpoint(name, priority=0):
    ipv4, ipv6 = (ip_interface(item) if item else None for item in ADDRESSES[name])
    return Endpoint(
        origin="api", network_id=name, sandbox_id="s", ifname=name, host_ifname="v", mac="02:42:00:00:00:02", ipv4=ipv4, ipv6=ipv6,
        gateway_priority=priority,
    )  # fmt: skip


def plan(texts, *names, ports=(), host_ipv6=True):
    sandbox = Sandbox(id="s", name="s", hostname="s", netns_path="/x", boot_id="", port_requests=tuple(map(parse_port, texts)), ports=ports)
    endpoints = [endpoint(*name) if isinstance(name, tuple) else endpoint(name) for name in names]
    mappings = published_ports.plan_ports(
        sandbox, endpoints, NETWORKS, taken=(), find_busy=lambda *_: None, ephemeral=(40000, 40010), start=0, host_ipv6=host_ipv6
    )
    return mappings, published_ports.assign_ports(endpoints, NETWORKS, mappings)


def shown(endpoints):
    return sorted(
        (item.network_id, mapping.family, str(mapping.host_address or "*"), mapping.host_port, mapping.proxied)
        for item in endpoints
        for mapping in item.ports
    )


def relays(endpoints):
    found = published_ports.proxies(endpoints)
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
    )
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
