"""How operations grow with the host: networks and sandboxes made through the controller, alone and beside many others.

    python -m benchmarks.growth [NETWORKS SANDBOXES]

Runs in a lab of its own. Milliseconds, median and quickest of 20; only the ratio within one run counts.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_network

from benchmarks.report import machine, table, write
from netcore.controller.assembly import assemble
from netcore.controller.recovery import recall, restore
from netcore.controller.settings import Settings
from netcore.model import EndpointRequest, NetworkRequest, SandboxRequest
from netcore.store.records import Records
from netcore.store.sqlite import open_store
from tests.support.fakes import Failing, FakeNames
from tests.support.lab import Lab

REPEAT = 20


async def measured(networks: int, sandboxes: int) -> None:
    """Print, as JSON, operation → samples, first alone and then beside that many networks and sandboxes."""
    store = await open_store("/var/lib/berth-bench")
    settings = Settings(run_directory="/run/berth-bench", pools4=((ip_network("10.64.0.0/10"), 24),))
    os.mkdir(settings.run_directory)
    records = Records(store, "boot")
    controller = assemble(settings, records, FakeNames(Failing()), reserved=lambda: (), clock=time.time)
    await restore(controller, records, await recall(controller, records), time.time())
    controller.follow_host(lambda *_: None)
    results: list[dict[str, list[float]]] = []

    async def measure() -> None:
        samples: dict[str, list[float]] = {}

        async def timed(name: str, operation: Callable[[], Awaitable[object]]) -> None:
            begun = time.perf_counter()
            await operation()
            samples.setdefault(name, []).append((time.perf_counter() - begun) * 1000)

        for _ in range(REPEAT):
            await timed("create network", lambda: controller.networks.create(NetworkRequest(name="x")))
            await timed("create sandbox", lambda: controller.sandboxes.create(SandboxRequest(name="y")))
            await timed("connect", lambda: controller.sandboxes.connect("y", EndpointRequest(network="x")))
            await timed("disconnect", lambda: controller.sandboxes.disconnect("y", "x"))
            await timed("remove sandbox", lambda: controller.sandboxes.remove("y"))
            await timed("remove network", lambda: controller.networks.remove("x"))
        results.append(samples)

    await measure()
    for number in range(networks):
        await controller.networks.create(NetworkRequest(name=f"n{number}"))
    for number in range(sandboxes):
        request = SandboxRequest(name=f"s{number}", networks=(EndpointRequest(network=f"n{number % networks}"),))
        await controller.sandboxes.create(request)
    # Until the announcements of all these have gone out.
    await asyncio.sleep(4)
    await measure()
    json.dump(results, sys.stdout)
    await controller.close()
    await store.close()


def main() -> None:
    if sys.argv[1:2] == ["--inside"]:
        asyncio.run(measured(int(sys.argv[2]), int(sys.argv[3])))
        return
    networks, sandboxes = (int(text) for text in (sys.argv[1:3] or ("300", "300")))
    with Lab() as lab:
        command = [sys.executable, "-m", "benchmarks.growth", "--inside", str(networks), str(sandboxes)]
        alone, beside = json.loads(lab.out(*command, timeout=900))
    rows = [
        [name, *(f"{value:.1f}" for value in (statistics.median(few), statistics.median(beside[name]), min(few), min(beside[name])))]
        for name, few in alone.items()
    ]
    print(table(["", "alone", f"beside {networks} networks, {sandboxes} sandboxes", "quickest alone", "quickest beside"], rows))
    print(write("growth", {"machine": machine(), "networks": networks, "sandboxes": sandboxes, "alone": alone, "beside": beside}))


if __name__ == "__main__":
    main()
