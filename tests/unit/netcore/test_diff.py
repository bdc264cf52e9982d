from dataclasses import replace
from ipaddress import ip_address, ip_interface

from netcore.desired.diff import Step, diff
from netcore.desired.objects import DEFAULT4, Announcement, Element, HostsLines, LinkUp, Neighbor, Route, Sysctl, Veth
from netcore.drivers.bridge import BridgeDriver
from netcore.drivers.facts import Facts
from netcore.model import Endpoint, Sandbox
from netcore.plan import desired_state
from tests.support.networks import bridge_network, pool

FACTS = Facts(uplinks=("up0",))


def network(name, third, **more):
    return bridge_network(name, pool(f"10.0.{third}.0/24", f"10.0.{third}.1"), identity=name * 12, **more)


NETWORKS = {item.id: item for item in (network("a", 1), network("b", 2))}
SANDBOX = Sandbox(id="s" * 12, name="web", hostname="web", netns_path="/x", boot_id="")


def endpoint(name, third, ifname, priority=0):
    return Endpoint(
        origin="api", network_id=name * 12, sandbox_id=SANDBOX.id, ifname=ifname, host_ifname=f"veth{name}",
        mac=f"02:42:00:00:0{third}:02", ipv4=ip_interface(f"10.0.{third}.2/24"), ipv6=None, gateway_priority=priority,
    )  # fmt: skip


def desired(*endpoints):
    return desired_state.desired(SANDBOX, endpoints, NETWORKS, FACTS, hosts_path="/hosts", loopback_ipv6=True)


A, B = endpoint("a", 1, "eth0"), endpoint("b", 2, "eth1")


def kinds(steps):
    return [type(step.subject) for step in steps]


def test_connect_makes_links_before_addresses_before_routes_before_rules_before_announcing():
    order = kinds(diff((), desired(A)))
    places = [order.index(kind) for kind in (Veth, Sysctl, LinkUp, Neighbor, Route, Element, HostsLines, Announcement)]
    assert places == sorted(places)


def test_disconnect_replaces_the_route_before_the_old_link_goes():
    steps = diff(desired(A, B), desired(B))
    assert isinstance(steps[0].before, Route)
    assert steps[0].after == Route(sandbox_id=SANDBOX.id, destination=DEFAULT4, gateway=ip_address("10.0.2.1"), ifname="eth1")
    assert isinstance(steps[-1].before, Veth)
    assert steps[-1].after is None


def test_what_goes_with_a_link_is_not_deleted_by_itself():
    deletes = [step.subject for step in diff(desired(A), desired()) if step.after is None]
    assert not [item for item in deletes if isinstance(item, LinkUp | Sysctl | Announcement)]
    # The neighbour on the host's bridge outlives the sandbox's link.
    assert [item.sandbox_id for item in deletes if isinstance(item, Neighbor)] == [None]


def test_same_state_needs_no_step():
    assert diff(desired(A, B), desired(A, B)) == ()


def test_undo_is_the_diff_the_other_way():
    steps = diff(desired(A), desired(A, B))
    assert {step.after for step in steps} >= set(desired(A, B)) - set(desired(A))
    assert diff(desired(A, B), desired(A))[-1] == Step(
        next(item for item in desired(A, B) if getattr(item, "host_ifname", "") == "vethb"), None
    )


def test_changed_priority_moves_the_default_route_by_one_replace():
    steps = diff(desired(A, B), desired(A, replace(B, gateway_priority=5)))
    routes = [step for step in steps if isinstance(step.subject, Route)]
    assert len(routes) == 1
    assert routes[0].before is not None
    assert routes[0].after.ifname == "eth1"


def test_every_step_says_what_it_does():
    for step in (*diff((), desired(A)), *diff(desired(A), ()), *diff((), BridgeDriver().network_objects(NETWORKS["a" * 12], FACTS))):
        assert step.describe().split()[0] in ("create", "delete", "replace")
