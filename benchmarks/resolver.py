"""The resolver under dnsperf, beside a C responder compiled on the spot and the peers that are installed.

Every server is asked the same names, pinned to one core, the generator to the other. The figure is CPU time of the
server's threads (schedstat) over queries answered; dnsperf alone hides the difference between fast servers.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.report import machine, table, write

ROOT = Path(__file__).resolve().parents[1]
REPEAT, SECONDS = 3, 4
NAMES = "web A\nweb AAAA\ndb A\nmany A\napi A\n"


def cpu_seconds(pid: int) -> float:
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def measure(pid: int, address: str, port: int, netns: str | None = None) -> dict[str, float]:
    """Return CPU microseconds per query, queries per second and mean latency of one run."""
    Path("/run/queries").write_text(NAMES)
    enter = ["ip", "netns", "exec", netns] if netns else []
    before = cpu_seconds(pid)
    done = subprocess.run(
        ["taskset", "-c", "1", *enter, "dnsperf", "-s", address, "-p", str(port), "-d", "/run/queries", "-l", str(SECONDS), "-c", "20", "-q", "200"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    used = cpu_seconds(pid) - before
    completed = int(re.search(r"Queries completed:\s+(\d+)", done.stdout)[1])
    lost = int(re.search(r"Queries lost:\s+(\d+)", done.stdout)[1])
    latency = float(re.search(r"Average Latency \(s\):\s+([\d.]+)", done.stdout)[1])
    return {"cpu_us": used * 1e6 / completed, "qps": completed / SECONDS, "lost": lost, "latency_us": latency * 1e6}


def pinned(*command: str, **more) -> subprocess.Popen:
    return subprocess.Popen(["taskset", "-c", "0", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)


def responder() -> tuple[subprocess.Popen, str, int]:
    subprocess.run(["cc", "-O2", "-o", "/run/responder", str(ROOT / "benchmarks" / "responder.c")], check=True)
    return pinned("/run/responder", "127.0.0.1", "5301"), "127.0.0.1", 5301


def dnsmasq() -> tuple[subprocess.Popen, str, int] | None:
    if shutil.which("dnsmasq", path="/usr/sbin:/usr/bin") is None:
        return None
    Path("/run/hosts").write_text("10.0.0.2 web\n10.0.0.3 db\n10.0.0.4 many\n10.0.0.5 many\n10.0.0.6 many\n10.0.0.7 api\n")
    return (
        pinned("dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--addn-hosts=/run/hosts", "--port=5302",
               "--listen-address=127.0.0.1", "--bind-interfaces", "--user=root", "--pid-file=/run/dnsmasq.pid"),
        "127.0.0.1", 5302,
    )  # fmt: skip


def unbound() -> tuple[subprocess.Popen, str, int] | None:
    if shutil.which("unbound", path="/usr/sbin:/usr/bin") is None:
        return None
    data = "".join(f'local-data: "{name}. 5 A 10.0.0.{i}"\n' for i, name in enumerate(("web", "db", "many", "many", "many", "api"), 2))
    Path("/run/unbound.conf").write_text(
        'server:\n interface: 127.0.0.1@5303\n username: ""\n chroot: ""\n pidfile: ""\n use-syslog: no\n do-daemonize: no\n num-threads: 1\n'
        + "".join(f" {line}\n" for line in data.splitlines())
        + "remote-control:\n control-enable: no\n"
    )
    return pinned("unbound", "-d", "-c", "/run/unbound.conf"), "127.0.0.1", 5303


def berth() -> tuple[subprocess.Popen, str, str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    daemon = pinned(sys.executable, "-m", "resolver", "daemon", env=environment, cwd="/")
    command = [sys.executable, "-m", "resolver"]
    while subprocess.run([*command, "status"], capture_output=True, env=environment, check=False).returncode:
        time.sleep(0.05)

    def run(*arguments: str) -> None:
        subprocess.run([*command, *arguments], check=True, env=environment, stdout=subprocess.DEVNULL)

    run("network", "create", "net")
    for name, alias in (("web", "web"), ("db", "db"), ("m1", "many"), ("m2", "many"), ("m3", "many"), ("api", "api"), ("asker", "asker")):
        run("run", "-d", "--name", name, "--network", f"net,alias={alias}", "--", "sleep", "100000")
    return daemon, "127.0.0.11", "berth-asker"


def inside() -> None:
    samples: dict[str, list[dict[str, float]]] = {}
    servers = {"C responder": responder(), "dnsmasq": dnsmasq(), "Unbound": unbound()}
    daemon, address, netns = berth()
    time.sleep(1)
    for _ in range(REPEAT):
        for name, server in servers.items():
            if server is not None:
                samples.setdefault(name, []).append(measure(server[0].pid, server[1], server[2]))
        samples.setdefault("berth, from inside a sandbox", []).append(measure(daemon.pid, address, 53, netns))
    facts = {"resident MB": round(int(Path(f"/proc/{daemon.pid}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024, 1)}
    daemon.terminate()
    daemon.wait()
    for server in servers.values():
        if server is not None:
            server[0].terminate()
    json.dump({"samples": samples, "facts": facts, "left out": [name for name, server in servers.items() if server is None]}, sys.stdout)


def main() -> None:
    from tests.support.lab import Lab

    if shutil.which("dnsperf") is None or shutil.which("cc") is None:
        sys.exit("dnsperf and a C compiler are needed: apt-get install dnsperf gcc")
    with Lab() as lab:
        done = lab.run(sys.executable, "-m", "benchmarks.resolver", "--inside", timeout=600)
        content = json.loads(done.stdout.splitlines()[-1])
    content["machine"] = machine()
    path = write("resolver", content)

    def median(name: str, key: str) -> float:
        return statistics.median(item[key] for item in content["samples"][name])

    floor = median("C responder", "cpu_us")
    rows = [
        [name, f"{median(name, 'cpu_us'):.2f}", f"{median(name, 'cpu_us') / floor:.2f}", f"{median(name, 'qps'):.0f}",
         f"{median(name, 'latency_us'):.0f}", f"{sum(item['lost'] for item in content['samples'][name]):.0f}"]
        for name in content["samples"]
    ]  # fmt: skip
    print(table(["server", "CPU us/query", "x C responder", "queries/s", "mean latency us", "lost"], rows))
    print(f"\nberth resident: {content['facts']['resident MB']} MB; left out: {', '.join(content['left out']) or 'nothing'}; raw samples: {path}")


if __name__ == "__main__":
    if "--inside" in sys.argv:
        inside()
    else:
        main()
