"""Run inside a lab: count what each operation costs in sockets, netlink requests, namespace entries and commits; print JSON.

Counted once on a host with nothing else and once with *others* networks and sandboxes (the argument). What comes later by itself
(repeated announcements, flows of ports, the end of a removal in the store) is left out. The classes are wrapped from outside; the
product has no hook for this.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from netcore import limits
from netcore.controller import Controller, transaction
from netcore.controller.assembly import assemble
from netcore.controller.drift.kernel_objects import KernelObjectComparison
from netcore.controller.recovery import recall, restore
from netcore.controller.settings import Settings
from netcore.controller.workers import Workers
from netcore.drivers.bridge import BridgeDriver
from netcore.kernel import flow_filter, host, netns, rtnl
from netcore.kernel import netlink as netlink_module
from netcore.kernel.guard import Guard
from netcore.kernel.netlink import NetlinkSocket
from netcore.model import EndpointRequest, NetworkRequest, Sandbox, SandboxId, SandboxRequest
from netcore.plan import gateway, plans
from netcore.plan.drift import Concern, Part
from netcore.plan.host_state import HostState
from netcore.store.records import Records
from netcore.store.sqlite import open_store
from tests.support.fakes import Failing, FakeNames

COUNTS: Counter[str] = Counter()
QUEUES: dict[str, int] = {}


def count(owner: Any, name: str, what: Callable[..., dict[str, int]]) -> None:
    original = getattr(owner, name)

    def call(*arguments: Any, **more: Any) -> Any:
        COUNTS.update(what(*arguments))
        return original(*arguments, **more)

    setattr(owner, name, call)


def watch() -> None:
    count(netlink_module, "open_socket", lambda *_: {"sockets": 1})
    count(NetlinkSocket, "run", lambda _, requests: {"requests": len(requests)})
    count(NetlinkSocket, "run_transaction", lambda _, begin, requests, end: {"requests": len(requests), "transactions": 1})
    count(NetlinkSocket, "get", lambda *_: {"requests": 1})
    count(NetlinkSocket, "dump", lambda *_: {"dumps": 1})
    count(netns, "run_inside", lambda *_: {"entries": 1})
    # One thread for all of them.
    count(netns, "run_inside_each", lambda paths, _: {"entries": 1, "namespaces": len(paths)})
    count(netns, "create", lambda *_: {"entries": 1})
    count(netns, "create_unpinned", lambda *_: {"entries": 1})
    count(Workers, "run", lambda *_: {"hops": 1})
    # How often a port is asked whether it forwards depends on the machine's load.
    count(rtnl, "is_forwarding", lambda *_: {"requests": -1})
    count(host, "look", lambda *_: {"looks": 1})
    # Whoever goes through all networks asks which link each has.
    count(BridgeDriver, "host_link", lambda *_: {"links asked": 1})
    # What is worked out, and what to.
    for planning in (plans, transaction):
        count(planning, "diff", lambda *_: {"diffs": 1})
    count(gateway, "gateway_endpoints", lambda *_: {"ways out": 1})
    count(HostState, "members", lambda state, network_id: {"members looked at": state.indexes.count_of(network_id)})


def queues(sandboxes: Mapping[SandboxId, Sandbox]) -> dict[str, int]:
    """Return how many queues the veths have, here and inside."""
    commands = [
        ["ip", "-j", "-d", "link"],
        *(["nsenter", f"--net={sandbox.netns_path}", "ip", "-j", "-d", "link"] for sandbox in sandboxes.values()),
    ]
    links = [link for command in commands for link in json.loads(subprocess.run(command, capture_output=True, check=True).stdout)]
    veths = [link for link in links if link.get("linkinfo", {}).get("info_kind") == "veth" and not link["ifname"].startswith("up")]
    return {"veths": len(veths), "queues": sum(link["num_tx_queues"] + link["num_rx_queues"] for link in veths)}


async def main(others: int) -> None:
    setattr(Workers, "later", lambda *_: None)  # noqa: B010
    setattr(limits, "RECORD_REMOVALS_AFTER", 3600.0)  # noqa: B010
    store = await open_store("/var/lib/berth-test")
    count(store, "commit", lambda *_: {"commits": 1})
    settings = Settings(run_directory="/run/berth-test", pools6=())
    Path(settings.run_directory).mkdir()
    records = Records(store, "boot")
    controller = assemble(settings, records, FakeNames(Failing()), reserved=lambda: (), clock=lambda: 1000.0)
    await restore(controller, records, await recall(controller, records), 1000.0)
    flow_filter.honoured()
    watch()

    async def measure(result: dict[str, dict[str, int]], name: str, operation: Callable[[], Awaitable[object]]) -> None:
        COUNTS.clear()
        await operation()
        result[name] = {what: number for what, number in sorted(COUNTS.items()) if number}

    async def all_operations() -> dict[str, dict[str, int]]:
        result: dict[str, dict[str, int]] = {}
        networks, sandboxes = controller.networks, controller.sandboxes
        await measure(result, "create network", lambda: networks.create(NetworkRequest(name="n")))
        await measure(result, "create sandbox", lambda: sandboxes.create(SandboxRequest(name="s")))
        await measure(result, "connect", lambda: sandboxes.connect("s", EndpointRequest(network="n")))
        QUEUES.update(queues(controller.state.sandboxes))
        (sandbox,) = [one for one in controller.state.sandboxes.values() if one.name == "s"]
        (network,) = [one for one in controller.state.networks.values() if one.name == "n"]
        comparison = KernelObjectComparison(controller.parts)
        await measure(result, "compare sandbox", lambda: comparison.find(Concern(Part.SANDBOX, sandbox.id)))
        await measure(result, "compare network", lambda: comparison.find(Concern(Part.NETWORK, network.id)))
        await measure(result, "disconnect", lambda: sandboxes.disconnect("s", "n"))
        await measure(result, "connect to others", lambda: sandboxes.connect("s", EndpointRequest(network="first")))
        await measure(result, "remove sandbox", lambda: sandboxes.remove("s"))
        connected = SandboxRequest(name="s", networks=(EndpointRequest(network="first"),))
        await measure(result, "create connected sandbox", lambda: sandboxes.create(connected))
        await measure(result, "remove connected sandbox", lambda: sandboxes.remove("s"))
        await sandboxes.create(SandboxRequest(name="s"))
        local = controller.parts.addresses.local
        with mock.patch.object(local, "is_fresh", return_value=False):
            await measure(result, "connect with another's address", lambda: sandboxes.connect("s", EndpointRequest(network="first")))
        await sandboxes.remove("s")
        await measure(result, "remove network", lambda: networks.remove("n"))
        spares = controller.parts.files.spares
        spares.keep(1)
        await asyncio.to_thread(spares._make_one)
        await measure(result, "create sandbox from a spare", lambda: sandboxes.create(SandboxRequest(name="s")))
        assert spares.counts.hits, "none was taken"
        spares.counts.hits = 0
        spares.keep(0)
        await sandboxes.remove("s")
        return result

    async def add(to: Controller, names: Iterable[str]) -> None:
        for name in names:
            await to.networks.create(NetworkRequest(name=f"n{name}"))
            await to.sandboxes.create(
                SandboxRequest(name=name, networks=(EndpointRequest(network=f"n{name}"), EndpointRequest(network="first")))
            )

    async def start(*more: str) -> dict[str, int]:
        """Count what a start costs that finds everything as it should be; then make the sandboxes *more*."""
        await records.writes.settle()
        started = assemble(settings, records, FakeNames(Failing()), reserved=lambda: (), clock=lambda: 1000.0)
        COUNTS.clear()
        survivors = await restore(started, records, await recall(started, records), 1000.0)
        result = {**COUNTS, "sandboxes": len(survivors)}
        await add(started, more)
        await started.close()
        return {what: number for what, number in sorted(result.items()) if number}

    # What is done once, such as switching forwarding on, is not an operation's.
    await controller.networks.create(NetworkRequest(name="first"))
    await all_operations()
    alone = await all_operations()
    await add(controller, [f"s{number}" for number in range(others)])
    await all_operations()
    result = {"alone": alone, "among others": await all_operations(), **QUEUES}
    await controller.close()
    count(HostState, "objects_of", lambda *_: {"objects worked out": 1})
    count(Guard, "write", lambda *_: {"guard tables written": 1})
    result["starts"] = [await start(*(f"more{number}" for number in range(others))), await start()]
    json.dump(result, sys.stdout)
    await store.close()


asyncio.run(main(int(sys.argv[1])))
