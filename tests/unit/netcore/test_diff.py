from dataclasses import replace
from ipaddress import ip_address, ip_interface
from itertools import takewhile

from hypothesis import given
from hypothesis import strategies as st

from netcore.desired.diff import Step, diff
from netcore.desired.objects import (
    DEFAULT4,
    Address,
    Announcement,
    Bridge,
    BridgePort,
    Element,
    EspPolicy,
    EspState,
    FirewallSet,
    Forwarding,
    Hairpin,
    HostsLines,
    Lane,
    LinkUp,
    Macvlan,
    Neighbor,
    Route,
    Subsystem,
    Sysctl,
    Veth,
    VxlanLink,
)
from netcore.drivers.bridge import BridgeDriver
from netcore.drivers.facts import Facts
from netcore.model import Endpoint, PortMapping, Sandbox
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


def test_connect_makes_links_before_addresses_before_routes_before_announcing():
    order = kinds(diff((), desired(A)))
    places = [order.index(kind) for kind in (Veth, BridgePort, Sysctl, LinkUp, Neighbor, Route, HostsLines, Announcement)]
    assert places == sorted(places)


def test_what_a_port_may_send_is_there_before_it_and_until_it_is_gone():
    published = replace(A, ports=(PortMapping(family=4, protocol="tcp", host_address=None, host_port=80, sandbox_port=80),))
    connect, disconnect = ([step.subject for step in steps] for steps in (diff((), desired(published)), diff(desired(published), ())))
    (link,) = [number for number, item in enumerate(connect) if isinstance(item, Veth)]
    before, after = ({item.set.table for item in part if isinstance(item, Element)} for part in (connect[:link], connect[link:]))
    assert (before, after) == ({"bridge"}, {"inet"})
    first_element = next(number for number, item in enumerate(disconnect) if isinstance(item, Element))
    assert Veth in [type(item) for item in disconnect[:first_element]]


def test_disconnect_replaces_the_route_before_the_old_link_goes():
    steps = diff(desired(A, B), desired(B))
    assert isinstance(steps[0].before, Route)
    assert steps[0].after == Route(sandbox_id=SANDBOX.id, destination=DEFAULT4, gateway=ip_address("10.0.2.1"), ifname="eth1")
    removed = [step.before for step in steps if step.after is None]
    assert type(removed[0]) is Veth


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
    pair = next(item for item in desired(A, B) if isinstance(item, Veth) and item.host_ifname == "vethb")
    assert Step(pair, None) in diff(desired(A, B), desired(A))


def test_changed_priority_moves_the_default_route_by_one_replace():
    steps = diff(desired(A, B), desired(A, replace(B, gateway_priority=5)))
    routes = [step for step in steps if isinstance(step.subject, Route)]
    assert len(routes) == 1
    assert routes[0].before is not None
    assert routes[0].after.ifname == "eth1"


def test_every_step_says_what_it_does():
    for step in (*diff((), desired(A)), *diff(desired(A), ()), *diff((), BridgeDriver().network_objects(NETWORKS["a" * 12], FACTS))):
        assert step.describe().split()[0] in ("create", "delete", "replace")


# --- properties, over hosts with any links and any parts of them ----------------------------------------------------------

S = SANDBOX.id
BRIDGES = FirewallSet(table="inet", name="bridges", key_types=("ifname",))
MAPPED = FirewallSet(table="inet", name="dnat4_any", key_types=("inet_proto", "inet_service"), data_types=("ipv4_addr", "inet_service"))
MAC = "02:42:00:00:00:01"
FIRST, SECOND = ip_address("10.0.1.1"), ip_address("10.0.1.2")


def route_over(ifname, gateway):
    return Route(sandbox_id=S, destination=DEFAULT4, gateway=gateway, ifname=ifname)


# Each link with the parts that it may have; one of several variants of an object, all with the same key.
LINKS = [
    ([Bridge(name="br0", mac=MAC, mtu=1500, tag="t")], [
        [Sysctl(sandbox_id=None, path="net/ipv4/conf/br0/forwarding", value=value) for value in "01"],
        [Address(sandbox_id=None, ifname="br0", interface=ip_interface("10.0.1.1/24"))],
        [Neighbor(sandbox_id=None, ifname="br0", address=SECOND, mac=mac) for mac in (MAC, "02:42:00:00:00:09")],
        [Element(set=BRIDGES, fields=("br0",))],
    ]),
    ([VxlanLink(name="vx-5", vni=5, port=4789, local=FIRST, bridge="br0", mtu=1450, tag="t")], [
        [Forwarding(ifname="vx-5", mac=MAC, vtep=vtep) for vtep in (FIRST, SECOND)],
    ]),
    ([Veth(host_ifname="v0", sandbox_id=S, ifname="eth0", mac=MAC, mtu=mtu, bridge="br0") for mtu in (1500, 1400)], [
        [Hairpin(host_ifname="v0")],
        [Address(sandbox_id=S, ifname="eth0", interface=ip_interface("10.0.1.2/24"))],
        [LinkUp(sandbox_id=S, ifname="eth0")],
        [Neighbor(sandbox_id=S, ifname="eth0", address=FIRST, mac=MAC)],
        [Element(set=MAPPED, fields=("tcp", 80), data=(SECOND, port)) for port in (80, 81)],
    ]),
    ([Macvlan(sandbox_id=S, ifname="eth1", parent="lan0", mode="bridge", mac=MAC, mtu=1500)], [
        [Address(sandbox_id=S, ifname="eth1", interface=ip_interface("10.0.2.2/24"))],
        [LinkUp(sandbox_id=S, ifname="eth1")],
        [Announcement(sandbox_id=S, ifname="eth1", port=None, mac=MAC, addresses=(SECOND,), count=1, interval=1.0)],
    ]),
]  # fmt: skip
UNLINKED = [
    [HostsLines(path="/hosts", lines=lines) for lines in (("a",), ("a", "b"))],
    [EspState(source=FIRST, target=SECOND, spi=1, key_material="00" * 20, request_id=7)],
    [EspPolicy(source=FIRST, target=SECOND, port=4789, outgoing=True, request_id=7)],
]
ROUTES = {"eth0": [route_over("eth0", FIRST), route_over("eth0", SECOND)], "eth1": [route_over("eth1", FIRST), route_over("eth1", None)]}


@st.composite
def hosts(draw):
    """Return the objects of a host: some links, some of their parts, a route over one of the links of the sandbox."""
    result = [draw(st.sampled_from(variants)) for variants in UNLINKED if draw(st.booleans())]
    over = []
    for variants, parts in LINKS:
        if draw(st.booleans()):
            link = draw(st.sampled_from(variants))
            over += [link.ifname] if isinstance(link, Veth | Macvlan) else []
            result += [link, *(draw(st.sampled_from(part)) for part in parts if draw(st.booleans()))]
    if over and draw(st.booleans()):
        result.append(draw(st.sampled_from(ROUTES[draw(st.sampled_from(over))])))
    return draw(st.permutations(result))


NEVER_DELETED = Sysctl | Announcement


class Kernel:
    """Does what a kernel would with the steps, and refuses what it would refuse."""

    def __init__(self, objects):
        self.objects = {each.key: each for each in objects}

    def carry_out(self, steps):
        for step in steps:
            assert self.objects.get(step.subject.key) == step.before or isinstance(step.subject, NEVER_DELETED)
            if step.after is not None:
                self.objects[step.after.key] = step.after
                continue
            del self.objects[step.before.key]
            gone = set(step.before.links())
            for key in [key for key, each in self.objects.items() if gone and each.goes_with(gone)]:
                del self.objects[key]
        return {each for each in self.objects.values() if not isinstance(each, NEVER_DELETED)}


def deletable(objects):
    return {each for each in objects if not isinstance(each, NEVER_DELETED)}


@given(hosts(), hosts())
def test_steps_lead_from_one_state_to_the_other_and_back(before, after):
    assert Kernel(before).carry_out(diff(before, after)) == deletable(after)
    # Undo is the diff the other way.
    assert Kernel(after).carry_out(diff(after, before)) == deletable(before)


@given(hosts(), hosts(), st.data())
def test_what_was_done_until_a_failure_is_undone_by_a_diff(before, after, data):
    # A link that is deleted takes along what no step names: up to there.
    steps = list(takewhile(lambda step: step.after is not None or not step.before.links(), diff(before, after)))
    done = steps[: data.draw(st.integers(0, len(steps)))]
    kernel = Kernel(before)
    kernel.carry_out(done)
    reached = [step.after for step in done if step.after is not None]
    undo = diff(reached, [step.before for step in done if step.before is not None])
    assert kernel.carry_out(undo) == deletable(before)


@given(hosts(), hosts())
def test_changes_go_up_in_order_then_deletions_down_and_none_is_superfluous(before, after):
    steps = diff(before, after)
    changes = [step.subject.order for step in steps if step.after is not None]
    deletions = [step.subject.deletion_order for step in steps if step.after is None]
    assert changes == sorted(changes)
    assert deletions == sorted(deletions, reverse=True)
    assert [step.after is None for step in steps] == [False] * len(changes) + [True] * len(deletions)
    assert len({step.subject.key for step in steps}) == len(steps)
    assert all(step.before != step.after for step in steps)
    assert diff(after, after) == ()


def test_link_of_a_sandbox_is_created_from_the_host_and_deleted_inside():
    (created,) = diff((), [link := LINKS[3][0][0]])
    assert created.lane == Lane(Subsystem.LINKS)
    (deleted,) = diff([link], ())
    assert deleted.lane == Lane(Subsystem.STACK, S)
