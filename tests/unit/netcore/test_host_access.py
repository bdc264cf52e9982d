"""The option `host_access`, what follows from it for the firewall, and the warning where a name for the host is of no use."""

from dataclasses import replace
from ipaddress import ip_interface

import pytest

from netcore.desired import firewall, host_rules
from netcore.drivers.facts import Facts
from netcore.model import Endpoint, HostAccess, Sandbox
from netcore.parse.host_access import host_access
from netcore.plan import plans
from netcore.plan.host_state import HostState, SandboxState
from tests.support.networks import bridge_network, pool

POOL4, POOL6 = pool("10.1.0.0/24", "10.1.0.1"), pool("fd01::/64", "fd01::1")
GATEWAYS = [ip_interface("10.1.0.1/24"), ip_interface("fd01::1/64")]
ENDPOINT = Endpoint(
    origin="api", network_id="a", sandbox_id="s", ifname="eth0", host_ifname="veth1", mac="02:42:00:00:00:02",
    ipv4=ip_interface("10.1.0.2/24"), ipv6=None,
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("all", HostAccess(everything=True)),
        ("none", HostAccess()),
        ("ports=443", HostAccess(ports=(("tcp", 443),))),
        ("ports=tcp/443,udp/53", HostAccess(ports=(("tcp", 443), ("udp", 53)))),
        ("ports=443/tcp, 53/udp,443", HostAccess(ports=(("tcp", 443), ("udp", 53)))),
        ("ports=8000-8002,9/sctp", HostAccess(ports=(("tcp", 8000), ("tcp", 8001), ("tcp", 8002), ("sctp", 9)))),
        ("ports=65535", HostAccess(ports=(("tcp", 65535),))),
        ("ports=1-1024", HostAccess(ports=tuple(("tcp", number) for number in range(1, 1025)))),
    ],
)
def test_what_is_read(text, meaning):
    assert host_access(text) == meaning


@pytest.mark.parametrize(
    "text",
    [
        "", "ALL", "ports", "ports=", "ports=,", "ports=x", "ports=0", "ports=65536", "ports=9-8", "ports=1-", "ports=-1", "ports=1-1025",
        "ports=53/icmp", "ports=53/", "ports=/udp", "ports=tcp/", "none=1", "port=80", "ports=80/tcp/udp", "ports=\u0663", "ports=000080",
    ],
)  # fmt: skip
def test_what_is_refused(text):
    with pytest.raises(ValueError, match=r"must be|ports are|opens"):
        host_access(text)


def fields(elements):
    result = {}
    for element in elements:
        result.setdefault(element.set.name, []).append(element.fields)
    return result


def of(*, given=None, internal=False, reused=False):
    network = bridge_network("a", POOL4, POOL6, given=given, internal=internal)
    network = replace(network, driver_options=replace(network.bridge, reuse_bridge=reused))
    return network, fields(host_rules.network_elements(network, GATEWAYS))


def test_an_open_network_is_closed_to_unknown_ports_alone():
    network, made = of()
    assert made == {
        "bridge_addresses": [("br-a", network.bridge.bridge_mac)],
        "exclusive": [("br-a",)],
        "gateways4": [(GATEWAYS[0].ip,)],
        "gateways6": [(GATEWAYS[1].ip,)],
        "own_gateways4": [("br-a", GATEWAYS[0].ip)],
        "own_gateways6": [("br-a", GATEWAYS[1].ip)],
    }
    assert "exclusive" not in of(given={"unknown_ports": "allow"})[1]
    assert "exclusive" not in of(reused=True)[1]
    assert "exclusive" in of(reused=True, given={"unknown_ports": "drop"})[1]


def test_a_closed_network_has_its_ports():
    for made in (of(internal=True)[1], of(given={"host_access": "none"})[1]):
        assert made["host_closed"] == [("br-a",)]
        assert "host_ports" not in made
    assert "host_closed" not in of(internal=True, given={"host_access": "all"})[1]
    assert of(given={"host_access": "ports=443,53/udp"})[1]["host_ports"] == [("br-a", "tcp", 443), ("br-a", "udp", 53)]


def test_on_a_bridge_of_the_host_each_sandbox_is_closed_out_by_itself():
    network, made = of(reused=True, given={"host_access": "none"})
    assert "host_closed" not in made
    assert fields(host_rules.endpoint_elements(network, ENDPOINT)) == {"host_closed_senders": [("br-a", ENDPOINT.mac)]}
    assert fields(host_rules.endpoint_elements(of(given={"host_access": "none"})[0], ENDPOINT)) == {}
    assert fields(host_rules.endpoint_elements(of(reused=True)[0], ENDPOINT)) == {}


def test_a_link_local_gateway_may_be_on_other_links_too():
    network = bridge_network("a", pool("fe80::/64", "fe80::1"))
    assert set(fields(host_rules.network_elements(network, [ip_interface("fe80::1/64")]))) == {
        "bridge_addresses", "exclusive", "own_gateways6",
    }  # fmt: skip


def test_ports_that_others_make_are_kept_from_sandboxes_of_bridges_of_ours():
    assert "exclusive_ports" in fields(firewall.endpoint_elements(of()[0], ENDPOINT))
    assert "exclusive_ports" not in fields(firewall.endpoint_elements(of(given={"unknown_ports": "allow"})[0], ENDPOINT))
    assert fields(firewall.tunnel_elements("vx-5")) == {"tunnel_ports": [("vx-5",)], "members": [("vx-5",)]}


@pytest.mark.parametrize(
    ("given", "internal", "warned"),
    [({}, False, False), ({"host_access": "none"}, False, True), ({"host_access": "ports=80"}, False, False), ({}, True, True)],
)
def test_a_name_for_the_host_is_a_warning_where_its_services_are_closed(given, internal, warned):
    network = bridge_network("a", POOL4, given=given, internal=internal)
    state = HostState(run_directory="/run", facts=Facts(uplinks=()), networks={network.id: network})
    sandbox = Sandbox(id="s", name="web", hostname="web", netns_path="/x", boot_id="", extra_hosts=("gate:host-gateway", "x:10.0.0.1"))
    warnings = plans.host_gateway_warnings(state, SandboxState(sandbox, (ENDPOINT,)))
    assert [text.startswith("gate is a name for the host (host-gateway), whose services network a") for text in warnings] == [True] * warned
    assert plans.host_gateway_warnings(state, SandboxState(replace(sandbox, extra_hosts=()), (ENDPOINT,))) == ()


def test_only_the_network_that_the_name_leads_to_is_warned_of():
    inner, front = bridge_network("a", POOL4, internal=True), bridge_network("f", pool("10.2.0.0/24", "10.2.0.1"))
    state = HostState(run_directory="/run", facts=Facts(uplinks=()), networks={inner.id: inner, front.id: front})
    sandbox = Sandbox(id="s", name="web", hostname="web", netns_path="/x", boot_id="", extra_hosts=("gate:host-gateway",))
    both = (ENDPOINT, replace(ENDPOINT, network_id=front.id, ipv4=ip_interface("10.2.0.2/24")))
    assert plans.host_gateway_warnings(state, SandboxState(sandbox, both)) == ()
