"""The life cycle beside its targets, in one run: floor, Docker, one and a thousand of each, and a start with a thousand sandboxes.

The floor is that of `benchmarks.lifecycle`. Name parts to run only these: `python -m benchmarks.targets networks start`.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.commands import BERTH
from benchmarks.lifecycle import UnixConnection, call, dns_under_churn, docker, floor, start_daemon, timed
from benchmarks.report import chosen, compile_modules, machine, summary, table, write

MANY, REPEAT = 1000, 40
SETTLED = 20
"""Seconds until what the kernel and the daemon do behind the making of a thousand sandboxes is done."""
SOCKET = "/run/berth/berth.sock"
Results = dict[str, list[float]]
ASK = """
import socket, sys, time
question = b"\\0\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0" + bytes([len(sys.argv[1])]) + sys.argv[1].encode() + b"\\0\\0\\1\\0\\1"
start = time.monotonic()
while True:
    asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asked.settimeout(0.2)
    try:
        asked.sendto(question, ("127.0.0.11", 53))
        if asked.recv(512)[3] & 15 == 0:
            break
    except OSError:
        time.sleep(0.005)
print(time.monotonic() - start)
"""
"""Asks for a name until there is an answer; prints the seconds."""


def in_turns(actions: dict[str, Callable[[int], object]], results: Results, label: str) -> None:
    """Time each of *actions* `REPEAT` times, one after the other, so that what else the machine does falls on all of them."""
    for number in range(REPEAT):
        for name, action in actions.items():
            results.setdefault(f"{name}, {label}", []).append(timed(lambda action=action, number=number: action(number)))


def networks(connection: UnixConnection, results: Results) -> None:
    """Networks that are created and removed, beside one other and beside a thousand."""
    of_networks = {
        "create network": lambda number: call(connection, "POST", "/v1/networks", {"name": f"a{number}"}),
        "remove network": lambda number: call(connection, "DELETE", f"/v1/networks/a{number}"),
    }
    in_turns(of_networks, results, "1 network")
    for number in range(MANY - 1):
        body = {"name": f"n{number}", "subnets": [f"10.{number // 250}.{number % 250}.0/24"]}
        call(connection, "POST", "/v1/networks", body)
    in_turns(of_networks, results, f"{MANY} networks")
    for number in range(MANY - 1):
        call(connection, "DELETE", f"/v1/networks/n{number}")
    call(connection, "DELETE", "/v1/networks/first?wait=gone")
    call(connection, "POST", "/v1/networks", {"name": "first", "subnets": ["172.18.0.0/16"]})


def of_sandboxes(connection: UnixConnection, results: Results, label: str) -> None:
    body = {"networks": [{"network": "first"}]}
    in_turns(
        {
            "create + connect": lambda number: call(connection, "POST", "/v1/sandboxes", {"name": f"c{number}", **body}),
            "rm, connected": lambda number: call(connection, "DELETE", f"/v1/sandboxes/c{number}"),
            "create sandbox": lambda number: call(connection, "POST", "/v1/sandboxes", {"name": f"d{number}"}),
            "connect": lambda number: call(connection, "POST", "/v1/networks/first/connect", {"sandbox": f"d{number}"}),
            "disconnect": lambda number: call(connection, "POST", "/v1/networks/first/disconnect", {"sandbox": f"d{number}"}),
            "rm": lambda number: call(connection, "DELETE", f"/v1/sandboxes/d{number}"),
        },
        results,
        label,
    )


def sandboxes(connection: UnixConnection, results: Results) -> None:
    """Sandboxes beside one other, and beside a thousand on another network, twice; then a hundred at once."""
    of_sandboxes(connection, results, "1 sandbox")
    crowd(connection, range(MANY))
    of_sandboxes(connection, results, f"{MANY} sandboxes just made")
    time.sleep(SETTLED)
    of_sandboxes(connection, results, f"{MANY} sandboxes")
    by_hands(8, range(MANY), lambda own, number: call(own, "DELETE", f"/v1/sandboxes/s{number}"))
    at_once = []
    for _ in range(3):
        at_once.append(timed(lambda: crowd(connection, range(100), hands=100)))
        by_hands(8, range(100), lambda own, number: call(own, "DELETE", f"/v1/sandboxes/s{number}"))
    results["100 sandboxes at once"] = at_once


def crowd(connection: UnixConnection, numbers: Iterable[int], hands: int = 8) -> None:
    """Make a sandbox on the network `big` for each of *numbers*."""
    call(connection, "POST", "/v1/networks", {"name": "big", "subnets": ["10.200.0.0/16"]}, ok=(201, 409))
    by_hands(
        hands, numbers, lambda own, number: call(own, "POST", "/v1/sandboxes", {"name": f"s{number}", "networks": [{"network": "big"}]})
    )


def by_hands(hands: int, numbers: Iterable[int], work: Callable[[UnixConnection, int], object]) -> None:
    with ThreadPoolExecutor(hands) as workers:
        list(workers.map(lambda number: work(UnixConnection(SOCKET), number), numbers))


def names(connection: UnixConnection, results: Results) -> None:
    """A local name, asked while 15 endpoints a second come and go."""
    call(connection, "POST", "/v1/networks", {"name": "net1"})
    latencies = sorted(dns_under_churn(connection))
    results["names while endpoints come and go, p99"] = [latencies[int(len(latencies) * 0.99)]]
    results["names while endpoints come and go, p99.9"] = [latencies[int(len(latencies) * 0.999)]]


def run(connection: UnixConnection, results: Results) -> None:
    """`berth run -- true` and the interpreter alone, in turns."""
    quiet = subprocess.DEVNULL
    in_turns(
        {
            "python3 -c pass": lambda _: subprocess.run([sys.executable, "-c", "pass"], check=True, stdout=quiet),
            "berth run -- true": lambda _: subprocess.run([BERTH, "run", "--", "true"], check=True, stdout=quiet),
        },
        results,
        "alone",
    )


def start(connection: UnixConnection, results: Results, daemon: subprocess.Popen) -> subprocess.Popen:
    """End the daemon of a thousand sandboxes and start another one; return that."""
    crowd(connection, range(MANY))
    for number in (signal.SIGTERM, signal.SIGKILL):
        daemon.send_signal(number)
        daemon.wait()
        begin = time.monotonic()
        asker = subprocess.Popen(
            ["ip", "netns", "exec", "berth-s0", sys.executable, "-c", ASK, f"s{MANY - 1}"], stdout=subprocess.PIPE, text=True
        )
        daemon, _ = start_daemon()
        results.setdefault(f"start with {MANY} sandboxes: ready", []).append((time.monotonic() - begin) * 1000)
        seconds = float(asker.communicate()[0])
        results.setdefault(f"start with {MANY} sandboxes: names answer", []).append(seconds * 1000)
    return daemon


PARTS = ("floor", "docker", "run", "networks", "sandboxes", "names", "start")


def inside(parts: list[str]) -> None:
    """Be the process inside the lab."""
    results: Results = {}
    facts: dict[str, object] = {"load": os.getloadavg()[0]}
    if "floor" in parts:
        floor(results, facts)
    if "docker" in parts:
        docker(results, facts)
    daemon, connection = start_daemon()
    call(connection, "POST", "/v1/networks", {"name": "first", "subnets": ["172.18.0.0/16"]})
    call(connection, "POST", "/v1/sandboxes", {"name": "stays", "networks": [{"network": "first"}]})
    for name, part in {"run": run, "sandboxes": sandboxes, "names": names}.items():
        if name in parts:
            part(connection, results)
    if "networks" in parts:
        call(connection, "DELETE", "/v1/sandboxes/stays")
        networks(connection, results)
    if "start" in parts:
        daemon = start(connection, results, daemon)
    facts["MB"] = int(Path(f"/proc/{daemon.pid}/statm").read_text().split()[1]) * 4 // 1024
    daemon.kill()
    json.dump({"results": results, "facts": facts}, sys.stdout)


def main() -> None:
    from tests.support.lab import Lab

    parts = chosen(PARTS, sys.argv[1:])
    compile_modules()
    with Lab() as lab:
        lab.run("mount", "-t", "sysfs", "sysfs", "/sys", check=False)
        content = json.loads(lab.out(sys.executable, "-m", "benchmarks.targets", "--inside", *parts, timeout=590).splitlines()[-1])
    content["machine"] = machine()
    rows = [
        [name, *(f"{summary(values)[key]:.2f}" for key in ("median", "p10", "p90")), f"{min(values):.2f}"]
        for name, values in content["results"].items()
    ]
    print(table(["ms", "median", "p10", "p90", "quickest"], rows))
    medians = {name: statistics.median(values) for name, values in content["results"].items()}
    for name, over in (("berth run -- true, alone", "python3 -c pass, alone"), ("connect, 1 sandbox", "floor: connect")):
        if name in medians and over in medians:
            print(f"{name} / {over}: {medians[name] / medians[over]:.2f}")
    print(json.dumps(content["facts"]))
    print(write("targets", content))


if __name__ == "__main__":
    inside(sys.argv[2:]) if sys.argv[1:2] == ["--inside"] else main()
