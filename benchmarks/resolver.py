"""The resolver under load, beside a C responder compiled on the spot and the peers that are installed.

Every server is asked the same names, pinned to one core, the generator (`load.c`) to the other. The figure is CPU time
of the server's threads (schedstat) for each query answered, and its ratio to the C responder in the same run: throughput
alone hides the difference between fast servers. Latencies are open loop at half of the server's own closed-loop rate.

    python -m benchmarks.resolver [PART...]     parts: local forwarded sandboxes churn dead flood
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

from benchmarks.lifecycle import UnixConnection, call
from benchmarks.peers import PEERS, ROOT, Names, Peer, ended, pinned, upstream_outside
from benchmarks.report import chosen, machine, table, write
from tests.support.lab import OUTSIDE_ADDRESS

REPEAT, SECONDS = 3, 2
A, PTR, AAAA = 1, 12, 28
MIX: Names = [("web", ["10.0.0.2"]), ("db", ["10.0.0.3"]), ("many", ["10.0.0.4", "10.0.0.5", "10.0.0.6"]), ("api", ["10.0.0.7"])]
PARTS = ("local", "forwarded", "sandboxes", "churn", "dead", "flood")
MANY = 100_000


def message(name: str, rtype: int) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label)
    octets = b"\0\0\x01\0\0\1\0\0\0\0\0\0" + labels + b"\0" + struct.pack("!HH", rtype, 1)
    return struct.pack("!H", len(octets)) + octets


def mix(names: Names) -> bytes:
    """A, AAAA (NODATA), three addresses, PTR."""
    pointer = ip_address(names[0][1][0]).reverse_pointer
    asked = [("web", A), ("web", AAAA), ("db", A), ("many", A), ("api", A), (pointer, PTR)]
    return b"".join(message(name, rtype) for name, rtype in asked)


def load(targets: str, queries: bytes, *arguments: str, seconds: float = SECONDS, first: tuple[str, ...] = ()) -> dict:
    """Run the generator on the second core and return what it measured."""
    number = threading.get_ident()
    Path(f"/run/targets{number}").write_text(targets + "\n")
    Path(f"/run/queries{number}").write_bytes(queries)
    command = ["taskset", "-c", "1", *first, "/run/load", f"/run/targets{number}", f"/run/queries{number}", str(seconds), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{arguments}: {done.returncode} {done.stderr}")
    return json.loads(done.stdout)


class Results:
    """Samples by (work, server)."""

    def __init__(self) -> None:
        self.samples: dict[str, dict[str, list[dict]]] = {}
        self.facts: dict[str, object] = {}

    def closed(self, work: str, name: str, peer: Peer, queries: bytes, *arguments: str, window: int = 200, targets: str = "") -> None:
        """Measure CPU and rate with a window of outstanding queries."""
        before = peer.cpu_seconds()
        got = load(targets or peer.target, queries, "window", str(window), *arguments)
        got["cpu_us"] = (peer.cpu_seconds() - before) * 1e6 / max(1, got["received"])
        self.samples.setdefault(work, {}).setdefault(name, []).append(got)

    def half_load(self, work: str, name: str, peer: Peer, queries: bytes, *arguments: str) -> None:
        """Measure latency at half of the rate that the last closed loop reached."""
        last = self.samples[work][name][-1]
        rate = max(100, int(last["received"] / last["seconds"] / 2))
        got = load(peer.target, queries, "rate", str(rate), *arguments)
        last |= {
            "half_p50": got["p50_us"],
            "half_p99": got["p99_us"],
            "half_max": got["max_us"],
            "half_rate": rate,
            "half_lost": got["lost"],
        }

    def median(self, work: str, name: str, key: str) -> float:
        return statistics.median(item[key] for item in self.samples[work][name])


class Berth:
    """A daemon with the names of *MIX* as sandboxes on one network, asked inside one more."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = pinned(sys.executable, "-m", "resolver", "daemon", env=environment, cwd="/")
        self.connection = UnixConnection("/run/berth/berth.sock")
        while True:
            with contextlib.suppress(OSError, RuntimeError):
                call(self.connection, "GET", "/readyz")
                break
            self.connection.close()
            time.sleep(0.05)
        time.sleep(1)
        self.idle_mb = self.peer("").resident_mb()
        self.call("POST", "/v1/networks", {"name": "net"})

    def call(self, method: str, path: str, body: object = None):
        return call(self.connection, method, path, body)

    def sandbox(self, name: str, *aliases: str) -> dict:
        return self.call("POST", "/v1/sandboxes", {"name": name, "networks": [{"network": "net", "aliases": list(aliases)}]})

    def add(self, names: Names) -> Names:
        """Make the sandboxes, and return the names with the addresses they got."""
        made = []
        for name, addresses in names:
            found = [self.sandbox(f"{name}-{number}", name)["addresses"][0] for number, _ in enumerate(addresses)]
            made.append((name, found))
        return made

    def peer(self, target: str) -> Peer:
        return Peer([self.process.pid], target, lambda: None)

    def inside(self, name: str) -> Peer:
        return self.peer(f"/run/netns/berth-{name} 127.0.0.11 53")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


@contextlib.contextmanager
def running(name: str, names: Names) -> Iterator[Peer | None]:
    peer = PEERS[name](names)
    try:
        if peer is not None:
            time.sleep(0.5)
        yield peer
    finally:
        if peer is not None:
            peer.stop()


def local(results: Results) -> None:
    """The mix, the same in new spellings, over TCP, and a hundred thousand names."""
    berth = Berth()
    results.facts["idle MB"] = round(berth.idle_mb, 1)
    names = berth.add(MIX)
    berth.sandbox("asker")
    many: Names = [(f"n{i}", [str(ip_address("10.128.0.0") + i)]) for i in range(MANY)]
    spread = b"".join(message(f"n{random.randrange(MANY)}", A) for _ in range(4 * MANY))

    def measure(name: str, peer: Peer, known: Names) -> None:
        queries = mix(known)
        for _ in range(REPEAT):
            results.closed("local, repeated", name, peer, queries)
            if name != "C responder":
                results.half_load("local, repeated", name, peer, queries)
                results.closed("local, new spellings", name, peer, queries, "mixed")
            if name not in ("C responder", "aardvark-dns"):
                try:
                    results.closed("local, TCP pipelined", name, peer, queries, "tcp")
                except RuntimeError as error:
                    results.facts[f"TCP pipelined, {name}"] = str(error).strip()[-60:]

    for name in PEERS:
        with running(name, MIX) as peer:
            if peer is None:
                results.facts[f"left out: {name}"] = "not installed, or did not start"
                continue
            measure(name, peer, [("web", [peer.web]), *MIX[1:]])
            results.facts[f"{name} MB"] = round(peer.resident_mb(), 1)
        with running("C responder", MIX) as floor, contextlib.suppress(RuntimeError):
            assert floor is not None
            results.closed("local, repeated", "C responder", floor, mix(MIX))
    measure("berth", berth.inside("asker"), names)
    for part in range(10):
        berth.sandbox(f"holder{part}", *(name for name, _ in many[part * MANY // 10 : (part + 1) * MANY // 10]))
    for name in ("Unbound", "dnsmasq", "NSD"):
        with running(name, many) as peer:
            if peer is not None:
                time.sleep(2)
                for _ in range(REPEAT):
                    results.closed(f"local, {MANY:,} names", name, peer, spread)
    for _ in range(REPEAT + 1):
        results.closed(f"local, {MANY:,} names", "berth", berth.inside("asker"), spread)
    # The first run also renders each name.
    results.facts[f"{MANY:,} names, first asked: CPU us"] = round(results.samples[f"local, {MANY:,} names"]["berth"].pop(0)["cpu_us"], 2)
    results.facts[f"berth MB with {MANY:,} names"] = round(berth.peer("").resident_mb(), 1)
    berth.stop()


def forwarded(results: Results) -> None:
    """Cached and uncached names of an upstream."""
    upstream = upstream_outside()
    time.sleep(1)
    berth = Berth()
    berth.sandbox("asker")
    cached = b"".join(message(f"c{i}.example", A) for i in range(1000))

    def measure(name: str, peer: Peer) -> None:
        load(peer.target, cached, "window", "50", seconds=1)
        for number in range(REPEAT):
            results.closed("cached", name, peer, cached)
            fresh = b"".join(message(f"u{time.time_ns()}-{i}.example", A) for i in range(100_000))
            # So many that none comes twice.
            results.closed("uncached", name, peer, fresh, window=50)
            if number == 0:
                results.half_load("uncached", name, peer, b"".join(message(f"h{time.time_ns()}-{i}.example", A) for i in range(100_000)))

    for name in PEERS:
        if name in ("C responder", "NSD"):
            with running(name, MIX) as peer:
                if peer is not None and name == "C responder":
                    for _ in range(REPEAT):
                        results.closed("cached", name, peer, cached)
            continue
        with running(name, MIX) as peer:
            if peer is not None:
                measure(name, peer)
    peer = berth.inside("asker")
    berth.sandbox("web-0", "web")
    for _ in range(REPEAT):
        results.closed("cached", "berth, a local name", peer, message("web", A))
    measure("berth", peer)
    shown = berth.call("GET", "/v1/cache")
    results.facts["cache octets / bound"] = f"{shown['size']:,} / {shown['bound']:,}"
    results.facts["berth MB with a full cache"] = round(peer.resident_mb(), 1)
    berth.stop()
    upstream.terminate()
    upstream.wait()


def sandboxes(results: Results) -> None:
    """One and a thousand sandboxes with a listener each."""
    berth = Berth()
    berth.add(MIX)
    names = [f"s{i}" for i in range(1000)]
    first = berth.sandbox(names[0])["addresses"][0]
    before = berth.peer("").resident_mb()
    queries = mix([("web", [first]), *MIX[1:]])
    for name in names[1:]:
        berth.sandbox(name)
    results.facts["KB for each sandbox with its listeners"] = round((berth.peer("").resident_mb() - before) * 1024 / 999, 1)
    targets = "\n".join(f"/run/netns/berth-{name} 127.0.0.11 53" for name in names)
    floors = {count: in_namespaces(names[:count]) for count in (1, 1000)}
    time.sleep(2)
    for _ in range(REPEAT):
        for work, count in (("1 sandbox", 1), ("1,000 sandboxes", 1000)):
            clients = ("clients", str(20 if count == 1 else 1))
            floor, peer = floors[count], berth.inside(names[0])
            results.closed(work, "C responder in the same namespaces", floor, queries, *clients)
            results.closed(work, "berth", peer, queries, *clients, targets=targets if count > 1 else "")
    for floor in floors.values():
        floor.stop()
    berth.stop()


def in_namespaces(names: list[str]) -> Peer:
    """Start the C responder with a socket in the namespace of each of these sandboxes: what the kernel takes for that many."""
    port = 5300 + len(names)
    targets = "\n".join(f"/run/netns/berth-{name} 127.0.0.11 {port}" for name in names)
    Path(f"/run/floor{port}").write_text(targets + "\n")
    subprocess.run(["cc", "-O2", "-o", "/run/responder", str(ROOT / "benchmarks" / "responder.c")], check=True)
    process = pinned("/run/responder", "-f", f"/run/floor{port}")
    return Peer([process.pid], targets, ended(process))


def churn(results: Results) -> None:
    """Names that change a hundred times a second while others are asked; the admin API's own cost is measured alone."""
    berth = Berth()
    names = berth.add(MIX)
    berth.sandbox("asker")
    berth.sandbox("moving")
    peer, queries, stop = berth.inside("asker"), mix(names), threading.Event()

    def rename() -> None:
        connection, current, number, due = UnixConnection("/run/berth/berth.sock"), "moving", 0, time.monotonic()
        while not stop.is_set():
            number += 1
            call(connection, "PATCH", f"/v1/sandboxes/{current}", {"name": f"moving{number}"})
            current, due = f"moving{number}", due + 0.01
            time.sleep(max(0, due - time.monotonic()))

    for _ in range(REPEAT):
        results.closed("names at rest", "berth", peer, queries)
    thread = threading.Thread(target=rename)
    thread.start()
    time.sleep(0.5)
    before, start = peer.cpu_seconds(), time.monotonic()
    time.sleep(2)
    alone = (peer.cpu_seconds() - before) / (time.monotonic() - start)
    for _ in range(REPEAT):
        results.closed("100 changes of names/s", "berth", peer, queries)
        got = results.samples["100 changes of names/s"]["berth"][-1]
        got["cpu_us"] -= alone * got["seconds"] * 1e6 / got["received"]
    results.facts["CPU share of 100 renames/s by the admin API"] = round(alone, 3)
    stop.set()
    thread.join()
    berth.stop()


def dead(results: Results) -> None:
    """Uncached names while the first of three nameservers is silent."""
    upstream = upstream_outside()
    addresses = ["10.9.0.66", OUTSIDE_ADDRESS, "10.9.0.67"]
    for address in (addresses[0], addresses[2]):
        subprocess.run(["ip", "-n", "outside", "addr", "add", f"{address}/24", "dev", "up1"], check=True)
    silent = (
        "import socket,time\nfor a in ('10.9.0.66','10.9.0.67'):\n s=socket.socket(2,2);s.bind((a,53));globals()[a]=s\ntime.sleep(1000)"
    )
    mute = subprocess.Popen(["ip", "netns", "exec", "outside", sys.executable, "-c", silent])
    Path("/etc/resolv.conf").write_text("".join(f"nameserver {item}\n" for item in addresses))
    time.sleep(1)
    berth = Berth()
    berth.sandbox("asker")

    def measure(name: str, peer: Peer) -> None:
        first = load(peer.target, message(f"first{time.time_ns()}.example", A), "rate", "1", seconds=0.9)
        load(peer.target, b"".join(message(f"l{time.time_ns()}-{i}.example", A) for i in range(2000)), "rate", "100", seconds=5)
        fresh = b"".join(message(f"d{time.time_ns()}-{i}.example", A) for i in range(20_000))
        got = load(peer.target, fresh, "rate", "200", seconds=20)
        got["first_ms"] = first["max_us"] / 1000 if first["received"] else None
        results.samples.setdefault("dead first upstream of three", {}).setdefault(name, []).append(got)

    measure("berth", berth.inside("asker"))
    for name in ("Unbound", "dnsmasq", "aardvark-dns"):
        with running(name, MIX) as peer:
            if peer is not None:
                measure(name, peer)
    berth.stop()
    Path("/etc/resolv.conf").write_text(f"nameserver {OUTSIDE_ADDRESS}\n")
    for process in (upstream, mute):
        process.terminate()
        process.wait()


def flood(results: Results) -> None:
    """Local names of a quiet sandbox while another one floods. Its generator has precedence on the core they share."""
    silent = "import socket,time\ns=socket.socket(2,2);s.bind(('10.9.0.1',53));time.sleep(1000)"
    mute = subprocess.Popen(["ip", "netns", "exec", "outside", sys.executable, "-c", silent])
    berth = Berth()
    names = berth.add(MIX)
    for name in ("quiet", "loud"):
        berth.sandbox(name)
    quiet, loud = berth.inside("quiet"), "/run/netns/berth-loud 127.0.0.11 53"
    noise = random.Random(1)
    floods: dict[str, tuple[bytes, tuple[str, ...]]] = {
        "quiet": (b"", ()),
        "local names": (mix(names), ("window", "1000")),
        "new spellings": (mix(names), ("window", "1000", "mixed")),
        "garbage of 65,000 octets": (struct.pack("!H", 65_000) + noise.randbytes(65_000), ("window", "50")),
        "names for a silent upstream": (b"".join(message(f"x{i}.example", A) for i in range(100_000)), ("window", "1000")),
        "TCP pipelined": (mix(names), ("window", "1000", "tcp")),
        "TCP stalled in a message": (b"", ()),
    }
    for title, (queries, arguments) in floods.items():
        thread = threading.Thread(target=lambda q=queries, a=arguments: load(loud, q, *a, seconds=4))
        stalled = []
        if queries:
            thread.start()
            time.sleep(0.5)
        if title.startswith("TCP stalled"):
            stalled = stall(200)
        got = load(quiet.target, mix(names), "rate", "500", "clients", "4", seconds=3, first=("chrt", "-f", "10"))
        results.samples.setdefault("flood beside a quiet sandbox", {}).setdefault(title, []).append(got)
        if queries:
            thread.join()
        for process in stalled:
            process.kill()
            process.wait()
        time.sleep(0.5)
    berth.stop()
    mute.send_signal(signal.SIGKILL)
    mute.wait()


def stall(count: int) -> list[subprocess.Popen]:
    """Open connections that send half a message and wait, again and again."""
    script = (
        "import socket,time\nwhile 1:\n held=[]\n"
        f" for _ in range({count}):\n"
        "  s=socket.socket()\n  s.settimeout(1)\n"
        "  try:\n   s.connect(('127.0.0.11',53));s.sendall(b'\\0\\x50half');held.append(s)\n  except OSError: pass\n"
        " time.sleep(0.3)\n"
    )
    return [subprocess.Popen(["ip", "netns", "exec", "berth-loud", "taskset", "-c", "1", sys.executable, "-c", script])]


def inside(parts: list[str]) -> None:
    subprocess.run(["cc", "-O2", "-o", "/run/load", str(ROOT / "benchmarks" / "load.c")], check=True)
    results = Results()
    works = {"local": local, "forwarded": forwarded, "sandboxes": sandboxes, "churn": churn, "dead": dead, "flood": flood}
    for part in parts:
        works[part](results)
    json.dump({"samples": results.samples, "facts": results.facts}, sys.stdout)


def show(content: dict) -> None:
    """Print one table for each kind of work."""
    median = statistics.median
    for work, servers in content["samples"].items():
        rows = []
        for name, samples in servers.items():
            cpu = [item["cpu_us"] for item in samples if "cpu_us" in item]
            floor = (
                servers.get("C responder")
                or servers.get("C responder in the same namespaces")
                or content["samples"].get("local, repeated", {}).get("C responder")
            )
            row = [name, f"{median(cpu):.2f}" if cpu else "", f"{min(cpu):.2f}-{max(cpu):.2f}" if cpu else ""]
            row.append(f"{median(cpu) / median(item['cpu_us'] for item in floor):.2f}" if cpu and floor else "")
            row.append(f"{1e6 / median(cpu):,.0f}" if cpu else "")
            row.append(f"{median(item['received'] / item['seconds'] for item in samples):,.0f}")
            prefix = "half_" if any("half_p50" in item for item in samples) else ""
            keys = ("half_p50", "half_p99", "half_max") if prefix else ("p50_us", "p99_us", "max_us")
            row += [f"{median(item[key] for item in samples if key in item):,.0f}" for key in keys]
            row.append(f"{sum(item['lost'] for item in samples)}")
            if "first_ms" in samples[0]:
                row.append(f"first {samples[0]['first_ms']}")
            rows.append(row)
        width = max(map(len, rows))
        head = [
            work,
            "CPU us/query",
            "range",
            "x C responder",
            "queries/CPU-s",
            "queries/s",
            "p50 us",
            "p99 us",
            "max us",
            "lost",
            "first answer ms",
        ]
        print(table(head[:width], rows), end="\n\n")
    print(table(["fact", "value"], [[str(key), str(value)] for key, value in {**content["facts"], **content["machine"]}.items()]))


def main() -> None:
    from tests.support.lab import Lab

    parts = chosen(PARTS, sys.argv[1:])
    if shutil.which("cc") is None:
        sys.exit("a C compiler is needed: apt-get install gcc libc6-dev")
    content: dict[str, dict] = {"samples": {}, "facts": {}}
    for part in parts:
        with Lab() as lab:
            lab.run("mount", "-t", "sysfs", "sysfs", "/sys", check=False)
            done = lab.run(sys.executable, "-m", "benchmarks.resolver", "--inside", part, timeout=900, check=False)
            if done.returncode:
                sys.exit(f"{done.stderr[-3000:]}\n{lab.log()}")
            for key, found in json.loads(done.stdout.splitlines()[-1]).items():
                content[key] |= found
    content["machine"] = machine()
    path = write("resolver", content)
    show(content)
    print(f"\nraw samples: {path}")


if __name__ == "__main__":
    if "--inside" in sys.argv:
        inside(sys.argv[2:])
    else:
        main()
