"""Run inside a lab: make every step of a create, connect, disconnect and sandbox create fail in turn; print JSON of what differed.

With the argument `store` every write of the store fails instead. Both are wrapped from outside; the product has no hook for this.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from netcore.controller import Controller
from netcore.controller.assembly import assemble
from netcore.controller.recovery import recall, restore
from netcore.controller.settings import Settings
from netcore.desired.diff import Step
from netcore.errors import KernelError, NetcoreError, Unavailable
from netcore.kernel import files, netlink, netns, nft, rtnl, sysctl
from netcore.kernel.apply import Executor
from netcore.model import EndpointRequest, NetworkRequest, SandboxRequest
from netcore.plan.ipam import ula_pool
from netcore.store.protocol import Store, Transaction
from netcore.store.records import Records
from netcore.store.sqlite import open_store
from tests.support.fakes import Failing, FakeNames
from tests.support.lab import IS_LEAVING, TABLES

PLUGIN = str(Path(__file__).with_name("docker_plugin.py"))

# Without what the kernel derives from carriers, and what it does later by itself.
STATE = """
ip -o link show | grep -v ': plug' | sed 's/^[0-9]*: //; s/@if[0-9]*//; s/NO-CARRIER,//; s/,LOWER_UP//; s/state [A-Z]*//' | sort; ip -o addr show | awk '{print $2,$4}' | sort
ip route show table all | grep -v -e fe80 -e ff00 | sed 's/ linkdown//' | sort; ip neigh show nud permanent | sort; ls /run/netns | sort
TABLES; ss -Hlntu | awk '{print $1,$5}' | sort
for n in $(ls /run/netns); do ip -n $n -o link show | sed 's/^[0-9]*: //; s/@if[0-9]*//'; ip -n $n -o addr | awk '{print $2,$4}'; ip -n $n route | sed 's/ linkdown//'; done
""".replace("TABLES", TABLES)


ON_THE_LOOP: list[str] = []


def watch_the_loop() -> None:
    """Note every netlink socket, namespace entry and sysctl write that happens on the loop's thread."""

    def watched(owner: object, name: str) -> None:
        original = getattr(owner, name)

        def call(*arguments: Any, **more: Any) -> Any:
            if threading.current_thread() is threading.main_thread():
                ON_THE_LOOP.append(f"{name} {arguments[1:2]}")
            return original(*arguments, **more)

        setattr(owner, name, call)

    watched(netlink.NetlinkSocket, "__init__")
    watched(netlink.NetlinkSocket, "run")
    watched(netns, "_on_own_thread")
    watched(sysctl, "write")
    watched(nft, "apply")
    watched(nft, "write_tables")
    watched(files, "write_in_place")


def break_steps() -> Failing:
    """Return what chooses the step that the executor fails at."""
    failing = Failing()
    original = getattr(Executor, "_run")  # noqa: B009 - the one place where each step passes, whatever carries it out

    def run(executor: Executor, sockets: Any, steps: Sequence[Step]) -> Iterator[tuple[Step, KernelError | None]]:
        for step in steps:
            try:
                failing.call(step.describe())
            except KernelError as error:
                yield step, error
                return
            yield from original(executor, sockets, [step])

    setattr(Executor, "_run", run)  # noqa: B010
    return failing


def break_writes(store: Store) -> Failing:
    """Return what chooses the write that the store refuses."""
    failing = Failing()
    original = store.commit

    async def commit(transaction: Transaction) -> int:
        try:
            failing.call(f"commit {sorted(transaction.writes)}")
        except KernelError as error:
            raise Unavailable("the state", "ENOSPC: database or disk is full") from error
        return await original(transaction)

    setattr(store, "commit", commit)  # noqa: B010
    return failing


@contextlib.contextmanager
def late_deletes_failing() -> Iterator[None]:
    """Have the kernel delete no group of links for the length of a block."""
    original = rtnl.delete_group
    # The kernel refuses to delete this link, with an error of its own.
    setattr(rtnl, "delete_group", lambda _: rtnl.delete_link("lo"))  # noqa: B010
    try:
        yield
    finally:
        setattr(rtnl, "delete_group", original)  # noqa: B010


def late_warnings(controller: Controller) -> tuple[str, ...]:
    return controller.parts.executor.deferred_deletes.warnings()


def leaving_links() -> bool:
    shown = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=False).stdout
    return IS_LEAVING.search(shown) is not None


def kernel_state() -> str:
    return subprocess.run(["sh", "-c", STATE], capture_output=True, text=True, check=False).stdout


async def store_state(store: Store) -> dict[str, bytes]:
    return {key: record.value for key, record in (await store.load()).items.items() if not key.startswith("rest/")}


World = tuple[str, dict[str, bytes], dict[str, list[str]], str, str]
"""What an operation that failed must leave as it was: kernel, store, published names, a hosts file, addresses in use."""


async def main() -> None:
    subprocess.run(["sh", "-c", "ip link add lan0 type veth peer name lan1; ip link set lan0 up; ip link set lan1 up"], check=True)
    Path("/run/plugin-test").mkdir()
    plugin = subprocess.Popen([sys.executable, PLUGIN, "/run/docker/plugins/weave.sock", "/run/plugin-test"], stdout=subprocess.PIPE)
    assert plugin.stdout is not None
    plugin.stdout.readline()
    watch_the_loop()
    store = await open_store("/var/lib/berth-test")
    names_failing = Failing()
    names = FakeNames(names_failing)
    settings = Settings(run_directory="/run/berth-test", pools6=(ula_pool("test"),))
    Path(settings.run_directory).mkdir()
    records = Records(store, "boot")
    controller = assemble(settings, records, names, reserved=lambda: (), clock=lambda: 1000.0)
    await restore(controller, records, await recall(controller, records), 1000.0)
    a, _ = await controller.networks.create(NetworkRequest(name="a", ipv6=True))
    b, _ = await controller.networks.create(NetworkRequest(name="b"))
    sandbox, _ = await controller.sandboxes.create(SandboxRequest(name="s", networks=(EndpointRequest(network="a"),), publish=("8080:80",)))
    breaks_store = sys.argv[1:] == ["store"]
    failing = break_writes(store) if breaks_store else break_steps()
    failures: list[str] = []
    tried: dict[str, int] = {}

    async def world() -> World:
        await controller.wait_for_deletes()
        hosts = Path(controller.files_of(sandbox.id), "hosts").read_text()
        pools = {network.name: str(controller.pool_usage(network)) for network in controller.state.networks.values()}
        return (
            kernel_state(),
            await store_state(store),
            {key: list(value) for key, value in names.names.items()},
            hosts,
            str(sorted(pools.items())),
        )

    async def compare(before: World, what: str) -> None:
        # What the store still has of an operation that was undone goes with the next write.
        failing.arm(-1)
        await records.writes.settle()
        end = time.monotonic() + 30
        while (after := await world()) != before and time.monotonic() < end:
            await asyncio.sleep(0.05)
        for number, (was, now) in enumerate(zip(before, after, strict=True)):
            if was != now:
                difference = "\n".join(set(str(was).splitlines()) ^ set(str(now).splitlines()))[:600]
                failures.append(f"{what} part {number}: {difference}")

    async def sweep(name: str, operation: Callable[[], Awaitable[object]]) -> None:
        for number in range(200):
            await records.writes.settle()
            before = await world()
            failing.arm(number)
            try:
                await operation()
            except NetcoreError as error:
                assert "ENOSPC" in str(error), error
            else:
                tried[name] = number
                failing.arm(-1)
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
        names_failing.arm(0)
        try:
            await controller.sandboxes.create(SandboxRequest(name="m", networks=(EndpointRequest(network=mode),)))
        except NetcoreError as error:
            tried[mode] = int("ENOSPC" in str(error))
        names_failing.arm(-1)
        await compare(before, f"{mode} names")
    if breaks_store:
        # Once the store has the intent of a removal, it happens.
        await sweep("disconnect", lambda: controller.sandboxes.disconnect("s", "b"))
        await sweep("connect again", lambda: controller.sandboxes.connect("s", EndpointRequest(network="b")))
        await sweep("rm", lambda: controller.sandboxes.remove("t"))
        await sweep("network rm", lambda: controller.networks.remove("c"))
        await sweep("network again", lambda: controller.networks.create(NetworkRequest(name="c")))
        await sweep("run again", lambda: controller.sandboxes.create(SandboxRequest(name="t", networks=(EndpointRequest(network="c"),))))
    # Teardown never stops: with any step failing, the sandbox and its names are gone, and the failure is reported.
    for number in range(0 if breaks_store else 3):
        failing.arm(number)
        with contextlib.suppress(NetcoreError):
            await controller.sandboxes.disconnect("s", "b")
        if b.id in [endpoint.network_id for endpoint in controller.state.endpoints[sandbox.id]]:
            failures.append(f"disconnect with failing step {number} left the endpoint")
        failing.arm(-1)
        await controller.sandboxes.connect("s", EndpointRequest(network="b"))
    # A late delete that fails is tried again; nobody is told but the log and the status.
    with late_deletes_failing():
        await controller.sandboxes.disconnect("s", "b")
        await controller.networks.create(NetworkRequest(name="brief"))
        await controller.networks.remove("brief")
        while len(late_warnings(controller)) == 0:
            await asyncio.sleep(0.02)
        await controller.sandboxes.connect("s", EndpointRequest(network="b"))
    while late_warnings(controller) or leaving_links():
        await asyncio.sleep(0.02)
    tried["late delete"] = 1
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
    await records.writes.settle()
    left = await store_state(store)
    if left or controller.parts.host_ports.held() or names.names:
        failures.append(f"left behind: {list(left)} {controller.parts.host_ports.held()} {names.names}")
    failures += [f"on the loop: {call}" for call in ON_THE_LOOP]
    json.dump({"failures": failures, "tried": tried}, sys.stdout)
    await controller.close()
    await store.close()
    plugin.kill()


asyncio.run(main())
