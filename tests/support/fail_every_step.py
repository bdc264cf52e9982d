"""Run inside a lab: make every step of a create, connect, disconnect and sandbox create fail in turn; print JSON of what differed.

The executor is wrapped from outside; the product has no hook for this.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import subprocess
import sys
import threading
from pathlib import Path

from netcore.controller.assembly import assemble
from netcore.controller.recovery import restore
from netcore.controller.settings import Settings
from netcore.errors import KernelError, NetcoreError
from netcore.kernel import apply as executor_module
from netcore.kernel import files, netlink, netns, nft, sysctl
from netcore.model import EndpointRequest, NetworkRequest, SandboxRequest
from netcore.plan.ipam import ula_pool
from netcore.store.records import Records
from netcore.store.sqlite import open_store

PLUGIN = str(Path(__file__).with_name("docker_plugin.py"))

# Without what the kernel derives from carriers, and what it does later by itself.
STATE = """
ip -o link show | grep -v ': plug' | sed 's/^[0-9]*: //; s/@if[0-9]*//; s/NO-CARRIER,//; s/,LOWER_UP//; s/state [A-Z]*//' | sort; ip -o addr show | awk '{print $2,$4}' | sort
ip route show table all | grep -v -e fe80 -e ff00 | sed 's/ linkdown//' | sort; ip neigh show nud permanent | sort; ls /run/netns | sort
nft -s list table inet berth; nft -s list table bridge berth; ss -Hlntu | awk '{print $1,$5}' | sort
for n in $(ls /run/netns); do ip -n $n -o link show | sed 's/^[0-9]*: //; s/@if[0-9]*//'; ip -n $n -o addr | awk '{print $2,$4}'; ip -n $n route | sed 's/ linkdown//'; done
"""


class Directory:
    """Remembers what was published; opens nothing while it *fails*."""

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}
        self.fails = False

    async def open(self, sandbox) -> None:
        if self.fails:
            raise KernelError("test", "open", errno.ENOSPC)
        self.names[sandbox.id] = []

    async def close(self, sandbox) -> None:
        self.names.pop(sandbox.id, None)

    async def update(self, sandbox, endpoints, networks) -> None:
        self.names[sandbox.id] = [item.network_id for item in endpoints]

    async def network_up(self, network) -> None: ...

    async def network_down(self, network) -> None: ...


ON_THE_LOOP: list[str] = []


def watch_the_loop() -> None:
    """Note every netlink socket, namespace entry and sysctl write that happens on the loop's thread."""

    def watched(owner, name) -> None:
        original = getattr(owner, name)

        def call(*arguments, **more):
            if threading.current_thread() is threading.main_thread():
                ON_THE_LOOP.append(f"{name} {arguments[1:2]}")
            return original(*arguments, **more)

        setattr(owner, name, call)

    watched(netlink.NetlinkSocket, "__init__")
    watched(netlink.NetlinkSocket, "run")
    watched(netns, "_on_own_thread")
    watched(sysctl, "write")
    watched(nft, "apply_text")
    watched(files, "write_in_place")


class Breaker:
    """Lets the *n*-th step of the next `apply` fail, after it was carried out or before."""

    def __init__(self) -> None:
        self.at = -1
        self.count = 0
        original = executor_module.Executor._run
        breaker = self

        def run(executor, doors, lane):
            for step in lane:
                if breaker.at >= 0:
                    breaker.count += 1
                    if breaker.count - 1 == breaker.at:
                        breaker.at = -1
                        yield step, KernelError("test", step.describe(), errno.ENOSPC)
                        return
                yield from original(executor, doors, [step])

        executor_module.Executor._run = run

    def arm(self, at: int) -> None:
        self.at, self.count = at, 0


def kernel_state() -> str:
    return subprocess.run(["sh", "-c", STATE], capture_output=True, text=True, check=False).stdout


async def store_state(store) -> dict[str, bytes]:
    return {key: item.value for key, item in (await store.load()).items.items() if not key.startswith("rest/")}


async def main() -> None:
    subprocess.run(["sh", "-c", "ip link add lan0 type veth peer name lan1; ip link set lan0 up; ip link set lan1 up"], check=True)
    Path("/run/plugin-test").mkdir()
    plugin = subprocess.Popen([sys.executable, PLUGIN, "/run/docker/plugins/weave.sock", "/run/plugin-test"], stdout=subprocess.PIPE)
    plugin.stdout.readline()
    watch_the_loop()
    store = await open_store("/var/lib/berth-test")
    directory = Directory()
    settings = Settings(run_directory="/run/berth-test", pools6=(ula_pool("test"),))
    Path(settings.run_directory).mkdir()
    controller = assemble(settings, Records(store, "boot"), directory, reserved=lambda: (), clock=lambda: 1000.0)
    await restore(controller, Records(store, "boot"), 1000.0)
    a, _ = await controller.networks.create(NetworkRequest(name="a", ipv6=True))
    b, _ = await controller.networks.create(NetworkRequest(name="b"))
    sandbox, _ = await controller.sandboxes.create(SandboxRequest(name="s", networks=(EndpointRequest(network="a"),), publish=("8080:80",)))
    breaker = Breaker()
    failures, tried = [], {}

    async def world():
        hosts = Path(controller.files_of(sandbox.id), "hosts").read_text()
        pools = {item.name: str(controller.pool_usage(item)) for item in controller.state.networks.values()}
        return kernel_state(), await store_state(store), {k: list(v) for k, v in directory.names.items()}, hosts, str(sorted(pools.items()))

    async def compare(before, what) -> None:
        after = await world()
        for _ in range(20):
            if after != before:
                await asyncio.sleep(0.05)
                after = await world()
        for i, (x, y) in enumerate(zip(before, after, strict=True)):
            if x != y:
                difference = "\n".join(set(str(x).splitlines()) ^ set(str(y).splitlines()))[:600]
                failures.append(f"{what} part {i}: {difference}")

    async def sweep(name, operation) -> None:
        for number in range(200):
            before = await world()
            breaker.arm(number)
            try:
                await operation()
            except NetcoreError as error:
                assert "ENOSPC" in str(error), error
            else:
                tried[name] = number
                breaker.at = -1
                return
            await compare(before, f"{name} step {number}")

    await sweep("network", lambda: controller.networks.create(NetworkRequest(name="c", ipv6=True)))
    await sweep("connect", lambda: controller.sandboxes.connect("s", EndpointRequest(network="b", gateway_priority=5)))
    await sweep(
        "sandbox",
        lambda: controller.sandboxes.create(
            SandboxRequest(name="t", networks=(EndpointRequest(network="a"), EndpointRequest(network="b")), publish=("9090:90/udp",))
        ),
    )
    via = next(a.pools[0].subnet.hosts()) + 76
    options = (("sysctls", "net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.IFNAME.disable_ipv6=1"),)
    await sweep(
        "router",
        lambda: controller.sandboxes.create(
            SandboxRequest(
                name="r",
                forwards=True,
                sysctls=("net.ipv4.ip_default_ttl=40",),
                networks=(
                    EndpointRequest(network="a", routes=(f"10.99.0.0/16={via}",), driver_options=options),
                    EndpointRequest(network="b"),
                ),
            )
        ),
    )
    await sweep("none", lambda: controller.sandboxes.create(SandboxRequest(name="n", networks=(EndpointRequest(network="none"),))))
    await controller.sandboxes.remove("n")
    lan = NetworkRequest(
        name="lan", driver="macvlan", ipv6=True, options=(("parent", "lan0"),), subnets=("10.50.0.0/24",), gateways=("10.50.0.254",)
    )
    await controller.networks.create(lan)
    await sweep("macvlan", lambda: controller.sandboxes.connect("s", EndpointRequest(network="lan", gateway_priority=7)))
    await controller.networks.create(NetworkRequest(name="bridge", predefined=True))
    await sweep(
        "default bridge",
        lambda: controller.sandboxes.create(
            SandboxRequest(name="d", networks=(EndpointRequest(network="bridge"),), publish=("[::1]:9191:90",))
        ),
    )
    await controller.networks.create(NetworkRequest(name="plugged", driver="weave", ipam_driver="weave"))
    await sweep(
        "plugin",
        lambda: controller.sandboxes.create(
            SandboxRequest(name="p", networks=(EndpointRequest(network="plugged"), EndpointRequest(network="b")))
        ),
    )
    # The other modes have no steps: a namespace that exists is pinned, then the names are opened.
    for mode in ("host", "container:s"):
        before = await world()
        directory.fails = True
        try:
            await controller.sandboxes.create(SandboxRequest(name="m", networks=(EndpointRequest(network=mode),)))
        except NetcoreError as error:
            tried[mode] = int("ENOSPC" in str(error))
        directory.fails = False
        await compare(before, f"{mode} names")
    # Teardown never stops: with any step failing, the sandbox and its names are gone, and the failure is reported.
    for number in range(3):
        breaker.arm(number)
        with contextlib.suppress(NetcoreError):
            await controller.sandboxes.disconnect("s", "b")
        if b.id in [item.network_id for item in controller.state.endpoints[sandbox.id]]:
            failures.append(f"disconnect with failing step {number} left the endpoint")
        breaker.at = -1
        await controller.sandboxes.connect("s", EndpointRequest(network="b"))
    for name in ("s", "t", "r", "d", "p"):
        await controller.sandboxes.remove(name)
    for name in ("a", "b", "c", "lan", "plugged"):
        await controller.networks.remove(name)
    await controller.networks.remove_unused_bridges()
    asked = [json.loads(line) for line in Path("/run/plugin-test/calls").read_text().splitlines()]
    for made, gone in (("CreateEndpoint", "DeleteEndpoint"), ("RequestPool", "ReleasePool"), ("RequestAddress", "ReleaseAddress")):
        counts = [sum(method.endswith(f".{name}") for method, _ in asked) for name in (made, gone)]
        if counts[0] != counts[1]:
            failures.append(f"plugin: {made} {counts[0]} times, {gone} {counts[1]} times")
    left = await store_state(store)
    if left or controller.parts.host_ports.held() or directory.names:
        failures.append(f"left behind: {list(left)} {controller.parts.host_ports.held()} {directory.names}")
    failures += [f"on the loop: {item}" for item in ON_THE_LOOP]
    json.dump({"failures": failures, "tried": tried}, sys.stdout)
    await controller.close()
    await store.close()
    plugin.kill()


asyncio.run(main())
