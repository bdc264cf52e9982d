"""What hosts know of each other: every change is taken in by itself, and costs what it touches."""

import json
from ipaddress import ip_address, ip_interface

import pytest

from netcore import drivers
from netcore.cluster import state as records
from netcore.cluster.encryption import Key
from netcore.cluster.state import ClusterState, Description, EndpointChanged, EndpointRecord, KeysChanged, NetworkChanged, Node
from netcore.desired.firewall import TUNNELS
from netcore.desired.objects import Element, Forwarding, Neighbor, VxlanLink
from netcore.drivers.facts import Facts
from netcore.model import Endpoint, Sandbox
from netcore.parse.ports import parse_port
from netcore.plan.network import plan_network
from netcore.store.codec import encode_shared
from netcore.store.protocol import Item
from tests.unit.netcore.test_plan_network import AROUND, NetworkRequest

NETWORK = plan_network(NetworkRequest(name="far", driver="overlay", subnets=("10.40.0.0/24",)), (), AROUND, "f" * 12)


SANDBOX = Sandbox(
    id="s", name="web", hostname="host", netns_path="/x", boot_id="", exposed=("53/udp",), port_requests=(parse_port("8080:80"),)
)


def node(name):
    return Node(id=f"id-{name}", name=name, vtep=ip_address(f"10.99.0.{ord(name) - 96}"))


def record(name, last):
    return EndpointRecord(
        node=f"id-{name}", sandbox=f"s-{name}", mac=f"02:42:00:00:00:{last:02x}", addresses=(f"10.40.0.{last}",), names=(f"s-{name}",)
    )


def items(*pairs):
    return {key: Item(encode_shared(value), number) for number, (key, value) in enumerate(pairs, 1)}


def filled():
    made = ClusterState()
    made.replace_common(
        items(
            (records.node_key("id-a"), node("a")),
            (records.node_key("id-b"), node("b")),
            (records.network_key(NETWORK.id), NETWORK),
        )
    )
    endpoints = items((f"endpoint/{NETWORK.id}/e1", record("a", 2)), (f"endpoint/{NETWORK.id}/e2", record("b", 3)))
    assert made.replace_endpoints(NETWORK.id, endpoints) == {EndpointChanged(NETWORK.id, "e1"), EndpointChanged(NETWORK.id, "e2")}
    made.apply(records.address_key(NETWORK.id, ip_address("10.40.0.2")), b"id-a", 6)
    return made


def test_each_node_sees_the_endpoints_of_the_others():
    made = filled()
    assert {identity: str(endpoint.vtep) for identity, endpoint in made.remotes(NETWORK.id, "id-a").items()} == {"e2": "10.99.0.2"}
    assert [*made.remotes(NETWORK.id, "id-c")] == ["e1", "e2"]
    assert made.networks[NETWORK.id] == NETWORK
    assert made.addresses[NETWORK.id] == {ip_address("10.40.0.2"): "id-a"}
    assert made.endpoint(f"endpoint/{NETWORK.id}/e1") == record("a", 2)
    assert made.counts() == {"id-a": 1, "id-b": 1}
    assert [endpoint.sandbox for _, endpoint in made.members(NETWORK.id, except_node="id-a")] == ["s-b"]


def test_change_tells_what_it_touches():
    made = filled()
    assert made.apply(f"endpoint/{NETWORK.id}/e3", encode_shared(record("b", 4)), 7) == {EndpointChanged(NETWORK.id, "e3")}
    assert made.apply(records.address_key(NETWORK.id, ip_address("10.40.0.2")), None, 8) == set()
    assert made.addresses[NETWORK.id] == {}
    # A node that goes takes its endpoints out of sight, and brings them back.
    assert made.apply(records.node_key("id-b"), None, 9) == {EndpointChanged(NETWORK.id, "e2"), EndpointChanged(NETWORK.id, "e3")}
    assert made.remotes(NETWORK.id, "id-a") == {}
    made.apply(records.node_key("id-b"), encode_shared(node("b")), 10)
    assert [*made.remotes(NETWORK.id, "id-a")] == ["e2", "e3"]
    assert made.apply(f"endpoint/{NETWORK.id}/e2", None, 11) == {EndpointChanged(NETWORK.id, "e2")}
    assert made.apply(records.network_key(NETWORK.id), None, 12) == {NetworkChanged(NETWORK.id)}
    assert made.apply("unknown/key", b"", 13) == set()


def test_endpoint_that_moves_to_another_node():
    made = filled()
    made.apply(f"endpoint/{NETWORK.id}/e1", encode_shared(record("b", 2)), 7)
    assert made.counts() == {"id-b": 2}
    assert made.apply(records.node_key("id-a"), None, 8) == set()


def test_keys_schema_and_revisions():
    made = ClusterState()
    assert made.schema is None
    assert made.apply(records.secret_key(1), encode_shared(Key(number=1, secret="ab" * 32)), 1) == {KeysChanged()}
    assert made.keys == {1: Key(number=1, secret="ab" * 32)}
    assert made.apply(records.secret_key(1), None, 2) == {KeysChanged()}
    assert made.keys == {}
    assert made.apply(records.SCHEMA_KEY, b"3", 3) == set()
    made.apply(records.NETWORKS_KEY, b"x", 4)
    made.apply(records.network_key(NETWORK.id), encode_shared(NETWORK), 5)
    assert (made.schema, made.revisions) == (3, {"schema": 3, "networks": 4, f"network/{NETWORK.id}": 5})
    made.apply(records.SCHEMA_KEY, None, 6)
    made.apply(records.network_key(NETWORK.id), None, 7)
    assert (made.schema, made.revisions) == (None, {"networks": 4})


def test_everything_is_replaced_for_those_who_hold_the_state():
    made = filled()
    both = {EndpointChanged(NETWORK.id, "e1"), EndpointChanged(NETWORK.id, "e2")}
    fresh = items((records.node_key("id-c"), node("c")), ("key/7", Key(number=7, secret="ab" * 32)))
    # Endpoints stay, and are seen or not as their nodes are.
    assert made.replace_common(fresh) == {NetworkChanged(NETWORK.id), *both, KeysChanged()}
    assert ([*made.nodes], made.networks, [*made.keys], made.counts()) == (["id-c"], {}, [7], {"id-a": 1, "id-b": 1})
    assert made.replace_endpoints(NETWORK.id, items((f"endpoint/{NETWORK.id}/e2", record("b", 4)))) == both
    assert made.counts() == {"id-b": 1}
    made.replace_addresses(NETWORK.id, {records.address_key(NETWORK.id, ip_address("10.40.0.9")): Item(b"id-c", 9)})
    assert made.addresses[NETWORK.id] == {ip_address("10.40.0.9"): "id-c"}
    made.forget(NETWORK.id)
    assert (made.addresses, made.counts(), made.members(NETWORK.id)) == ({}, {}, [])


def test_ranges_hold_what_they_are_for():
    address, endpoint = records.address_key("n", ip_address("10.0.0.1")), records.endpoint_key("n", "e")
    assert address in records.addresses_of("n")
    assert endpoint in records.endpoints_of("n")
    assert records.endpoint_key("nn", "e") not in records.endpoints_of("n")
    for key in (records.SCHEMA_KEY, records.NETWORKS_KEY, "node/a", "network/a", "name/a", "key/1"):
        assert key in records.COMMON
    assert address not in records.COMMON
    assert endpoint not in records.COMMON


def test_records_are_described_for_people():
    made = filled()
    assert made.describe("node/id-a") == Description("node", "a", node_id="id-a")
    assert made.describe(f"network/{NETWORK.id}") == Description("network", "far")
    assert made.describe(f"endpoint/{NETWORK.id}/e1") == Description("endpoint", "s-a", "far", "id-a")
    for key in ("node/id-x", "network/x", f"endpoint/{NETWORK.id}/x", "address/x/10.0.0.1", "networks"):
        assert made.describe(key) is None


def test_keys_of_records():
    address = ip_address("fd40::2")
    assert records.parse_address_key(records.address_key("n", address)) == ("n", address)
    assert records.name_key("far") == "name/far"


def test_what_the_kernel_is_told_of_other_hosts():
    facts = Facts(uplinks=(), vtep=ip_address("10.99.0.1"))
    remotes = filled().remotes(NETWORK.id, "id-a").values()
    objects = drivers.of(NETWORK).network_objects(NETWORK, facts, remotes)
    (tunnel,) = [link for link in objects if isinstance(link, VxlanLink)]
    assert (tunnel.name, tunnel.vni, tunnel.port, str(tunnel.local), tunnel.bridge) == (
        "vx-4096",
        4096,
        4789,
        "10.99.0.1",
        NETWORK.bridge.bridge_name,
    )
    assert [(forwarding.mac, str(forwarding.vtep)) for forwarding in objects if isinstance(forwarding, Forwarding)] == [
        ("02:42:00:00:00:03", "10.99.0.2")
    ]
    assert [str(neighbor.address) for neighbor in objects if isinstance(neighbor, Neighbor)] == ["10.40.0.3"]
    assert Element(set=TUNNELS, fields=(4789,)) in objects
    # What is added later is the same as what is there from the start.
    assert set(drivers.of(NETWORK).remote_objects(NETWORK, remotes)) <= set(objects)
    # Two overlays close the same port to sandboxes: it stays closed until the last one goes.
    other = plan_network(NetworkRequest(name="m", driver="overlay"), (NETWORK,), AROUND, "m" * 12)
    assert not [
        element
        for element in drivers.of(NETWORK).exclusive_objects(NETWORK, [NETWORK, other], facts)
        if isinstance(element, Element) and element.set == TUNNELS
    ]


def test_record_of_an_endpoint_is_what_others_need():
    mine = Endpoint(
        origin="api", network_id=NETWORK.id, sandbox_id="s", ifname="eth0", host_ifname="v", mac="02:42:00:00:00:09",
        ipv4=ip_interface("10.40.0.9/24"), ipv6=None, aliases=("alias",), services=("shop",),
    )  # fmt: skip
    made = ClusterState()
    made.apply(records.node_key("id-a"), encode_shared(node("a")), 1)
    written = records.endpoint_record("id-a", SANDBOX, mine, NETWORK)
    key = records.endpoint_key(mine.network_id, mine.id)
    made.apply(key, encode_shared(written), 2)
    # What is read is what was written, so that a host sees when its own record is an older one.
    assert made.endpoint(key) == written
    remote = made.remote(NETWORK.id, mine.id, "id-b")
    assert (remote.names, remote.ports) == (("web", "alias", "s", "host", "shop", "tasks.shop"), ((80, "tcp"), (53, "udp")))
    assert (remote.addresses, remote.mac) == ((ip_address("10.40.0.9"),), mine.mac)
    assert made.remote(NETWORK.id, mine.id, "id-a") is None


@pytest.mark.parametrize("damage", [b"", b"{", b"null", b"7", b"\xff", b'{"schema": 3}', b'{"schema": "x"}', b'{"schema": {}}'])
def test_a_record_that_can_not_be_read_leaves_the_others_and_what_was_known(damage):
    whole = items((records.network_key(NETWORK.id), NETWORK), (records.node_key("id-a"), node("a")))
    state = ClusterState()
    broken = (records.node_key("x"), "key/x", records.endpoint_key(NETWORK.id, "e"), records.network_key("y"))
    everything = {**whole, **{key: Item(damage, 9) for key in broken}}
    state.replace_common({key: item for key, item in everything.items() if key in records.COMMON})
    state.replace_endpoints(NETWORK.id, {key: item for key, item in everything.items() if key in records.endpoints_of(NETWORK.id)})
    assert (list(state.nodes), list(state.networks)) == (["id-a"], [NETWORK.id])
    assert set(state.unreadable) == set(broken)
    assert state.take(records.node_key("id-a"), damage, 10) == set()
    assert state.nodes["id-a"].name == "a"
    state.take(records.node_key("x"), None, 11)
    assert records.node_key("x") not in state.unreadable
    # What is loaded anew takes the place of what could not be read of the same kind, and of no other.
    state.replace_common(whole)
    assert set(state.unreadable) == {records.endpoint_key(NETWORK.id, "e")}
    state.forget(NETWORK.id)
    assert state.unreadable == {}


def test_an_address_that_is_none_is_left_out():
    state = ClusterState()
    key = "address/n/not-an-address"
    state.replace_addresses("n", {key: Item(b"id-c", 1), records.address_key("n", ip_address("10.0.0.1")): Item(b"id-c", 2)})
    assert "not-an-address" in state.unreadable[key]
    assert state.addresses == {"n": {ip_address("10.0.0.1"): "id-c"}}
    for key in ("address/not-an-address", "address/n/x", "key/x", "schema"):
        assert state.take(key, b"x", 3) == set()
        assert key in state.unreadable


def as_json(value, **wrong):
    return json.dumps(json.loads(encode_shared(value)) | wrong).encode()


OF_NO_USE = (
    {"addresses": ("10.40.0.x",)}, {"mac": "x"}, {"names": ("x" * 64,)}, {"names": ("",)}, {"ports": ((70_000, "tcp"),)},
    {"addresses": ("10.41.0.3",)}, {"addresses": ("127.0.0.1",)}, {"addresses": ("::",)}, {"addresses": ("255.255.255.255",)},
    {"addresses": ("10.40.0.1",)}, {"addresses": ("10.40.0.0",)}, {"addresses": ("10.40.0.255",)},
    {"ports": ((80, "t p"),)}, {"services": (("a b", "tcp", 80),)}, {"services": (("http", "tcp", -1),)},
)  # fmt: skip


@pytest.mark.parametrize("wrong", OF_NO_USE, ids=str)
def test_record_of_no_use_is_noted_as_one_that_can_not_be_read(wrong):
    made = filled()
    key = f"endpoint/{NETWORK.id}/e2"
    made.take(key, as_json(record("b", 3), **wrong), 9)
    assert list(made.unreadable) == [key]
    assert list(made.remotes(NETWORK.id, "id-a")) == ["e2"]


UNUSABLE = (
    ("node/id-x", encode_shared(node("c"))),
    ("network/x", encode_shared(NETWORK)),
    (f"network/{'b' * 12}", encode_shared(plan_network(NetworkRequest(name="front"), (), AROUND, "b" * 12))),
    ("key/2", as_json(Key(number=1, secret="ab" * 32))),
    ("key/2", as_json(Key(number=2, secret="ab" * 32), secret="zz" * 32)),
    ("key/2", as_json(Key(number=2, secret="ab" * 32), secret="ab")),
    (f"key/{1 << 64}", as_json(Key(number=2, secret="ab" * 32), number=1 << 64)),
    (f"address/{NETWORK.id}/10.40.0.7", b""),
    (f"address/{NETWORK.id}/10.40.0.7", b"\xff\xfe"),
    (f"address/{NETWORK.id}/10.40.0.7", b'{"node": "id-b"}'),
)


@pytest.mark.parametrize(("key", "value"), UNUSABLE, ids=str)
def test_record_that_nobody_can_use_is_noted_and_changes_nothing(key, value):
    made = filled()
    before = dict(made.nodes), dict(made.networks), dict(made.keys), {each: dict(held) for each, held in made.addresses.items()}
    assert made.take(key, value, 9) == set()
    assert list(made.unreadable) == [key]
    assert (made.nodes, made.networks, made.keys, made.addresses) == before


STRANGE_NETWORKS = (
    {"id": "0" * 64}, {"name": "../../x"}, {"name": ""}, {"name": "a" * 300},
    {"driver_options": {"kind": "macvlan", "parent": "eth0"}}, {"driver_options": {"kind": "bridge", "link_name": "br-x"}},
)  # fmt: skip


@pytest.mark.parametrize("wrong", STRANGE_NETWORKS, ids=lambda wrong: " ".join(wrong))
def test_network_that_is_no_overlay_or_another_is_left_out(wrong):
    made = filled()
    key = records.network_key(NETWORK.id)
    made.take(key, as_json(NETWORK, **wrong), 9)
    assert (list(made.unreadable), made.networks) == ([key], {NETWORK.id: NETWORK})


@pytest.mark.parametrize(
    "wrong", [{"id": "id-b"}, {"vtep": "127.0.0.1"}, {"vtep": "0.0.0.0"}, {"vtep": "224.0.0.1"}, {"vtep": "255.255.255.255"}], ids=str
)
def test_host_that_is_another_or_receives_nowhere_is_left_out(wrong):
    made = filled()
    key = records.node_key("id-a")
    made.take(key, as_json(node("a"), **wrong), 9)
    assert (list(made.unreadable), made.nodes["id-a"]) == ([key], node("a"))
