"""What must exist for a sandbox beside what its drivers say: default routes, sysctls, hosts lines."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface

from netcore.desired.objects import DEFAULT4, DEFAULT6, HostsLines, Route, Sysctl, Veth
from netcore.drivers.facts import Facts
from netcore.model import GATEWAY_BRIDGE, Endpoint, Sandbox, Stack
from netcore.plan.desired_state import desired
from tests.support.networks import bridge_network, parent_network, pool

FRONT = bridge_network("front", pool("10.1.0.0/24", "10.1.0.1"), pool("fd01::/64", "fd01::1"))
INSIDE = bridge_network("inside", pool("10.2.0.0/24", "10.2.0.1"), internal=True)
INSIDE6 = bridge_network("inside6", pool("10.5.0.0/24", "10.5.0.1"), pool("fd05::/64", "fd05::1"), internal=True)
ISOLATED = bridge_network("isolated", pool("10.6.0.0/24"), internal=True, given={"gateway_mode_ipv4": "isolated"})
ROUTER = pool("10.7.0.0/24", "10.7.0.1", auxiliary=(("DefaultGatewayIPv4", ip_address("10.7.0.9")),))
ROUTED = bridge_network("routed", ROUTER)
LAN = parent_network("lan", "macvlan", pool("10.4.0.0/24"), given={"parent": "eth0"})
GATEWAY = bridge_network(GATEWAY_BRIDGE, pool("10.3.0.0/24", "10.3.0.1"))
NETWORKS = {network.id: network for network in (FRONT, INSIDE, GATEWAY, LAN, INSIDE6, ISOLATED, ROUTED)}
SANDBOX = Sandbox(id="s", name="web", hostname="web", netns_path="/x", boot_id="", extra_hosts=("outside:host-gateway",))


def endpoint(network, ipv4, ipv6=None):
    return Endpoint(
        origin="api", network_id=network.id, sandbox_id="s", ifname=network.id, host_ifname="v", mac="02:42:00:00:00:02",
        ipv4=ip_interface(ipv4), ipv6=ip_interface(ipv6) if ipv6 else None,
    )  # fmt: skip


def objects(sandbox, *endpoints):
    return desired(sandbox, endpoints, NETWORKS, Facts(uplinks=()), hosts_path="/hosts", loopback_ipv6=True)


def of(kind, found):
    return [thing for thing in found if isinstance(thing, kind)]


def test_default_routes_follow_the_way_outside():
    found = objects(SANDBOX, endpoint(INSIDE, "10.2.0.2/24"), endpoint(FRONT, "10.1.0.2/24", "fd01::2/64"))
    assert [(route.destination, route.gateway, route.ifname) for route in of(Route, found)] == [
        (DEFAULT4, ip_address("10.1.0.1"), "front"),
        (DEFAULT6, ip_address("fd01::1"), "front"),
    ]
    assert len(of(Veth, found)) == 2
    (hosts,) = of(HostsLines, found)
    assert any("10.1.0.1" in line and "outside" in line for line in hosts.lines)
    assert not of(Route, objects(SANDBOX, endpoint(INSIDE, "10.2.0.2/24")))
    # A parent network may lead outside without a gateway that we know.
    assert not of(Route, objects(SANDBOX, endpoint(LAN, "10.4.0.2/24")))


def host_lines(*endpoints, sandbox=SANDBOX):
    (hosts,) = of(HostsLines, objects(sandbox, *endpoints))
    return [line for line in hosts.lines if "outside" in line]


def test_host_gateway_on_an_internal_network_is_the_bridge():
    assert host_lines(endpoint(INSIDE, "10.2.0.2/24")) == ["10.2.0.1\toutside"]
    assert host_lines(endpoint(INSIDE6, "10.5.0.2/24", "fd05::2/64")) == ["10.5.0.1\toutside", "fd05::1\toutside"]
    # A way outside comes first; a family that it lacks is that of the other network.
    both = endpoint(INSIDE6, "10.5.0.2/24", "fd05::2/64"), endpoint(FRONT, "10.1.0.2/24")
    assert host_lines(*both) == ["10.1.0.1\toutside", "fd05::1\toutside"]
    assert host_lines(endpoint(ISOLATED, "10.6.0.2/24")) == []


def test_host_gateway_is_the_host_although_another_router_is_the_gateway():
    assert host_lines(endpoint(ROUTED, "10.7.0.2/24")) == ["10.7.0.1\toutside"]


def test_host_gateway_with_the_hosts_own_stack_is_its_loopback():
    assert host_lines(sandbox=replace(SANDBOX, stack=Stack.HOST)) == ["127.0.0.1\toutside", "::1\toutside"]
    assert host_lines(sandbox=replace(SANDBOX, stack=Stack.NONE)) == []


def test_the_gateway_bridge_gives_a_route_and_no_name():
    with_bridge = objects(SANDBOX, endpoint(GATEWAY, "10.3.0.2/24"))
    assert len(of(Route, with_bridge)) == 1
    (hosts,) = of(HostsLines, with_bridge)
    assert not any("10.3.0.2" in line for line in hosts.lines)


def test_a_router_forwards_and_the_users_sysctls_come_in_place_of_ours():
    router = replace(SANDBOX, forwards=True, sysctls=(("net/ipv4/ip_forward", "0"), ("net/ipv4/ip_default_ttl", "40")))
    values = {sysctl.path: sysctl.value for sysctl in of(Sysctl, objects(router)) if sysctl.sandbox_id == "s"}
    assert values == {"net/ipv6/conf/all/forwarding": "1", "net/ipv4/ip_forward": "0", "net/ipv4/ip_default_ttl": "40"}
    assert sum(sysctl.path == "net/ipv4/ip_forward" for sysctl in of(Sysctl, objects(router))) == 1


def test_a_stack_that_is_not_its_own_has_hosts_lines_at_most():
    assert objects(replace(SANDBOX, stack=Stack.SHARED)) == ()
    assert objects(replace(SANDBOX, stack=Stack.HOST, extra_hosts=())) == ()
    (hosts,) = objects(replace(SANDBOX, stack=Stack.HOST, extra_hosts=("a:10.0.0.1",)))
    assert any("10.0.0.1" in line for line in hosts.lines)
    assert len(objects(replace(SANDBOX, stack=Stack.NONE, extra_hosts=()))) == 1


def test_sysctls_of_a_sandbox_without_networks():
    given = (("net/ipv4/ip_unprivileged_port_start", "0"), ("net/ipv6/conf/all/disable_ipv6", "1"))
    found = objects(replace(SANDBOX, stack=Stack.NONE, sysctls=given))
    assert [(sysctl.path, sysctl.value) for sysctl in of(Sysctl, found)] == [*given]
    (hosts,) = of(HostsLines, found)
    assert not any("::1" in line for line in hosts.lines)
