"""The name servers that berth is measured beside, each started with the same names; what is not installed is left out.

All run in the lab, pinned to the first core. A peer is (its pids, who asks from where).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from tests.support.lab import OUTSIDE_ADDRESS

ROOT = Path(__file__).resolve().parents[1]
SBIN = "/usr/sbin:/usr/bin:/usr/lib/podman:/usr/libexec/podman"
Names = list[tuple[str, list[str]]]
"""(name, its addresses)."""


@dataclass
class Peer:
    """A running server: its processes, and a line for the load generator's targets."""

    pids: list[int]
    target: str
    stop: Callable[[], None]
    web: str = "10.0.0.2"
    """The address of the name `web`, for its PTR."""

    def cpu_seconds(self) -> float:
        """Return the CPU time of all its threads (schedstat)."""
        total = 0
        for pid in self.pids:
            for task in Path(f"/proc/{pid}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def resident_mb(self) -> float:
        """Return its resident memory."""
        return sum(int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) for pid in self.pids) / 1024


def pinned(*command: str, **more) -> subprocess.Popen:
    return subprocess.Popen(["taskset", "-c", "0", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)


def ended(*processes: subprocess.Popen) -> Callable[[], None]:
    def stop() -> None:
        for process in processes:
            process.terminate()
            process.wait()

    return stop


def _found(program: str) -> str | None:
    return shutil.which(program, path=SBIN)


def c_responder(_: Names) -> Peer | None:
    if _found("cc") is None:
        return None
    subprocess.run(["cc", "-O2", "-o", "/run/responder", str(ROOT / "benchmarks" / "responder.c")], check=True)
    process = pinned("/run/responder", "127.0.0.1", "5301")
    return Peer([process.pid], "- 127.0.0.1 5301", ended(process))


def dnsmasq(names: Names) -> Peer | None:
    if _found("dnsmasq") is None:
        return None
    Path("/run/hosts").write_text("".join(f"{address} {name}\n" for name, addresses in names for address in addresses))
    Path("/run/dnsmasq.resolv").write_text(Path("/etc/resolv.conf").read_text())
    process = pinned(
        "dnsmasq", "--keep-in-foreground", "--resolv-file=/run/dnsmasq.resolv", "--no-hosts", "--addn-hosts=/run/hosts", "--port=5302",
        "--listen-address=127.0.0.1", "--bind-interfaces", "--user=root", "--pid-file=/run/dnsmasq.pid", "--cache-size=10000",
        "--dns-forward-max=10000", "--local-ttl=5", "--domain-needed",
    )  # fmt: skip
    return Peer([process.pid], "- 127.0.0.1 5302", ended(process))


def unbound(names: Names) -> Peer | None:
    if _found("unbound") is None:
        return None
    servers = [line.split()[1] for line in Path("/etc/resolv.conf").read_text().splitlines() if line.startswith("nameserver")]
    data = "".join(f' local-data: "{name}. 5 A {address}"\n' for name, addresses in names for address in addresses)
    data += "".join(f' local-data-ptr: "{addresses[0]} 5 {name}"\n' for name, addresses in names)
    Path("/run/unbound.conf").write_text(
        'server:\n interface: 127.0.0.1@5303\n username: ""\n chroot: ""\n pidfile: ""\n use-syslog: no\n do-daemonize: no\n num-threads: 1\n'
        f' module-config: "iterator"\n num-queries-per-thread: 4096\n outgoing-range: 8192\n do-ip6: no\n{data}'
        'forward-zone:\n name: "."\n' + "".join(f" forward-addr: {item}\n" for item in servers) + "remote-control:\n control-enable: no\n"
    )
    process = pinned("unbound", "-d", "-c", "/run/unbound.conf")
    return Peer([process.pid], "- 127.0.0.1 5303", ended(process))


def zone_file(path: str, origin: str, lines: str) -> None:
    Path(path).write_text(f"$ORIGIN {origin}\n$TTL 5\n@ 3600 IN SOA ns. host. 1 3600 600 86400 60\n@ 3600 IN NS ns.\n{lines}")


def nsd_config(path: str, address: str, zones: dict[str, str], *, port: int) -> None:
    Path(path).write_text(
        f'server:\n ip-address: {address}@{port}\n username: ""\n chroot: ""\n zonesdir: "/run"\n pidfile: "{path}.pid"\n database: ""\n'
        f' zonelistfile: "{path}.list"\n xfrdfile: "{path}.xfrd"\n server-count: 1\n rrl-ratelimit: 0\n verbosity: 0\n'
        "remote-control:\n control-enable: no\n" + "".join(f"zone:\n name: {name}\n zonefile: {file}\n" for name, file in zones.items())
    )


def nsd(names: Names) -> Peer | None:
    if _found("nsd") is None:
        return None
    lines = "".join(f"{name}. IN A {address}\n" for name, addresses in names for address in addresses)
    lines += "".join(f"{ip_address(addresses[0]).reverse_pointer}. IN PTR {name}.\n" for name, addresses in names)
    zone_file("/run/nsd.root", ".", lines)
    nsd_config("/run/nsd.conf", "127.0.0.1", {".": "/run/nsd.root"}, port=5304)
    process = pinned("nsd", "-d", "-c", "/run/nsd.conf")
    time.sleep(1)
    return Peer(_family(process.pid), "- 127.0.0.1 5304", ended(process))


def _family(pid: int) -> list[int]:
    """Return *pid* and its descendants."""
    found = [pid]
    for entry in found:
        children = Path(f"/proc/{entry}/task/{entry}/children")
        if children.exists():
            found += [int(child) for child in children.read_text().split()]
    return found


def aardvark(names: Names) -> Peer | None:
    """aardvark-dns answers containers of its own networks by their source address: the generator's is one of them."""
    program = _found("aardvark-dns")
    if program is None:
        return None
    Path("/run/aardvark").mkdir(exist_ok=True)
    lines = [f"{i:064x} {','.join(addresses)}  {name}" for i, (name, addresses) in enumerate(names)]
    Path("/run/aardvark/net").write_text("127.0.0.5\n" + "f" * 64 + " 127.0.0.1  asker\n" + "\n".join(lines) + "\n")
    process = pinned(program, "--config", "/run/aardvark", "--port", "5305", "run")
    time.sleep(1)
    pids = [
        int(item) for item in subprocess.run(["pgrep", "-x", "aardvark-dns"], capture_output=True, text=True, check=False).stdout.split()
    ]
    here = Path("/proc/self/ns/net").stat().st_ino
    # The one that was started forks and ends.
    pids = [pid for pid in pids if Path(f"/proc/{pid}/ns/net").exists() and Path(f"/proc/{pid}/ns/net").stat().st_ino == here]
    if not pids:
        return None

    def stop() -> None:
        for pid in pids:
            os.kill(pid, 9)
        process.wait()

    return Peer(pids, "- 127.0.0.5 5305", stop)


def start_docker(wait: Callable[[], bool]) -> list[subprocess.Popen]:
    """Start containerd and dockerd in this namespace, pinned; return them when *wait* holds."""
    log = open("/run/docker-bench.log", "w")  # noqa: SIM115
    Path("/run/docker").mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "cgroup2", "none", "/sys/fs/cgroup"], check=False, stderr=subprocess.DEVNULL)
    started = [
        subprocess.Popen(["taskset", "-c", "0", *command], stdout=log, stderr=log)
        for command in (["containerd"], ["dockerd", "--storage-driver=vfs"])
    ]
    for _ in range(400):
        if wait():
            break
        time.sleep(0.1)
    return started[::-1]


def docker_image(name: str) -> None:
    """Import an image with busybox and nothing else."""
    build = f"mkdir -p /mnt/img/bin && cp $(which busybox) /mnt/img/bin/ && ln -sf busybox /mnt/img/bin/sleep && tar -C /mnt/img -c . | docker import - {name}"
    subprocess.run(["sh", "-c", build], check=True, stdout=subprocess.DEVNULL)


def docker(names: Names) -> Peer | None:
    """A real container's 127.0.0.11, asked from inside its namespace."""
    if not all(map(_found, ("dockerd", "containerd", "busybox"))) or len(names) > 100:
        return None
    processes = start_docker(lambda: subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0)
    try:
        docker_image("bench")
        subprocess.run(["docker", "network", "create", "bench"], check=True, stdout=subprocess.DEVNULL)
        for name, addresses in names:
            for number, _ in enumerate(addresses):
                command = ["docker", "run", "-d", "--name", f"{name}-{number}", "--network", "bench", "--network-alias", name, "bench"]
                subprocess.run([*command, "/bin/sleep", "100000"], check=True, stdout=subprocess.DEVNULL)
        asker = ["docker", "inspect", "-f", "{{.State.Pid}} {{.NetworkSettings.Networks.bench.IPAddress}}", f"{names[0][0]}-0"]
        pid, address = subprocess.run(asker, check=True, capture_output=True, text=True).stdout.split()
    except subprocess.CalledProcessError as error:
        print(f"docker did not run here: {error}", file=sys.stderr)
        ended(*processes)()
        return None

    def stop() -> None:
        subprocess.run("docker rm -f $(docker ps -aq)", shell=True, capture_output=True, check=False)
        ended(*processes)()

    return Peer([processes[0].pid], f"/proc/{pid}/ns/net 127.0.0.11 53", stop, address)


PEERS: dict[str, Callable[[Names], Peer | None]] = {
    "C responder": c_responder,
    "NSD": nsd,
    "Unbound": unbound,
    "dnsmasq": dnsmasq,
    "aardvark-dns": aardvark,
    "Docker": docker,
}


def upstream_outside() -> subprocess.Popen:
    """Start NSD outside as the nameserver of the host: every name below example. exists."""
    zone_file("/run/example.zone", "example.", "* 3600 IN A 192.0.2.80\n")
    nsd_config("/run/upstream.conf", OUTSIDE_ADDRESS, {"example.": "/run/example.zone"}, port=53)
    enter = ["ip", "netns", "exec", "outside", "taskset", "-c", "1"]
    return subprocess.Popen([*enter, "nsd", "-d", "-c", "/run/upstream.conf"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
