"""Run inside a lab: a controller beside a real kernel whose late deletes wait until they are asked for; print JSON of what was seen.

The argument names the part. *killed*: ends without a word between the reply and the delete, for the part *started* to find it.
Workers.later is wrapped from outside; the product has no hook for this.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from netcore.controller import Controller
from netcore.controller.assembly import assemble
from netcore.controller.recovery import recall, restore
from netcore.controller.settings import Settings
from netcore.controller.workers import Workers
from netcore.desired.diff import Step, diff
from netcore.desired.objects import Veth
from netcore.errors import KernelError
from netcore.kernel import rtnl
from netcore.kernel.apply import Executor
from netcore.kernel.deferred_deletes import DeferredDeletes, is_leaving
from netcore.kernel.netlink import ROUTE, NetlinkSocket
from netcore.model import EndpointRequest, NetworkRequest, SandboxRequest
from netcore.store.records import Records
from netcore.store.sqlite import open_store
from tests.support.fakes import Failing, FakeNames

SUBNET = "10.44.0.0/24"
NETWORK = NetworkRequest(name="n", subnets=(SUBNET,), options=(("name", "bra"),))
ADDRESS = IPv4Address("10.44.0.9")
PAIRS = 1000


def sh(script: str) -> str:
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False).stdout.strip()


def leaving() -> list[rtnl.Link]:
    with NetlinkSocket(ROUTE) as netlink:
        return [link for link in rtnl.links(netlink) if is_leaving(link.group)]


def inside(path: str, command: str) -> str:
    return sh(f"nsenter --net={path} {command}")


def pings(path: str, address: str) -> bool:
    return "1 received" in inside(path, f"ping -c 1 -w 5 {address}")


def add_flows(*addresses: object) -> None:
    for port, address in enumerate(addresses, 4000):
        ends = f"-s {address} -d 192.0.2.1 --sport {port} --dport 80"
        sh(f"conntrack -I -p tcp {ends} -t 600 --state ESTABLISHED")


def flows() -> list[str]:
    """Return the addresses that began the flows there are."""
    return sorted(line.split("src=")[1].split()[0] for line in sh("conntrack -L -p tcp --dport 80 2>/dev/null").splitlines())


async def start() -> tuple[Controller, Callable[[], Any]]:
    store = await open_store("/var/lib/berth-test")
    settings = Settings(run_directory="/run/berth-test", pools6=())
    Path(settings.run_directory).mkdir(exist_ok=True)
    records = Records(store, "boot")
    controller = assemble(settings, records, FakeNames(Failing()), reserved=lambda: (), clock=lambda: 1000.0)
    await restore(controller, records, await recall(controller, records), 1000.0)
    return controller, store.close


async def furnish(controller: Controller) -> None:
    await controller.networks.create(NETWORK)
    await controller.networks.create(NetworkRequest(name="m", subnets=("10.45.0.0/24",)))
    for name in ("s", "t"):
        await controller.sandboxes.create(SandboxRequest(name=name, networks=(EndpointRequest(network="m"),)))
    await controller.sandboxes.connect("s", EndpointRequest(network="n", ipv4=ADDRESS))


def path_of(controller: Controller, name: str) -> str:
    return controller.state.find_sandbox(name).netns_path


def address_of(controller: Controller, name: str) -> IPv4Address:
    """Return the address of a sandbox on the network m."""
    interface = controller.state.endpoints[controller.state.find_sandbox(name).id][0].ipv4
    assert interface is not None
    return interface.ip


def noted(executor: Executor) -> list[Sequence[Step]]:
    """Return where the steps of everything that is made from now on are noted."""
    noted: list[Sequence[Step]] = []
    original = executor.apply

    def apply(steps: Sequence[Step]) -> None:
        noted.append(steps)
        original(steps)

    setattr(executor, "apply", apply)  # noqa: B010
    return noted


def has_again(executor: Executor, steps: Sequence[Step]) -> bool:
    """Return whether *steps* of an endpoint that went can be carried out once more as they are, which a retry does."""
    try:
        executor.apply(steps)
    except KernelError:
        return False
    executor.remove(diff([step.after for step in steps if step.after is not None], ()), "the endpoint")
    return True


async def replied(controller: Controller) -> dict[str, Any]:
    """What is there when a disconnect has been answered, and then the address, the link's name and the bridge are used again."""
    steps = noted(controller.parts.executor)
    await furnish(controller)
    sandboxes, s, t = controller.sandboxes, path_of(controller, "s"), path_of(controller, "t")
    add_flows(ADDRESS)
    await sandboxes.disconnect("s", "n")
    connect = next(each for each in reversed(steps) if any(isinstance(step.after, Veth) for step in each))
    gone = leaving()
    result: dict[str, Any] = {
        "waiting": [(link.kind, link.up, link.master) for link in gone],
        "inside": inside(s, "ip -o link").count("gone-"),
        "has eth1": "eth1" in inside(s, "ip -o link"),
        "routes": inside(s, "ip route show 10.44.0.0/24"),
        "bindings": sh("nft list table bridge berth | grep -c 10.44.0.9"),
        "neighbors": sh("ip neigh show 10.44.0.9"),
        "names": [link.name == f"gone-{link.index}" for link in gone],
        "flows": flows(),
        "the very same again": await asyncio.to_thread(has_again, controller.parts.executor, connect),
    }
    await sandboxes.connect("t", EndpointRequest(network="n", ipv4=ADDRESS))
    await sandboxes.connect("s", EndpointRequest(network="n"))
    result["flows of the address again"] = flows()
    result["name again"] = [endpoint.ifname for endpoint in controller.state.endpoints[controller.state.find_sandbox("s").id]]
    result["address again"] = pings(s, "10.44.0.9")
    await controller.wait_for_deletes()
    result["address still"] = pings(s, "10.44.0.9") and pings(t, "10.44.0.1")
    result["left"] = len(leaving())
    add_flows(ADDRESS)
    for name in ("s", "t"):
        await sandboxes.disconnect(name, "n")
    await controller.networks.remove("n")
    result["bridge"] = sorted((link.kind, link.up) for link in leaving())
    result["bridge's addresses"] = sh("ip -o addr | grep -c 10.44.0.1/24")
    await controller.networks.create(NETWORK)
    await sandboxes.connect("s", EndpointRequest(network="n"))
    await sandboxes.connect("t", EndpointRequest(network="n", ipv4=ADDRESS))
    result["network again"] = pings(s, "10.44.0.9") and pings(s, "10.44.0.1")
    add_flows(ADDRESS)
    await sandboxes.remove("t")
    await controller.wait_for_deletes()
    result["flows in the end"] = flows()
    result["network still"] = pings(s, "10.44.0.1")
    result["left in the end"] = len(leaving())
    return result


async def killed(controller: Controller) -> dict[str, Any]:
    await furnish(controller)
    address = address_of(controller, "t")
    await controller.sandboxes.remove("t")
    # Somebody has the address again, which is still recorded as resting.
    await controller.sandboxes.create(SandboxRequest(name="u", networks=(EndpointRequest(network="m", ipv4=address),)))
    add_flows(ADDRESS, address_of(controller, "s"), address)
    await controller.sandboxes.disconnect("s", "n")
    await controller.networks.remove("n")
    sh("ip link add other type bridge; ip link set other group 7")
    json.dump({"waiting": sorted(link.kind for link in leaving()), "flows": flows()}, sys.stdout)
    sys.stdout.flush()
    os._exit(0)


async def started(controller: Controller) -> dict[str, Any]:
    s, flows_left = path_of(controller, "s"), flows()
    pairs = [link for link in leaving() if link.kind == "veth"]
    while leaving():
        await asyncio.sleep(0.02)
    await controller.networks.create(NETWORK)
    await controller.sandboxes.connect("s", EndpointRequest(network="n"))
    names = [endpoint.ifname for endpoint in controller.state.endpoints[controller.state.find_sandbox("s").id]]
    links = {link for link in sh("ip -o link | awk '{print $2}'").split() if link.startswith("veth")}
    works, other = pings(s, "10.44.0.1"), "other" in sh("ip link")
    return {"pairs": len(pairs), "flows": flows_left, "names": names, "works": works, "links": len(links), "other": other}


async def again(controller: Controller) -> dict[str, Any]:
    """Connect and disconnect one pair as fast as it goes, and make and remove one bridge, while links are deleted."""
    await furnish(controller)
    await controller.sandboxes.disconnect("s", "n")
    for _ in range(20):
        await controller.networks.remove("n")
        await controller.networks.create(NETWORK)
    await controller.sandboxes.connect("s", EndpointRequest(network="n", ipv4=ADDRESS))
    names = set()
    for _ in range(100):
        await controller.sandboxes.disconnect("s", "n")
        await controller.sandboxes.connect("s", EndpointRequest(network="n", ipv4=ADDRESS))
        names |= {endpoint.ifname for endpoint in controller.state.endpoints[controller.state.find_sandbox("s").id]}
    works = pings(path_of(controller, "s"), "10.44.0.1")
    # A bridge for itself waits for a moment without operations.
    await controller.wait_for_deletes()
    is_whole = works and pings(path_of(controller, "s"), "10.44.0.1")
    return {"names": sorted(names), "works": is_whole, "inside": inside(path_of(controller, "s"), "ip -o link").count("gone-")}


async def queued(controller: Controller) -> dict[str, Any]:
    """A thousand pairs and ten bridges wait, while a sandbox connects and disconnects."""
    await furnish(controller)
    deletes: DeferredDeletes = controller.parts.executor.deferred_deletes
    batch = "".join(f"link add q{number} type veth peer name p{number}\n" for number in range(PAIRS))
    batch += "".join(f"link add b{number} type bridge\n" for number in range(10))
    subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)
    with NetlinkSocket(ROUTE) as netlink:
        ours = {link.name: link.index for link in rtnl.links(netlink) if link.name[0] in "qb" and link.name[1:].isdigit()}
        for name, index in ours.items():
            group = deletes.pair_group() if name[0] == "q" else deletes.bridge_group()
            netlink.execute(rtnl.put_in_group(index, group, f"gone-{index}"))
            deletes.put(group)
    count = len(leaving())
    cycles = 0
    while leaving():
        await controller.sandboxes.disconnect("s", "n")
        await controller.sandboxes.connect("s", EndpointRequest(network="n", ipv4=ADDRESS))
        cycles += 1
        await asyncio.sleep(0.2)
    return {"waiting": count, "cycles": cycles, "works": pings(path_of(controller, "s"), "10.44.0.1")}


PARTS = {"replied": replied, "killed": killed, "started": started, "again": again, "queued": queued}


async def main(part: str) -> None:
    if part in ("replied", "killed"):
        setattr(Workers, "later", lambda *_: None)  # noqa: B010
    controller, close_store = await start()
    json.dump(await PARTS[part](controller), sys.stdout)
    await controller.close()
    await close_store()


asyncio.run(main(sys.argv[1]))
