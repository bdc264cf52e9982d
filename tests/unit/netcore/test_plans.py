"""Plans as values: what a connect, a disconnect and a removal will do."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest

from netcore.default_route import DefaultRoute
from netcore.desired.objects import Announcement
from netcore.drivers.facts import Facts
from netcore.errors import Conflict, NotFound
from netcore.model import Endpoint, EndpointRequest, PluginAnswer, PluginIpam, PluginOptions, PortMapping, Sandbox, Stack, VxlanOptions
from netcore.plan import plans
from netcore.plan.host_state import HostState, SandboxState
from netcore.plan.plans import AddressClaim, Lookups, NetworkPlan, PoolClaim
from netcore.plan.published_ports import PortPlan
from tests.support.networks import bridge_network, pool

FRONT, BACK = bridge_network("front", pool("10.1.0.0/24", "10.1.0.1")), bridge_network("back", pool("10.2.0.0/24", "10.2.0.1"))
GATEWAY = bridge_network("berth_gwbridge", pool("10.3.0.0/24", "10.3.0.1"))
PLUGGED = replace(
    bridge_network("plugged", pool("10.4.0.0/24")), driver="weave", driver_options=PluginOptions(plugin="weave"),
    ipam=PluginIpam(plugin="weave", space="local"),
)  # fmt: skip


def sandbox(name, **more):
    return Sandbox(id=name, name=name, hostname=name, netns_path=f"/run/netns/{name}", boot_id="", **more)


def endpoint(network, name, address, **more):
    return Endpoint(
        origin="api", network_id=network.id, sandbox_id=name, ifname="eth0", host_ifname="v0", mac="02:42:00:00:00:02",
        ipv4=ip_interface(f"{address}/24"), ipv6=None, **more,
    )  # fmt: skip


def state(*sandboxes, networks=(FRONT, BACK, GATEWAY, PLUGGED)):
    return HostState(
        run_directory="/run/berth",
        facts=Facts(uplinks=()),
        networks={network.id: network for network in networks},
        sandboxes={each.sandbox.id: each.sandbox for each in sandboxes},
        endpoints={each.sandbox.id: each.endpoints for each in sandboxes},
    )


def disconnect(before, network):
    left = plans.left_without(state(before), before, network)
    return plans.plan_disconnect(state(before), before, network, left, PortPlan())


A = SandboxState(sandbox("a"), (endpoint(FRONT, "a", "10.1.0.2"),))


def test_claims_say_where_an_address_or_a_pool_comes_from():
    assert AddressClaim(FRONT, 4, None, None).describe() == "claim an IPv4 address on network front"
    assert AddressClaim(FRONT, 4, ip_address("10.1.0.9"), None).describe() == "claim 10.1.0.9 on network front"
    assert AddressClaim(PLUGGED, 4, None, None).describe() == "claim an IPv4 address on network plugged from plugin weave"
    assert PoolClaim("plugged", 6, "weave").describe() == "claim an IPv6 pool for network plugged from plugin weave"


def test_network_is_made_by_what_comes_with_it():
    objects = state().objects_only_of(FRONT)
    assert {step.after for step in NetworkPlan(network=FRONT, objects=objects).steps()} == set(objects)


def test_connect_is_planned_without_addresses_and_completed_with_them():
    plan = plans.plan_connect(state(A), A, A.sandbox, [EndpointRequest(network="back")], Lookups(used_ifnames=frozenset({"lo", "eth0"})))
    (claim,) = plan.claims()
    assert (claim.network, claim.family, claim.wish) == (BACK, 4, None)
    assert plan.present == A.endpoints
    (made,) = plans.complete_endpoints(plan, {claim: ip_address("10.2.0.7")}, lambda count: "ab" * count)
    assert (made.ifname, str(made.ipv4), made.network_id) == ("eth1", "10.2.0.7/24", BACK.id)
    # What only a plugin knows is left open.
    (unknown,) = plans.complete_endpoints(plan, {})
    assert unknown.ipv4 is None


def test_new_sandbox_has_nothing_before():
    plan = plans.plan_connect(state(), None, sandbox("b"), [EndpointRequest(network="front")], Lookups())
    assert (plan.before, plan.present) == (None, ())


def test_second_endpoint_on_a_network_and_an_address_in_use_are_refused():
    with pytest.raises(Conflict, match="already attached to network front"):
        plans.plan_connect(state(A), A, A.sandbox, [EndpointRequest(network="front")], Lookups())
    wish = EndpointRequest(network="front", ipv4=ip_address("10.1.0.2"))
    with pytest.raises(Conflict, match="in use on network front by sandbox a"):
        plans.plan_connect(state(A), None, sandbox("b"), [wish], Lookups())
    same_mac = EndpointRequest(network="front", mac=A.endpoints[0].mac)
    with pytest.raises(Conflict, match="in use on network front"):
        plans.plan_connect(state(A), None, sandbox("b"), [same_mac], Lookups())
    free = replace(wish, ipv4=ip_address("10.1.0.3"))
    assert plans.plan_connect(state(A), None, sandbox("b"), [free], Lookups()).claims()[0].wish == ip_address("10.1.0.3")


def test_ports_go_to_the_endpoint_of_the_gateway_and_are_taken_for_others():
    mapping = PortMapping(family=4, protocol="tcp", host_address=None, host_port=8080, sandbox_port=80)
    after = plans.with_ports(state(A), A.sandbox, A.endpoints, [mapping])
    assert (after.sandbox.ports, after.endpoints[0].ports) == ((mapping,), (mapping,))
    known = state(after)
    assert plans.taken_ports(known, after.sandbox) == []
    assert plans.taken_ports(known, sandbox("b")) == [("a", mapping)]
    assert plans.change_steps(known, A, A) == ()
    assert {step.before for step in plans.change_steps(known, None, A)} == {None}


def test_disconnect_takes_what_belongs_to_the_endpoint():
    both = SandboxState(
        A.sandbox, (*A.endpoints, replace(endpoint(BACK, "a", "10.2.0.2"), ifname="eth1", host_ifname="v1", gateway_priority=-1))
    )
    plan = disconnect(both, BACK)
    assert ([gone.network_id for gone in plan.gone], plan.after.endpoints) == ([BACK.id], A.endpoints)
    assert plan.target == "endpoint of a on back"
    # The other endpoint keeps its link, and its default route.
    assert any("delete link v1" in step.describe() for step in plan.steps)
    assert not any("v0" in step.describe() for step in plan.steps)
    with pytest.raises(NotFound, match="not connected to network back"):
        disconnect(A, BACK)


def test_gateway_bridge_comes_and_goes_with_the_need():
    plugged = endpoint(PLUGGED, "a", "10.4.0.2", answer=PluginAnswer(link="p0", wants_gateway=True))
    outside = replace(endpoint(GATEWAY, "a", "10.3.0.2"), ifname="eth1", host_ifname="v1")
    networks = state().networks
    assert plans.lacks_gateway_bridge([plugged], networks)
    assert not plans.lacks_gateway_bridge([plugged, outside], networks)
    assert plans.without_idle_gateway_bridge([plugged, outside], networks) == [plugged, outside]
    assert plans.without_idle_gateway_bridge([*A.endpoints, outside], networks) == [*A.endpoints]
    both = SandboxState(A.sandbox, (plugged, outside))
    assert disconnect(both, PLUGGED).gone == (plugged, outside)


def test_removal_takes_everything():
    plan = plans.plan_removal(state(A), A)
    assert (plan.gone, plan.after.endpoints, plan.target) == (A.endpoints, (), "sandbox a")
    assert {step.after for step in plan.steps} == {None}


def test_host_gateway_without_an_address_of_the_host_is_told():
    isolated = bridge_network("isolated", pool("10.6.0.0/24"), internal=True, given={"gateway_mode_ipv4": "isolated"})
    here = state(networks=(FRONT, isolated))
    asking = sandbox("b", extra_hosts=("up:host-gateway", "x:10.0.0.1"))

    def warnings(who, *names):
        return plans.plan_connect(here, None, who, [EndpointRequest(network=name) for name in names], Lookups()).warnings

    told = "up is not in the hosts file (--add-host up:host-gateway): "
    assert warnings(asking, "isolated") == (f"{told}the host has no address on network isolated",)
    assert warnings(asking, "front", "isolated") == ()
    assert warnings(asking) == ()
    assert warnings(replace(asking, stack=Stack.NONE)) == (f"{told}network mode none has no way to it",)
    assert warnings(replace(asking, stack=Stack.HOST)) == ()


def test_default_route_that_came_since_the_last_operation_makes_way_too():
    own = DefaultRoute(family=4, gateway=ip_address("192.0.2.1"), message="00")
    before = SandboxState(sandbox("a", adopted=True, replaces_routes=True))
    after = SandboxState(replace(before.sandbox, own_routes=(own,)), A.endpoints)
    steps = plans.change_steps(state(before), before, after)
    assert [step.describe() for step in steps if "of its own" in step.describe()] == [
        "delete default route via 192.0.2.1 of its own (IPv4) in a"
    ]


@pytest.mark.parametrize(
    ("options", "firewall", "announced"),
    [
        ({}, True, ()),
        ({}, False, ("10.1.0.2",)),
        ({"reuse_bridge": True}, True, ("10.1.0.2",)),
        ({"allow_unknown_ports": True}, True, ("10.1.0.2",)),
        ({"allow_unknown_ports": False}, True, ()),
        ({"vxlan": VxlanOptions(vni=1, port=4789, encrypted=False)}, True, ("10.1.0.2",)),
    ],
    ids=["ours", "no firewall", "of the user", "others may send", "others may not send", "other hosts"],
)
def test_a_fresh_address_is_announced_where_others_than_sandboxes_may_be(options, firewall, announced):
    network = replace(FRONT, driver="overlay" if "vxlan" in options else "bridge", driver_options=replace(FRONT.driver_options, **options))
    host = state(A, networks=(network,))
    host.facts = replace(host.facts, firewall=firewall)
    steps = plans.change_steps(host, None, A)
    left = plans.without_needless_announcements(host, steps, A.endpoints, lambda *_: True)
    assert [len(steps), [tuple(map(str, step.after.addresses)) for step in left if isinstance(step.after, Announcement)]] == [
        len(left),
        [announced],
    ]
    assert plans.without_needless_announcements(host, steps, A.endpoints, lambda *_: False) == [*steps]


def test_names_of_links_are_looked_at_where_others_make_links():
    assert plans.names_are_known(A.sandbox, [FRONT])
    assert not plans.names_are_known(replace(A.sandbox, adopted=True), [FRONT])
    assert not plans.names_are_known(A.sandbox, [FRONT, PLUGGED])
