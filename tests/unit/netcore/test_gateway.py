from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from netcore.model import GATEWAY_BRIDGE, Endpoint, PluginAnswer, PluginOptions, StaticRoute
from netcore.plan import gateway
from tests.support.networks import bridge_network, pool


def network(name, *, internal=False, ipv6=False):
    pools = [pool("10.0.0.0/24", "10.0.0.1"), *([pool("fd00::/64", "fd00::1")] if ipv6 else [])]
    return bridge_network(name, *pools, internal=internal)


def endpoint(name, *, priority=0, ipv6=False):
    return Endpoint(
        origin="api",
        network_id=name,
        sandbox_id="s",
        ifname="eth0",
        host_ifname=f"veth{name}",
        mac="02:42:00:00:00:02",
        ipv4=ip_interface("10.0.0.2/24"),
        ipv6=ip_interface("fd00::2/64") if ipv6 else None,
        gateway_priority=priority,
    )


def order(*pairs):
    networks = {item.id: item for item, _ in pairs}
    return [item.network_id for item in gateway.ordered([item for _, item in pairs], networks)], networks


def test_higher_priority_first_then_not_internal_then_families_then_name():
    names, _ = order(
        (network("b"), endpoint("b")),
        (network("a"), endpoint("a")),
        (network("c", ipv6=True), endpoint("c", ipv6=True)),
        (network("d", internal=True), endpoint("d")),
        (network("e", internal=True), endpoint("e", priority=5)),
        (network("f"), endpoint("f", priority=-1)),
    )
    assert names == ["e", "c", "a", "b", "d", "f"]


def test_each_family_has_its_own_gateway_and_internal_gives_none():
    pairs = [
        (network("v4"), endpoint("v4", priority=1)),
        (network("both", ipv6=True), endpoint("both", ipv6=True)),
        (network("inside", internal=True), endpoint("inside", priority=9)),
    ]
    networks = {item.id: item for item, _ in pairs}
    ipv4, ipv6 = gateway.gateway_endpoints([item for _, item in pairs], networks)
    assert (ipv4.network_id, ipv6.network_id) == ("v4", "both")


def test_only_internal_networks_give_no_external_access():
    item = network("inside", internal=True)
    assert not gateway.has_external_access([endpoint("inside")], {"inside": item})


def plugged(name, *, wants_gateway=True, internal=False, route=None, gateway4=None):
    options = PluginOptions(plugin="weave")
    made = replace(bridge_network(name, pool("10.0.0.0/24")), driver="weave", driver_options=options, internal=internal)
    answer = PluginAnswer(link="w", wants_gateway=wants_gateway, gateway4=ip_address(gateway4) if gateway4 else None)
    routes = (StaticRoute(destination=ip_network("0.0.0.0/0"), via=None),) if route else ()
    return made, replace(endpoint(name), answer=answer, routes=routes)


@pytest.mark.parametrize(
    ("pairs", "needed"),
    [
        ([plugged("p")], True),
        ([plugged("p"), (network(GATEWAY_BRIDGE), endpoint(GATEWAY_BRIDGE))], True),
        ([plugged("p", wants_gateway=False)], False),
        ([plugged("p", internal=True)], False),
        ([plugged("p", route=True)], False),
        ([plugged("p", gateway4="10.0.0.9")], False),
        ([plugged("p"), (network("a"), endpoint("a"))], False),
        ([(network("inside", internal=True), endpoint("inside"))], False),
        ([], False),
    ],
)
def test_who_needs_the_gateway_bridge(pairs, needed):
    networks = {item.id: item for item, _ in pairs}
    assert gateway.needs_gateway_bridge([item for _, item in pairs], networks) is needed
