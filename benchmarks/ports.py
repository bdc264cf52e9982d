"""Published ports: what publishing costs, and whether packets through one mind how many others there are.

Throughput is that of a client outside the host through one published port: TCP in bulk, and single UDP packets of 64
octets, with that port and network alone and beside 2,000 more, measured before, with, and after them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.lifecycle import UnixConnection, call, start_daemon, timed
from benchmarks.report import chosen, machine, summary, table, write

REPEAT = 15
OTHERS = 2000
SECONDS = 2.0

_SERVER = """
import socket, threading
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("0.0.0.0", 81))
def sink():
    while True: u.recv(2048)
threading.Thread(target=sink, daemon=True).start()
l = socket.create_server(("0.0.0.0", 80)); print("up", flush=True); buffer = bytearray(1 << 20)
while True:
    c, _ = l.accept()
    while c.recv_into(buffer): pass
    c.close()
"""
_TCP = """
import socket, time
s = socket.create_connection(("10.9.0.2", 8080)); block = bytes(1 << 20); sent = 0; end = time.perf_counter() + %f
begin = time.perf_counter()
while time.perf_counter() < end: sent += s.send(block)
print(sent * 8 / (time.perf_counter() - begin) / 1e9)
"""
_UDP = """
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(("10.9.0.2", 8081)); block = bytes(64); sent = 0
begin = time.perf_counter(); end = begin + %f
while time.perf_counter() < end:
    for _ in range(100): s.send(block)
    sent += 100
print((time.perf_counter() - begin) / sent * 1e6)
"""


def publishing(connection: UnixConnection, results: dict[str, list[float]]) -> None:
    """Connects of a sandbox without ports, with one, and with a range of a thousand."""
    kinds: dict[str, list[str]] = {
        "none": [],
        "one port": ["8088:80"],
        "1,000 ports in one range": ["20000-20999:20000-20999"],
        "the same, IPv4 only": ["0.0.0.0:20000-20999:20000-20999"],
    }
    results.update({f"connect, {label}": [] for label in kinds})
    for number in range(REPEAT):
        for label, publish in kinds.items():
            name = f"p{number}-{[*kinds].index(label)}"
            call(connection, "POST", "/v1/networks", {"name": name, "subnets": ["10.210.0.0/24"]})
            call(connection, "POST", "/v1/sandboxes", {"name": name, "publish": publish})
            path = f"/v1/networks/{name}/connect"
            results[f"connect, {label}"].append(timed(lambda name=name, path=path: call(connection, "POST", path, {"sandbox": name})))
            call(connection, "DELETE", f"/v1/sandboxes/{name}")
            call(connection, "DELETE", f"/v1/networks/{name}")


def throughput(results: dict[str, list[float]], label: str) -> None:
    for _ in range(5):
        for kind, script in (("TCP Gbit/s", _TCP), ("UDP us/packet", _UDP)):
            command = ["ip", "netns", "exec", "outside", "taskset", "-c", "1", sys.executable, "-c", script % SECONDS]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            results.setdefault(f"{kind}, {label}", []).append(float(done.stdout))


def inside() -> None:
    results: dict[str, list[float]] = {}
    daemon, connection = start_daemon()
    publishing(connection, results)
    call(connection, "POST", "/v1/networks", {"name": "front", "subnets": ["10.211.0.0/24"]})
    sandbox = call(
        connection, "POST", "/v1/sandboxes", {"name": "s", "networks": [{"network": "front"}], "publish": ["8080:80", "8081:81/udp"]}
    )
    command = ["ip", "netns", "exec", Path(sandbox["netns"]).name, "taskset", "-c", "0", sys.executable, "-c", _SERVER]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    server.stdout.readline()
    throughput(results, "alone")
    for number in range(OTHERS):
        name = f"n{number}"
        call(connection, "POST", "/v1/networks", {"name": name, "subnets": [f"10.{220 + number // 200}.{number % 200}.0/24"]})
        body = {"name": name, "networks": [{"network": name}], "publish": [f"{30000 + number}:80"]}
        call(connection, "POST", "/v1/sandboxes", body)
    throughput(results, f"beside {OTHERS} ports and networks")
    for number in range(OTHERS):
        call(connection, "DELETE", f"/v1/sandboxes/n{number}")
        call(connection, "DELETE", f"/v1/networks/n{number}")
    throughput(results, "alone again")
    server.kill()
    daemon.terminate()
    daemon.wait()
    json.dump(results, sys.stdout)


def main() -> None:
    from tests.support.lab import Lab

    chosen((), sys.argv[1:])
    with Lab() as lab:
        done = lab.run(sys.executable, "-m", "benchmarks.ports", "--inside", timeout=1800)
        results = json.loads(done.stdout.splitlines()[-1])
    path = write("ports", {"results": results, "machine": machine()})
    rows = [[name, *(f"{summary(values)[key]:.2f}" for key in ("median", "p10", "p90"))] for name, values in results.items()]
    print(table(["what", "median", "p10", "p90"], rows))
    print(f"\nraw samples: {path}")


if __name__ == "__main__":
    inside() if "--inside" in sys.argv else main()
