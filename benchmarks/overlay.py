"""Overlay networks over three hosts, each a namespace with its own daemon, and one etcd member on the wire between them.

What a connect costs beside a local one, when a name answers on another host, what a change costs there with 10 and with
1,000 endpoints, and how much TCP goes through the tunnel.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.lifecycle import UnixConnection, call, timed
from benchmarks.report import chosen, machine, summary, table, write

REPEAT = 60
SIZES = (10, 1000)

_PROBE = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(("127.0.0.11", 53)); s.settimeout(1)
print("ready", flush=True)
for line in sys.stdin:
    name = line.strip(); labels = b"".join(bytes([len(p)]) + p.encode() for p in (name, "far", "berth", "internal")) + b"\\0"
    number = 0
    while True:
        number = (number + 1) % 65536
        s.send(number.to_bytes(2, "big") + b"\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0" + labels + b"\\0\\1\\0\\1")
        if s.recv(512)[7]: break
        time.sleep(0.0005)
    print(time.monotonic(), flush=True)
"""
_SINK = """
import socket
l = socket.create_server(("0.0.0.0", 80)); print("up", flush=True); buffer = bytearray(1 << 20)
while True:
    c, _ = l.accept()
    while c.recv_into(buffer): pass
"""
_SOURCE = """
import socket, sys, time
s = socket.create_connection((sys.argv[1], 80)); block = bytes(1 << 20); sent = 0; begin = time.perf_counter()
while time.perf_counter() < begin + 2: sent += s.send(block)
print(sent * 8 / (time.perf_counter() - begin) / 1e9)
"""


def agent() -> None:
    """Carry out operations that come as JSON lines, inside one lab."""
    connection = UnixConnection("/run/berth/berth.sock")
    for line in sys.stdin:
        order = json.loads(line)
        results: object = None
        match order["do"]:
            case "make":
                for number in range(order["from"], order["to"]):
                    call(connection, "POST", "/v1/sandboxes", {"name": f"{order['name']}{number}", "networks": [{"network": "far"}]})
            case "create":
                call(connection, "POST", "/v1/sandboxes", {"name": order["name"]})
            case "connect" | "disconnect" as verb:
                path, body = f"/v1/networks/{order['network']}/{verb}", {"sandbox": order["name"]}
                took = timed(lambda path=path, body=body: call(connection, "POST", path, body))
                results = (took, time.monotonic())
            case "cpu":
                pid = call(connection, "GET", "/v1/status")["pid"]
                tasks = Path(f"/proc/{pid}/task").iterdir()
                results = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6
            case "memory":
                pid = call(connection, "GET", "/v1/status")["pid"]
                results = int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024
        print(json.dumps(results), flush=True)


class Agent:
    """An agent in a lab, from outside."""

    def __init__(self, lab) -> None:
        command = [*lab._prefix("host"), sys.executable, "-m", "benchmarks.overlay", "--agent"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=lab.environment)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.asked, self.answers = self.process.stdin, self.process.stdout

    def ask(self, do: str, **more):
        self.send(do, **more)
        return json.loads(self.answers.readline())

    def send(self, do: str, **more) -> None:
        self.asked.write(json.dumps({"do": do, **more}) + "\n")
        self.asked.flush()


def measure(hosts, results: dict, facts: dict) -> None:
    one, two = hosts.labs[:2]
    agents = [Agent(lab) for lab in hosts.labs]
    one.berth("network", "create", "-d", "overlay", "--subnet", "10.40.0.0/16", "far")
    one.berth("network", "create", "--subnet", "10.41.0.0/16", "near")
    two.wait_for(lambda: "far" in two.berth("network", "ls").stdout)
    one.berth("run", "-d", "--name", "anchor1", "--network", "far", "--", "sleep", "10000")
    two.berth("run", "-d", "--name", "anchor2", "--network", "far", "--", "sleep", "10000")
    probe = two.start_talking("anchor2", _PROBE)
    agents[0].ask("create", name="mover")
    have = 0
    for size in SIZES:
        for number, item in enumerate(agents):
            item.send("make", name=f"e{number}x", **{"from": have // 3, "to": size // 3})
        for item in agents:
            item.answers.readline()
        have = size
        time.sleep(2)
        for network, label in (("near", "local"), ("far", "overlay")):
            name = f"connect {label} network, {size} endpoints"
            results[name], results[f"dis{name}"] = [], []
            later = results.setdefault(f"name answers on another host after the connect's return, {size} endpoints", [])
            before = agents[1].ask("cpu")
            for _ in range(REPEAT):
                took, returned = agents[0].ask("connect", name="mover", network=network)
                results[name].append(took)
                if network == "far":
                    probe.stdin.write("mover\n")
                    probe.stdin.flush()
                    later.append(max(0.0, (float(probe.stdout.readline()) - returned) * 1000))
                results[f"dis{name}"].append(agents[0].ask("disconnect", name="mover", network=network)[0])
                time.sleep(0.02)
            if network == "far":
                facts[f"CPU ms on another host for a connect and disconnect with its look-ups, {size} endpoints"] = round(
                    (agents[1].ask("cpu") - before) / REPEAT, 2
                )
        facts[f"daemon MB, {size} endpoints"] = round(agents[1].ask("memory"), 1)
        facts[f"FDB entries on a host, {size} endpoints"] = int(two.shell("bridge fdb show | grep -c 'dst 10.99' || true"))
    changes = [item for item in facts if item.startswith("CPU")]
    assert changes
    throughput(hosts, results)


def throughput(hosts, results: dict) -> None:
    one, two = hosts.labs[:2]
    bare = two.start(sys.executable, "-c", _SINK)
    bare.stdout.readline()
    sink = two.start_talking("anchor2", _SINK)
    target = two.inspect("anchor2")["addresses"][0]
    for _ in range(3):
        results.setdefault("TCP Gbit/s, bare wire", []).append(float(one.out(sys.executable, "-c", _SOURCE, hosts.address(1))))
        results.setdefault("TCP Gbit/s, overlay", []).append(float(one.in_sandbox("anchor1", sys.executable, "-c", _SOURCE, target)))
    sink.kill()


def main() -> None:
    chosen((), sys.argv[1:])
    from tests.support.hosts import hosts as make_hosts

    results: dict[str, list[float]] = {}
    facts: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as directory, make_hosts(3, Path(directory)) as hosts:
        measure(hosts, results, facts)
    path = write("overlay", {"results": results, "facts": facts, "machine": machine()})
    rows = [
        [name, *(f"{summary(values)[key]:.2f}" for key in ("median", "p10", "p90")), f"{sorted(values)[int(len(values) * 0.99)]:.2f}"]
        for name, values in results.items()
    ]
    print(table(["ms, or what is said", "median", "p10", "p90", "p99"], rows))
    print()
    print(table(["fact", "value"], [[str(key), str(value)] for key, value in facts.items()]))
    print(f"\nraw samples: {path}")


if __name__ == "__main__":
    agent() if "--agent" in sys.argv else main()
