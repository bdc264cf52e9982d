"""Look-ups say what going through everything would say, whatever came and went."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from netcore.controller.state_writer import StateWriter
from netcore.drivers.facts import Facts
from netcore.plan.host_state import SandboxState
from netcore.plan.index import Index
from tests.unit.netcore.test_plans import BACK, FRONT, GATEWAY, endpoint, sandbox

NETWORKS = (FRONT, BACK, GATEWAY)
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
            made = replace(sandbox(identity, shared_with=shared_with), name=identity + suffix, netns_path=f"/run/netns/{identity}{suffix}")
            endpoints = tuple(endpoint(NETWORKS[number], identity, "10.1.0.2") for number in sorted(numbers))
            writer.put_sandbox(SandboxState(made, endpoints))
        everything = state.all_endpoints()
        for network in NETWORKS:
            assert state.members(network.id) == [(owner, one) for owner, one in everything if one.network_id == network.id]
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
