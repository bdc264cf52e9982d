"""Look-ups say what going through everything would say, whatever came and went."""

from dataclasses import replace
from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from netcore import drivers
from netcore.controller.state_writer import StateWriter
from netcore.drivers.facts import Facts
from netcore.model import MadeLink, Owner
from netcore.plan.host_state import SandboxState
from netcore.plan.index import Index
from netcore.plan.known_networks import KnownNetworks
from tests.support.networks import bridge_network, overlay_network, parent_network, pool
from tests.unit.netcore.test_plans import BACK, FRONT, GATEWAY, endpoint, sandbox

NETWORKS = (FRONT, BACK, GATEWAY)
OWNERS = (None, Owner(pid=1, start_time=0), Owner(pid=2, start_time=0), None)
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["put", "drop"]),
        st.sampled_from(["a", "b", "c", "d"]),
        st.sets(st.sampled_from([0, 1, 2])),
        st.sampled_from([None, "a", "b"]),
        st.sampled_from(["", "x"]),
    )
)


@given(ACTIONS)
def test_members_paths_and_users_of_stacks(actions):
    writer = StateWriter("/run/berth", Facts(uplinks=()))
    state = writer.state
    for action, identity, numbers, shared_with, suffix in actions:
        if action == "drop":
            writer.drop_sandbox(identity)
        else:
            made = replace(
                sandbox(identity, shared_with=shared_with),
                name=identity + suffix,
                netns_path=f"/run/netns/{identity}{suffix}",
                owner=OWNERS[len(numbers)],
            )
            endpoints = tuple(endpoint(NETWORKS[number], identity, "10.1.0.2") for number in sorted(numbers))
            writer.put_sandbox(SandboxState(made, endpoints))
        everything = state.all_endpoints()
        for network in NETWORKS:
            assert state.members(network.id) == [(owner, one) for owner, one in everything if one.network_id == network.id]
        for pid in (1, 2):
            owned = {known.name for known in state.sandboxes.values() if known.owner == Owner(pid=pid, start_time=0)}
            assert {known.name for known in state.sandboxes_of(Owner(pid=pid, start_time=0))} == owned
        for other in ("a", "b", "c"):
            users = {known.name for known in state.sandboxes.values() if known.shared_with == other}
            assert set(state.stack_users(other)) == users
        for name in ("a", "ax", "b", "nobody"):
            named = next((known for known in state.sandboxes.values() if known.name == name), None)
            assert state.sandbox_named(name) is named
            assert state.is_taken(f"/run/netns/{name}") is any(
                known.netns_path == f"/run/netns/{name}" for known in state.sandboxes.values()
            )


def test_networks_by_name():
    writer = StateWriter("/run/berth", Facts(uplinks=()))
    writer.put_network(FRONT)
    assert writer.state.network_named(FRONT.name) is FRONT
    writer.put_network(replace(FRONT, name="renamed"))
    assert writer.state.network_named(FRONT.name) is None
    assert writer.state.find_network("renamed").id == FRONT.id
    writer.drop_network(FRONT.id)
    writer.drop_network(FRONT.id)
    assert writer.state.network_named("renamed") is None


def test_an_index_keeps_the_order_in_which_keys_were_given():
    index = Index()
    for identity in "cab":
        index.put(identity, "key")
    index.put("a", "key")
    assert [*index.of("key")] == ["c", "a", "b"]
    index.put("c", "other")
    index.drop("nobody")
    assert [*index.of("key")] == ["a", "b"]
    index.drop("a")
    index.drop("b")
    assert [*index.of("key")] == []


LAN = parent_network("lan", "macvlan", pool("10.9.0.0/24"), given={"parent": "eth0"})
POSSIBLE = (
    bridge_network("web", pool("10.1.0.0/24", "10.1.0.1"), pool("fd01::/64", "fd01::1"), owner=Owner(pid=1, start_time=0)),
    bridge_network("inside", pool("10.1.4.0/24", "10.1.4.1"), internal=True, owner=Owner(pid=2, start_time=0)),
    overlay_network("far", pool("10.40.0.0/24", "10.40.0.1")),
    LAN,
    replace(LAN, id="lan2", name="lan2"),
    replace(LAN, id="made", name="made", driver_options=replace(LAN.driver_options, makes=MadeLink.DUMMY), internal=True),
    replace(LAN, id="also", name="also", driver_options=replace(LAN.driver_options, makes=MadeLink.DUMMY), internal=True),
    replace(LAN, id="unknown", name="unknown", driver="none-such"),
)
SUBNETS = [ip_network(text) for text in ("10.0.0.0/8", "10.1.0.0/16", "10.1.4.0/28", "10.9.0.0/24", "fd01::/64", "192.0.2.0/24")]


def link_of(network):
    return None if network.id == "unknown" else drivers.of(network).host_link(network)


@given(st.lists(st.tuples(st.sampled_from(POSSIBLE), st.sampled_from(["put", "drop", "rename"]))))
def test_networks_by_what_they_have(actions):
    made, known = KnownNetworks(), {}
    for network, action in actions:
        before = set(made.own_links)
        made.no_longer_own.clear()
        if action == "drop":
            made.drop(network.id)
            known.pop(network.id, None)
        else:
            known[network.id] = replace(network, name=f"{network.name}-2") if action == "rename" else network
            made.put(known[network.id])
        everything = [*known.values()]
        assert (len(made), {*made} == {*everything}, [one in made for one in everything]) == (len(known), True, [True] * len(known))
        for name in ("web", "web-2", "lan2", "none"):
            assert made.named(name) is next((one for one in everything if one.name == name), None)
        for name in ("bridge", "overlay", "macvlan"):
            assert {*made.of_driver(name)} == {one for one in everything if one.driver == name}
        for owner in (Owner(pid=1, start_time=0), Owner(pid=2, start_time=0)):
            assert {*made.of_owner(owner)} == {one for one in everything if one.owner == owner}
        links = {one.id: link for one in everything if (link := link_of(one)) is not None}
        for name in {link.name for link in links.values()} | {"eth0"}:
            assert {one.id for one in made.on_link(name)} == {identity for identity, link in links.items() if link.name == name}
        assert set(made.own_links) == {link.name for link in links.values() if link.made}
        assert made.no_longer_own == before - set(made.own_links)
        routed = {identity: link.name for identity, link in links.items() if link.routed and not known[identity].internal}
        assert made.routed_links == routed
        for subnet in SUBNETS:
            overlapping = {
                one.id for one in everything for taken in one.pools
                if taken.subnet.version == subnet.version and taken.subnet.overlaps(subnet)
            }  # fmt: skip
            assert {one.id for one in made.overlapping(subnet)} == overlapping


def test_a_network_whose_record_makes_no_sense_has_no_link():
    # It is set aside, but is there while what was on it is removed.
    known = KnownNetworks()
    known.put(replace(bridge_network("n"), driver="macvlan"))
    assert not known.own_links
