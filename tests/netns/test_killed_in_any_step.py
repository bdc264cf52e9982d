"""A daemon that is killed in any step of any operation leaves nothing: store, kernel and files are as before, or as after it."""

import contextlib
import difflib
import json
import random
import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.lab import Lab

DYING = str(Path(__file__).parents[1] / "support" / "dying_daemon.py")
STORE = """
import json, sqlite3
with sqlite3.connect("/var/lib/berth/berth.db") as database:
    for key, value in database.execute("SELECT key, value FROM item WHERE value IS NOT NULL ORDER BY key"):
        record = json.loads(value)
        if key.startswith("rest/"):
            continue
        print(key, record.get("pending"), record.get("before"), record.get("gone"), len(record.get("endpoints", [])))
"""
FILES = "cd /run/berth/sandboxes && for d in *; do echo $(ls $d) $(cat $d/hosts); done | sort"
GUEST = """
for n in guest kept; do
ip -n $n -o link show | sed 's/^[0-9]*: //; s/@if[0-9]*//; s/state [A-Z]*//; s/NO-CARRIER,//; s/,LOWER_UP//' | sort; ip -n $n -o addr | grep -v 'scope link' | awk '{print $2,$4}' | sort
ip -n $n route | sed 's/ linkdown//' | sort; ip -n $n -6 route | grep -v -e fe80 -e ff00 | sort; ip netns exec $n nft -s list ruleset
done; ls /run/netns; conntrack -L 2>/dev/null | grep 10.77 | grep -vc dport=53 || true
"""


@dataclass
class Operation:
    """*make*, *undo*: (method, path, body) of the admin API. *exists*: what is there after *make*."""

    make: tuple[str, str, Any]
    undo: tuple[str, str, Any]
    exists: str
    first: list[tuple[str, str, Any]] = field(default_factory=list)


def network(name, **more):
    return ("POST", "/v1/networks", {"name": name, **more})


def guest(*networks, **more):
    return ("POST", "/v1/sandboxes", {"name": "g", "netns": "/run/netns/guest", "networks": list(networks), **more})


def address(host, number):
    return {"ip": f"10.7{number}.0.{host}", "mac_address": f"02:00:00:00:0{number}:{host:02x}"}


def on(name, host, number):
    return {"network": name, **address(host, number)}


BRIDGE = {"subnets": ["10.77.0.0/24"], "options": {"name": "bra"}}
LAN = {"driver": "macvlan", "subnets": ["10.78.0.0/24"], "options": {"parent": "lan0"}}
OPERATIONS = {
    "network": Operation(network("n", subnets=["10.79.0.0/24"], ipv6=True), ("DELETE", "/v1/networks/n", None), "/v1/networks/n"),
    "macvlan network": Operation(network("n", **{**LAN, "subnets": ["10.72.0.0/24"]}), ("DELETE", "/v1/networks/n", None), "/v1/networks/n"),
    "plugin network": Operation(network("n", driver="weave", subnets=["10.74.0.0/24"]), ("DELETE", "/v1/networks/n", None), "/v1/networks/n"),
    "sandbox": Operation(
        ("POST", "/v1/sandboxes", {"name": "g", "networks": [on("a", 20, 7)], "publish": ["8080:80"]}),
        ("DELETE", "/v1/sandboxes/g", None), "/v1/sandboxes/g",
    ),
    "persisting sandbox": Operation(
        ("POST", "/v1/sandboxes", {"name": "g", "networks": [on("a", 20, 7)], "publish": ["8080:80"], "persist": True}),
        ("DELETE", "/v1/sandboxes/g", None), "/v1/sandboxes/g",
    ),
    "tap": Operation(
        ("POST", "/v1/sandboxes", {"name": "g", "networks": [{**on("a", 20, 7), "ifname": "vm1", "tap": {}}], "publish": ["8080:80"]}),
        ("DELETE", "/v1/sandboxes/g", None), "/v1/sandboxes/g",
    ),
    "renamed": Operation(
        ("PATCH", "/v1/sandboxes/k", {"name": "m"}), ("PATCH", "/v1/sandboxes/m", {"name": "k"}), "/v1/sandboxes/m",
    ),
    "attached": Operation(guest(on("a", 20, 7), publish=["8080:80"], gateway=True), ("DELETE", "/v1/sandboxes/g", None), "/v1/sandboxes/g"),
    "attached macvlan": Operation(guest(on("lan", 20, 8)), ("DELETE", "/v1/sandboxes/g", None), "/v1/sandboxes/g"),
    "attached plugin": Operation(guest({"network": "plugged", "ip": "10.73.0.20"}), ("DELETE", "/v1/sandboxes/g", None), "/v1/sandboxes/g"),
    "connected": Operation(
        ("POST", "/v1/networks/b/connect", {"sandbox": "k", **address(20, 6)}),
        ("POST", "/v1/networks/b/disconnect", {"sandbox": "k"}), "b",
    ),
    "connected macvlan": Operation(
        ("POST", "/v1/networks/lan/connect", {"sandbox": "k", **address(20, 8)}),
        ("POST", "/v1/networks/lan/disconnect", {"sandbox": "k"}), "lan",
    ),
}  # fmt: skip


class World:
    """A lab with a daemon that dies at a step, and namespaces `guest` and `kept` to be adopted.

    *arguments*: of the daemon. *look_elsewhere*: what else must be as before or as after, outside the lab.
    """

    def __init__(self, lab, *arguments, look_elsewhere=lambda: ""):
        self.lab = lab
        self.arguments = arguments
        self.look_elsewhere = look_elsewhere
        lab.shell("for n in guest kept; do ip netns add $n; ip -n $n link set lo up; done; ip -n guest link add own0 type veth peer name own1; "
                  "ip -n guest addr add 192.0.2.2/24 dev own0; ip -n guest link set own0 up; ip -n guest link set own1 up; "
                  "ip -n guest route add default via 192.0.2.1")  # fmt: skip

    def furnish(self):
        """Start the daemon, with networks of each driver; `kept` is the sandbox k on a."""
        lab = self.lab
        lab.shell("ip link add lan0 type veth peer name lan1; ip link set lan0 up; ip link set lan1 up")
        lab.start_plugin()
        self.start()
        self.call(*network("a", **BRIDGE))
        self.call(*network("b", subnets=["10.76.0.0/24"]))
        self.call(*network("lan", **LAN))
        self.call(*network("plugged", driver="weave", subnets=["10.73.0.0/24"]))
        self.call("POST", "/v1/sandboxes", {"name": "k", "netns": "/run/netns/kept", "networks": [on("a", 10, 7)]})

    def start(self):
        self.lab.start_daemon(*self.arguments, program=f"{sys.executable} {DYING}")

    def call(self, method, path, body):
        status, answer = self.lab.api(method, path, body)
        assert status < 300, answer

    def die_at(self, number, method, path, body):
        """Return whether the daemon died in step *number* of the operation."""
        self.lab.shell(f"rm -f /run/steps; echo {number} > /run/die-at.new; mv /run/die-at.new /run/die-at")
        data = [] if body is None else ["-d", json.dumps(body)]
        address = ("--unix-socket", "/run/berth/berth.sock", f"http://berth{path}")
        self.lab.run("curl", "-s", "-X", method, *data, *address, check=False)
        steps = self.lab.shell("cat /run/steps 2>/dev/null | wc -l")
        if int(steps) == number:
            # The next step may be behind the reply: the links that were taken down are deleted.
            with contextlib.suppress(AssertionError):
                self.lab.wait_for(lambda: self.lab.daemon.poll() is not None, timeout=1)
        self.lab.shell("rm -f /run/die-at")
        steps = self.lab.shell("cat /run/steps 2>/dev/null | wc -l")
        died = int(steps) >= number and not self.lab.is_ready()
        if died:
            self.lab.daemon.wait(30)
        return died

    def exists(self, operation):
        if operation.exists.startswith("/"):
            return self.lab.api("GET", operation.exists)[0] == 200
        return operation.exists in [endpoint["network"] for endpoint in self.lab.api("GET", "/v1/sandboxes/k")[1]["endpoints"]]

    def picture(self):
        parts = (self.lab.kernel_state(), self.lab.out(sys.executable, "-c", STORE))
        parts = (*parts, self.lab.shell(FILES, check=False), self.lab.shell(GUEST, check=False), self.look_elsewhere())
        text = "\n".join(parts)
        text = re.sub(r"[0-9a-f]{64}|veth[0-9a-f]{7}|br-[0-9a-f]{12}|\b[0-9a-f]{12}\b", "ID", text)
        # Links of plugins and MACs of bridges follow from random ids.
        text = re.sub(r"plug[0-9a-f]{8}|link/ether \S+|02:42(:[0-9a-f]{2}){4}", "ID", text)
        # One socket for both families is made anew as two.
        text = re.sub(r"tcp (\*|0\.0\.0\.0|\[::\]):8080\n", "", text)
        # The resolver's own ports differ with each start; link-local addresses and indexes with each link.
        text = re.sub(r"127\.0\.0\.11:\d+|(sport|dport)( set)? \d+|fe80:\S+|if\d+", "", text)
        text = re.sub(r"link-netns \S+|link-netnsid \d+|promiscuity \d+", "", text)
        # What is named by random ids is listed in their order: which element of a set comes first or last says nothing.
        elements = re.sub(r"elements = \{ ", "elements\n", text).splitlines()
        return "\n".join(sorted(re.sub(r"(,| \})$", "", line.strip()) for line in elements))

    def settled(self, wanted):
        """Wait for what is done behind the start; return the lines that differ in the end."""
        try:
            self.lab.wait_for(lambda: self.picture() in wanted)
        except AssertionError:
            found = self.picture().splitlines()
            ways = (difflib.unified_diff(one.splitlines(), found, "wanted", "found", lineterm="", n=1) for one in wanted)
            return min(([*way] for way in ways), key=len)
        return []


@pytest.fixture(scope="module")
def world():
    with Lab() as lab:
        made = World(lab)
        made.furnish()
        yield made


def sweep(world, name, operation, numbers):
    """Kill in the steps *numbers* (None: in all) of making and of taking back; return what was left, and how many kills there were."""
    wrong, kills = [], 0
    before = world.picture()
    world.call(*operation.make)
    after = world.picture()
    world.call(*operation.undo)
    for is_undo in (False, True):
        request = operation.undo if is_undo else operation.make
        for number in range(400) if numbers is None else numbers:
            if is_undo and not world.exists(operation):
                world.call(*operation.make)
            if not world.die_at(number, *request):
                if not is_undo and world.exists(operation):
                    world.call(*operation.undo)
                break
            kills += 1
            died_in = (world.lab.shell("tail -n 2 /run/steps 2>/dev/null; true")).splitlines()
            world.start()
            exists = world.exists(operation)
            left = world.settled([after if exists else before])
            if left:
                wrong.append((f"{'undo' if is_undo else 'make'} of {name}, step {number}, behind {died_in}", left[:12]))
                print(wrong[-1], flush=True)
            print(name, is_undo, number, died_in, time.monotonic(), flush=True)
            if exists and not is_undo:
                world.call(*operation.undo)
    if world.exists(operation):
        world.call(*operation.undo)
    return wrong, kills


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", OPERATIONS)
def test_some_steps(world, name):
    # Networks of parents and plugins are few steps, and so is a rename.
    few = name.endswith("network") or name == "renamed"
    wrong, kills = sweep(world, name, OPERATIONS[name], [random.Random(name).randrange(4 if few else 16)])
    assert not wrong
    assert kills >= 1


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", OPERATIONS)
def test_all_steps(world, name):
    wrong, kills = sweep(world, name, OPERATIONS[name], None)
    assert not wrong, json.dumps(wrong, indent=1)
    assert kills >= 10
