"""What hosts know of each other: every change is taken in by itself, and costs what it touches."""

from ipaddress import ip_address, ip_interface

from netcore import drivers
from netcore.cluster import state as records
from netcore.cluster.state import ClusterState, EndpointRecord, Node
from netcore.desired.firewall import TUNNELS
from netcore.desired.objects import Element, Forwarding, Neighbor, VxlanLink
from netcore.model import Endpoint, Sandbox
from netcore.parse.ports import parse_port
from netcore.plan.network import plan_network
from netcore.store.codec import encode
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
    return {key: Item(encode(value), number) for number, (key, value) in enumerate(pairs, 1)}


def filled():
    made = ClusterState()
    made.fill(
        items(
            (records.node_key("id-a"), node("a")),
            (records.node_key("id-b"), node("b")),
            (records.network_key(NETWORK.id), NETWORK),
            (f"endpoint/{NETWORK.id}/e1", record("a", 2)),
            (f"endpoint/{NETWORK.id}/e2", record("b", 3)),
        )
    )
    made.apply(records.address_key(NETWORK.id, ip_address("10.40.0.2")), b"id-a", 6)
    return made


def test_each_node_sees_the_endpoints_of_the_others():
    made = filled()
    assert {identity: str(item.vtep) for identity, item in made.remotes(NETWORK.id, "id-a").items()} == {"e2": "10.99.0.2"}
    assert [*made.remotes(NETWORK.id, "id-c")] == ["e1", "e2"]
    assert made.networks[NETWORK.id] == NETWORK
    assert made.addresses[NETWORK.id] == {ip_address("10.40.0.2"): "id-a"}
    assert made.keys_of("id-a") == {f"endpoint/{NETWORK.id}/e1", f"address/{NETWORK.id}/10.40.0.2"}
    assert made.counts() == {"id-a": 1, "id-b": 1}
    assert [item.sandbox for _, item in made.members(NETWORK.id, but="id-a")] == ["s-b"]


def test_change_tells_what_it_touches():
    made = filled()
    assert made.apply(f"endpoint/{NETWORK.id}/e3", encode(record("b", 4)), 7) == {(NETWORK.id, "e3")}
    assert made.apply(records.address_key(NETWORK.id, ip_address("10.40.0.2")), None, 8) == set()
    assert made.addresses[NETWORK.id] == {}
    # A node that goes takes its endpoints out of sight, and brings them back.
    assert made.apply(records.node_key("id-b"), None, 9) == {(NETWORK.id, "e2"), (NETWORK.id, "e3")}
    assert made.remotes(NETWORK.id, "id-a") == {}
    made.apply(records.node_key("id-b"), encode(node("b")), 10)
    assert [*made.remotes(NETWORK.id, "id-a")] == ["e2", "e3"]
    assert made.apply(f"endpoint/{NETWORK.id}/e2", None, 11) == {(NETWORK.id, "e2")}
    assert made.apply(records.network_key(NETWORK.id), None, 12) == {(NETWORK.id, "")}
    assert made.apply("unknown/key", b"", 13) == set()


def test_what_the_kernel_is_told_of_other_hosts():
    facts = drivers.Facts(uplinks=(), vtep=ip_address("10.99.0.1"))
    remotes = filled().remotes(NETWORK.id, "id-a").values()
    objects = drivers.network_objects(NETWORK, facts, remotes)
    (tunnel,) = [item for item in objects if isinstance(item, VxlanLink)]
    assert (tunnel.name, tunnel.vni, tunnel.port, str(tunnel.local), tunnel.bridge) == (
        "vx-4096",
        4096,
        4789,
        "10.99.0.1",
        NETWORK.bridge.bridge_name,
    )
    assert [(item.mac, str(item.vtep)) for item in objects if isinstance(item, Forwarding)] == [("02:42:00:00:00:03", "10.99.0.2")]
    assert [str(item.address) for item in objects if isinstance(item, Neighbor)] == ["10.40.0.3"]
    assert Element(set=TUNNELS, fields=(4789,)) in objects
    # What is added later is the same as what is there from the start.
    assert set(drivers.remote_objects(NETWORK, remotes)) <= set(objects)
    # Two overlays close the same port to sandboxes: it stays closed until the last one goes.
    other = plan_network(NetworkRequest(name="m", driver="overlay"), (NETWORK,), AROUND, "m" * 12)
    assert not [item for item in drivers.only_of(NETWORK, [NETWORK, other], facts) if isinstance(item, Element) and item.set == TUNNELS]


def test_record_of_an_endpoint_is_what_others_need():
    mine = Endpoint(
        origin="api", network_id=NETWORK.id, sandbox_id="s", ifname="eth0", host_ifname="v", mac="02:42:00:00:00:09",
        ipv4=ip_interface("10.40.0.9/24"), ipv6=None, aliases=("alias",), services=("shop",),
    )  # fmt: skip
    made = ClusterState()
    made.apply(records.node_key("id-a"), encode(node("a")), 1)
    made.apply(records.endpoint_key(mine), records.endpoint_record("id-a", SANDBOX, mine, NETWORK), 2)
    found = made.remote(NETWORK.id, mine.id, "id-b")
    assert (found.names, found.ports) == (("web", "alias", "s", "host", "shop", "tasks.shop"), ((80, "tcp"), (53, "udp")))
    assert (found.addresses, found.mac) == ((ip_address("10.40.0.9"),), mine.mac)
    assert made.remote(NETWORK.id, mine.id, "id-a") is None
