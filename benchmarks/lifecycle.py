"""Lifecycle: how long connects, disconnects and networks take, at several sizes, beside the floor and the peers.

The floor is the same netlink requests without us: veth into a namespace, address, up, route; delete.
Name parts to run only these: `python -m benchmarks.lifecycle floor drivers`.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_interface, ip_network
from pathlib import Path

from benchmarks.report import chosen, compile_modules, machine, summary, table, write

ROOT = Path(__file__).resolve().parents[1]
REPEAT = 30


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket, one connection kept open."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


def call(connection: UnixConnection, method: str, path: str, body: object = None, *, ok: tuple[int, ...] = (200, 201, 204)):
    connection.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"})
    response = connection.getresponse()
    octets = response.read()
    if response.status not in ok:
        raise RuntimeError(f"{method} {path}: {response.status} {octets[:300]!r}")
    return json.loads(octets) if octets else None


def timed(action) -> float:
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) * 1000


def measure_berth(connection: UnixConnection, results: dict, label: str, network: str) -> None:
    samples: dict[str, list[float]] = {"connect": [], "disconnect": [], "create sandbox": [], "remove sandbox": []}
    for number in range(REPEAT):
        name = f"bench{number}"
        samples["create sandbox"].append(timed(lambda name=name: call(connection, "POST", "/v1/sandboxes", {"name": name})))
        samples["connect"].append(timed(lambda name=name: call(connection, "POST", f"/v1/networks/{network}/connect", {"sandbox": name})))
        samples["disconnect"].append(
            timed(lambda name=name: call(connection, "POST", f"/v1/networks/{network}/disconnect", {"sandbox": name}))
        )
        samples["remove sandbox"].append(timed(lambda name=name: call(connection, "DELETE", f"/v1/sandboxes/{name}")))
    for operation, values in samples.items():
        results[f"berth {label}: {operation}"] = values


def drivers(results: dict, facts: dict) -> None:
    """Sandboxes made and removed with each driver that runs here; the plugin is the one of the tests, which runs `ip` itself."""
    daemon, connection = start_daemon()
    subprocess.run(["sh", "-c", "ip link add lan0 type veth peer name lan1; ip link set lan0 up; ip link set lan1 up"], check=True)
    Path("/run/plugin-test").mkdir()
    command = [sys.executable, str(ROOT / "tests/support/docker_plugin.py"), "/run/docker/plugins/weave.sock", "/run/plugin-test"]
    plugin = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert plugin.stdout is not None
    plugin.stdout.readline()
    bodies: dict[str, dict] = {
        "macvlan": {"driver": "macvlan", "options": {"parent": "lan0"}},
        "bridge": {},
        "bridge, addresses by a plugin": {"ipam_driver": "weave", "subnets": []},
        "plugin": {"driver": "weave"},
    }
    try:
        for number, (label, body) in enumerate(bodies.items()):
            call(connection, "POST", "/v1/networks", {"name": f"driver{number}", "subnets": [f"10.204.{number}.0/24"], **body})
            measure_driver(connection, results, label, f"driver{number}")
            call(connection, "DELETE", f"/v1/networks/driver{number}")
        call(connection, "POST", "/v1/sandboxes", {"name": "owner"})
        for label in ("host", "none", "container:owner"):
            measure_driver(connection, results, label, label)
        call(connection, "DELETE", "/v1/sandboxes/owner")
    finally:
        plugin.kill()
        daemon.terminate()
        daemon.wait()


def measure_driver(connection: UnixConnection, results: dict, label: str, network: str) -> None:
    body = {"name": "driven", "networks": [{"network": network}]}
    made, removed = [], []
    for _ in range(REPEAT):
        made.append(timed(lambda: call(connection, "POST", "/v1/sandboxes", body)))
        removed.append(timed(lambda: call(connection, "DELETE", "/v1/sandboxes/driven")))
    results[f"driver {label}: create sandbox"], results[f"driver {label}: remove sandbox"] = made, removed


def start_daemon() -> tuple[subprocess.Popen, UnixConnection]:
    """Return a daemon that is ready, and a connection to it."""
    log = open("/run/berth-bench.log", "w")  # noqa: SIM115
    daemon = subprocess.Popen(
        [sys.executable, "-m", "resolver", "daemon"], stdout=log, stderr=log, cwd="/", env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    connection = UnixConnection("/run/berth/berth.sock")
    while True:
        try:
            call(connection, "GET", "/readyz")
            return daemon, connection
        except (OSError, RuntimeError):
            connection.close()
            time.sleep(0.005)


def berth(results: dict, facts: dict) -> None:
    start = time.perf_counter()
    daemon, connection = start_daemon()
    facts["daemon start s"] = round(time.perf_counter() - start, 3)
    time.sleep(0.5)
    facts["daemon idle MB"] = memory(daemon.pid)
    networks = 0

    def grow_networks(count: int) -> list[float]:
        nonlocal networks
        values = []
        while networks < count:
            networks += 1
            body = {"name": f"net{networks}", "subnets": [f"10.{100 + networks // 200}.{networks % 200}.0/24"]}
            values.append(timed(lambda body=body: call(connection, "POST", "/v1/networks", body)))
        return values

    call(connection, "POST", "/v1/networks", {"name": "first", "subnets": ["10.202.0.0/16"]})
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [str(Path(sys.executable).parent / "berth"), "run", "--network", "first", "--", "true"]
    if not Path(command[0]).exists():
        command[:1] = [sys.executable, "-m", "resolver"]
    results["berth run -- true"] = [timed(lambda: subprocess.run(command, check=True, env=environment)) for _ in range(REPEAT)]
    for size in (1, 50, 200):
        results[f"berth at {size} networks: create network"] = grow_networks(size)[-20:]
        measure_berth(connection, results, f"at {size} networks, 1 sandbox", "net1")
    removed = [timed(lambda n=n: call(connection, "DELETE", f"/v1/networks/net{n}")) for n in range(180, 201)]
    results["berth at 200 networks: remove network"] = removed
    call(connection, "POST", "/v1/networks", {"name": "big", "subnets": ["10.200.0.0/16"]})
    call(connection, "POST", "/v1/networks", {"name": "other", "subnets": ["10.201.0.0/16"]})
    have = 0
    before = memory(daemon.pid)
    for size in (200, 1000):
        while have < size:
            have += 1
            call(connection, "POST", "/v1/sandboxes", {"name": f"s{have}", "networks": [{"network": "big"}]})
        measure_berth(connection, results, f"at 201 networks, {size} sandboxes", "other")
    facts["KB per sandbox with its listeners"] = round((memory(daemon.pid) - before) * 1024 / have, 1)
    facts["descriptors per sandbox"] = round(len(os.listdir(f"/proc/{daemon.pid}/fd")) / have, 2)

    def remove(numbers: range) -> None:
        own = UnixConnection("/run/berth/berth.sock")
        for number in numbers:
            call(own, "DELETE", f"/v1/sandboxes/s{number}")

    with ThreadPoolExecutor(8) as workers:
        list(workers.map(remove, [range(first, have + 1, 8) for first in range(1, 9)]))

    def create(number: int) -> None:
        call(UnixConnection("/run/berth/berth.sock"), "POST", "/v1/sandboxes", {"name": f"p{number}", "networks": [{"network": "big"}]})

    with ThreadPoolExecutor(100) as workers:
        facts["100 sandboxes at once s"] = round(timed(lambda: list(workers.map(create, range(100)))) / 1000, 3)
    results["DNS latency during 15 disconnects/s"] = dns_under_churn(connection)
    daemon.terminate()
    daemon.wait()


def dns_under_churn(connection: UnixConnection) -> list[float]:
    """Return latencies of a local name, asked from inside a sandbox, while others connect and disconnect 15 times a second."""
    sandbox = call(connection, "POST", "/v1/sandboxes", {"name": "quiet", "networks": [{"network": "net1"}]})
    script = (
        "import socket,time,json,sys\n"
        "q=b'\\0\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\5quiet\\0\\0\\1\\0\\1'\n"
        "s=socket.socket(2,2); s.connect(('127.0.0.11',53)); s.settimeout(5); out=[]; end=time.perf_counter()+6\n"
        "while time.perf_counter()<end:\n t=time.perf_counter(); s.send(q); s.recv(512); out.append((time.perf_counter()-t)*1000); time.sleep(.002)\n"
        "print(json.dumps(out))"
    )
    probe = subprocess.Popen(
        ["ip", "netns", "exec", Path(sandbox["netns"]).name, sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    )
    for number in range(6):
        call(connection, "POST", "/v1/sandboxes", {"name": f"churn{number}", "networks": []})
    end = time.monotonic() + 6
    count = 0
    while time.monotonic() < end:
        start = time.monotonic()
        name = f"churn{count % 6}"
        call(connection, "POST", "/v1/networks/net1/connect", {"sandbox": name})
        call(connection, "POST", "/v1/networks/net1/disconnect", {"sandbox": name})
        count += 1
        time.sleep(max(0.0, 1 / 15 - (time.monotonic() - start)))
    output, _ = probe.communicate()
    return json.loads(output)


def memory(pid: int) -> float:
    """Return the resident memory of *pid* in MB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return round(int(text.split("VmRSS:")[1].split()[0]) / 1024, 1)


def floor(results: dict, facts: dict) -> None:
    """The bare netlink requests: create veth in place, address, up, route; delete the veth."""
    from netcore.kernel import link_kinds, netns, rtnl
    from netcore.kernel.netlink import ROUTE, NetlinkSocket
    from netcore.model import NetnsPath

    path = NetnsPath("/run/netns/floor")
    netns.create(path, lambda: None)
    connects, disconnects, networks = [], [], []
    with NetlinkSocket(ROUTE) as host, netns.opened(path) as peer:
        networks.append(timed(lambda: rtnl.ensure_link(host, link_kinds.add_bridge("brfloor", "02:42:00:00:00:01", 1500), "floor")))
        inside = netns.run_inside(peer, lambda: NetlinkSocket(ROUTE))
        index = rtnl.link_index(host, "brfloor")
        host.run([rtnl.add_address(ip_interface("10.250.0.1/24"), index)])

        def connect() -> None:
            host.run(
                [
                    link_kinds.add_veth(
                        "vethfloor", master=index, mtu=1500, peer_ifname="eth0", peer_mac="02:42:00:00:00:02", peer_netns_descriptor=peer
                    )
                ]
            )
            there = rtnl.link_index(inside, "eth0")
            inside.run([rtnl.add_address(ip_interface("10.250.0.2/24"), there), rtnl.set_link("eth0")])
            inside.run([rtnl.replace_route(ip_network("0.0.0.0/0"), ip_interface("10.250.0.1/24").ip, there)])

        for _ in range(REPEAT):
            connects.append(timed(connect))
            disconnects.append(timed(lambda: host.run([rtnl.delete_link("vethfloor")])))
        inside.close()
        results["floor: remove network"] = [timed(lambda: host.run([rtnl.delete_link("brfloor")]))]
    netns.unpin(path)
    results["floor: connect"], results["floor: disconnect"], results["floor: create network"] = connects, disconnects, networks


def docker(results: dict, facts: dict) -> None:
    """Docker Engine by its API: networks, and connect and disconnect of a running container."""
    if not (shutil.which("dockerd") and shutil.which("containerd") and shutil.which("busybox")):
        facts["docker bench"] = "not installed"
        return
    log = open("/run/docker-bench.log", "w")  # noqa: SIM115
    Path("/run/docker").mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "cgroup2", "none", "/sys/fs/cgroup"], check=False, stderr=subprocess.DEVNULL)
    containerd = subprocess.Popen(["containerd"], stdout=log, stderr=log)
    engine = subprocess.Popen(["dockerd", "--storage-driver=vfs"], stdout=log, stderr=log)
    connection = UnixConnection("/run/docker.sock")
    for _ in range(400):
        try:
            call(connection, "GET", "/_ping", ok=(200,))
            break
        except (OSError, RuntimeError, json.JSONDecodeError):
            connection.close()
            if Path("/run/docker.sock").exists() and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.1)
    try:
        build = "mkdir -p /mnt/img/bin && cp $(which busybox) /mnt/img/bin/ && ln -sf busybox /mnt/img/bin/sleep && tar -C /mnt/img -c . | docker import - bench"
        subprocess.run(["sh", "-c", build], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["docker", "run", "-d", "--name", "bench-c", "bench", "/bin/sleep", "100000"], check=True, stdout=subprocess.DEVNULL)
        samples: dict[str, list[float]] = {"create network": [], "connect": [], "disconnect": [], "remove network": []}
        connection = UnixConnection("/run/docker.sock")
        for number in range(REPEAT // 2):
            name = f"d{number}"
            samples["create network"].append(timed(lambda name=name: call(connection, "POST", "/networks/create", {"Name": name})))
            samples["connect"].append(
                timed(lambda name=name: call_plain(connection, f"/networks/{name}/connect", {"Container": "bench-c"}))
            )
            samples["disconnect"].append(
                timed(lambda name=name: call_plain(connection, f"/networks/{name}/disconnect", {"Container": "bench-c"}))
            )
            samples["remove network"].append(timed(lambda name=name: call(connection, "DELETE", f"/networks/{name}")))
        for operation, values in samples.items():
            results[f"docker: {operation}"] = values
        run = ["docker", "run", "--rm", "bench", "/bin/busybox", "true"]
        results["docker run --rm true"] = [timed(lambda: subprocess.run(run, check=True)) for _ in range(8)]
    except (subprocess.CalledProcessError, RuntimeError) as error:
        facts["docker bench"] = f"did not run here: {error}"
    finally:
        subprocess.run(["docker", "rm", "-f", "bench-c"], capture_output=True, check=False)
        for process in (engine, containerd):
            process.terminate()
            process.wait()


def call_plain(connection: UnixConnection, path: str, body: object) -> None:
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        raise RuntimeError(response.read())
    response.read()


def cni(results: dict, facts: dict) -> None:
    """The CNI plugins `bridge` and `host-local`: one process for each operation, as runtimes call them."""
    program = Path("/usr/lib/cni/bridge")
    if not program.exists():
        facts["cni"] = "not installed"
        return
    config = json.dumps(
        {"cniVersion": "0.4.0", "name": "bench", "type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True,
         "ipam": {"type": "host-local", "subnet": "10.251.0.0/16", "routes": [{"dst": "0.0.0.0/0"}]}}
    )  # fmt: skip
    subprocess.run(["ip", "netns", "add", "cni"], check=True)
    environment = {
        **os.environ,
        "CNI_CONTAINERID": "bench",
        "CNI_NETNS": "/run/netns/cni",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": "/usr/lib/cni",
    }
    adds: list[float] = []
    dels: list[float] = []
    for _ in range(REPEAT // 2):
        for command, values in (("ADD", adds), ("DEL", dels)):
            values.append(
                timed(
                    lambda command=command: subprocess.run(
                        [str(program)],
                        input=config,
                        text=True,
                        check=True,
                        capture_output=True,
                        env={**environment, "CNI_COMMAND": command},
                    )
                )
            )
    results["cni bridge: connect"], results["cni bridge: disconnect"] = adds, dels


def netavark(results: dict, facts: dict) -> None:
    """netavark, as Podman calls it: one process for each set-up and teardown."""
    program = next((path for path in ("/usr/lib/podman/netavark", "/usr/libexec/podman/netavark") if Path(path).exists()), None)
    if program is None:
        facts["netavark"] = "not installed"
        return
    identity = "53ce4390f2adb1681eb1a90ec8b48c49c015e0a8d336c197637e7f65e365fa9e"
    info = {
        "name": "bench", "id": identity, "driver": "bridge", "network_interface": "podman9", "ipv6_enabled": False, "internal": False,
        "dns_enabled": False, "subnets": [{"subnet": "10.252.0.0/16", "gateway": "10.252.0.1"}], "ipam_options": {"driver": "host-local"}, "options": {},
    }  # fmt: skip
    networks = {"bench": {"static_ips": ["10.252.0.2"], "interface_name": "eth0"}}
    config = json.dumps({"container_id": "b" * 64, "container_name": "bench", "networks": networks, "network_info": {"bench": info}})
    subprocess.run(["ip", "netns", "add", "netavark"], check=True)
    samples: dict[str, list[float]] = {"setup": [], "teardown": []}
    try:
        for _ in range(REPEAT // 2):
            for verb, values in samples.items():
                command = [program, "--config", "/run/netavark", verb, "/run/netns/netavark"]
                values.append(
                    timed(lambda command=command: subprocess.run(command, input=config, text=True, check=True, capture_output=True))
                )
    except subprocess.CalledProcessError as error:
        facts["netavark"] = f"did not run here: {(error.stdout or error.stderr)[:120]}"
        return
    results["netavark: connect"], results["netavark: disconnect"] = samples["setup"], samples["teardown"]


# Docker before the other peers: they leave iptables rules that its containers fail on.
PARTS = {"floor": floor, "drivers": drivers, "berth": berth, "docker": docker, "cni": cni, "netavark": netavark}


def inside(parts: list[str]) -> None:
    results: dict[str, list[float]] = {}
    facts: dict[str, object] = {}
    sys.path.insert(0, str(ROOT))
    for part in parts:
        PARTS[part](results, facts)
    json.dump({"results": results, "facts": facts}, sys.stdout)


def main(parts: list[str]) -> None:
    from tests.support.lab import Lab

    with Lab() as lab:
        lab.run("mount", "-t", "sysfs", "sysfs", "/sys", check=False)
        compile_modules()
        done = lab.run(sys.executable, "-m", "benchmarks.lifecycle", "--inside", *parts, timeout=1800)
        content = json.loads(done.stdout.splitlines()[-1])
    content["machine"] = machine()
    path = write("lifecycle", content)
    rows = [[name, *(f"{summary(values)[key]:.2f}" for key in ("median", "p10", "p90"))] for name, values in content["results"].items()]
    latencies = sorted(content["results"].get("DNS latency during 15 disconnects/s", ()))
    if latencies:
        content["facts"]["DNS p99 during churn ms"] = round(latencies[int(len(latencies) * 0.99)], 3)
    print(table(["operation (ms)", "median", "p10", "p90"], rows))
    print()
    print(table(["fact", "value"], [[str(key), str(value)] for key, value in {**content["facts"], **content["machine"]}.items()]))
    print(f"\nraw samples: {path}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(sys.argv[2:])
    else:
        main(chosen(PARTS, sys.argv[1:]))
