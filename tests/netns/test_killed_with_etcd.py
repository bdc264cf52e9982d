"""A daemon in a cluster that is killed in any step of an overlay's operation leaves nothing, in etcd and on other hosts either."""

import json
import random
import re

import pytest

from tests.netns.test_killed_in_any_step import Operation, World, guest, network, on, sweep
from tests.support.etcd import why_no_etcd
from tests.support.hosts import Hosts

pytestmark = pytest.mark.skipif(bool(why_no_etcd()), reason=why_no_etcd())

FAR, NEAR = on("far", 20, 1), {"driver": "overlay", "subnets": ["10.75.0.0/24"]}
OPERATIONS = {
    "overlay": Operation(network("n", **NEAR), ("DELETE", "/v1/networks/n", None), "/v1/networks/n"),
    "overlay sandbox": Operation(("POST", "/v1/sandboxes", {"name": "g", "networks": [FAR]}), ("DELETE", "/v1/sandboxes/g", None), "/v1/sandboxes/g"),
    "overlay attached": Operation(guest(FAR, publish=["8080:80"]), ("DELETE", "/v1/sandboxes/g", None), "/v1/sandboxes/g"),
    "overlay connected": Operation(
        ("POST", "/v1/networks/far/connect", {"sandbox": "k", **{key: value for key, value in FAR.items() if key != "network"}}),
        ("POST", "/v1/networks/far/disconnect", {"sandbox": "k"}), "far",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def lab():
    """There are several."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The first host's daemon dies; on the second the sandbox w is on the network far, and stays."""
    hosts = Hosts(2, tmp_path_factory.mktemp("etcd"))
    try:
        hosts.start_daemon(1)
        other = hosts.labs[1]
        other.berth("network", "create", "-d", "overlay", "--subnet", "10.71.0.0/24", "far")
        other.berth("run", "-d", "--name", "w", "--network", "far", "--ip", "10.71.0.9", "--", "sleep", "100000")
        made = World(hosts.labs[0], *hosts.arguments(0), look_elsewhere=lambda: elsewhere(hosts))
        made.start()
        made.call(*network("a", subnets=["10.77.0.0/24"], options={"name": "bra"}))
        made.call("POST", "/v1/sandboxes", {"name": "k", "netns": "/run/netns/kept", "networks": [on("a", 10, 7)]})
        made.lab.wait_for(lambda: made.lab.api("GET", "/v1/networks/far")[0] == 200)
        yield made
    finally:
        hosts.close()


def elsewhere(hosts):
    """What etcd holds, and what the other host has in its kernel and answers; names on this host, too."""
    records = {key: record.value for key, record in hosts.stored("berth/").items()}
    # Each change of the set of networks writes this one, and a network has the time when it was made.
    records["berth/networks"] = ""
    records = {key: re.sub(r'"created":[\d.]+', "", value) for key, value in records.items()}
    one, other = hosts.labs
    kernel = other.shell("bridge fdb show | grep dst | sort; ip neigh show nud permanent | sort; ip -o link show type vxlan | cut -d: -f2")
    names = other.in_sandbox("w", "sh", "-c", "for name in g k w; do dig +short +tries=1 $name.far; echo $name; done | grep -v '^;;'")
    names += one.shell("for name in g k w; do ip netns exec kept dig +short +tries=1 $name; echo $name; done | grep -v '^;;'", check=False)
    return "\n".join((json.dumps(records, indent=1, sort_keys=True), kernel, names))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", OPERATIONS)
def test_some_steps(world, name):
    generator = random.Random(name)
    wrong, kills = sweep(world, name, OPERATIONS[name], sorted({generator.randrange(2 if name == "overlay" else 16) for _ in range(2)}))
    assert not wrong
    assert kills >= 1


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_hundred_kills_together(world, name):
    numbers = range(2) if name == "overlay" else sorted(random.Random(name).sample(range(32), 16))
    wrong, kills = sweep(world, name, OPERATIONS[name], numbers)
    assert not wrong, json.dumps(wrong, indent=1)
    assert kills >= len(numbers)


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", OPERATIONS)
def test_all_steps(world, name):
    wrong, kills = sweep(world, name, OPERATIONS[name], None)
    assert not wrong, json.dumps(wrong, indent=1)
    assert kills >= (2 if name == "overlay" else 10)
