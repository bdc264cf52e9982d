"""Run in a namespace of its own: policies of ESP that somebody flushes or changes while a drift watch runs. Prints JSON.

There need be no ESP in this kernel: without keys there are policies only.
"""

import asyncio
import json
import subprocess
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

from netcore.cluster import encryption
from netcore.controller.assembly import assemble
from netcore.controller.settings import Settings
from netcore.kernel import xfrm
from netcore.model import NetworkId, RemoteEndpoint
from netcore.plan.drift import ENCRYPTION
from tests.support.networks import overlay_network, pool
from tests.support.waiting import until

OWN, PEER = ip_address("127.0.0.1"), ip_address("127.0.0.2")
DAMAGES = {
    "flushed": "ip xfrm policy flush",
    "deleted": "ip xfrm policy delete dir out src 127.0.0.1/32 dst 127.0.0.2/32 proto udp dport 4790",
    "without ESP": "ip xfrm policy update dir out src 127.0.0.1/32 dst 127.0.0.2/32 proto udp dport 4790",
}


async def main():
    unused: Any = None
    names: Any = SimpleNamespace(answer_waiting=lambda: None)
    alone: Any = SimpleNamespace(state=SimpleNamespace(keys={}), sending_key=lambda: None)
    controller = assemble(
        Settings(run_directory="/nowhere", vtep=OWN, firewall=False), unused, names, reserved=lambda: (), clock=lambda: 0.0
    )
    parts, told = controller.parts, []
    network = overlay_network("secret", pool("10.40.0.0/24", "10.40.0.1"), port=4790, encrypted=True)
    remote = RemoteEndpoint(
        id="y", network_id=NetworkId("secret"), node="y", names=("y",), vtep=PEER, mac="02:42:0a:28:00:02", addresses=()
    )
    controller.overlays.join(alone)
    parts.writer.put_network(network)
    parts.writer.activate(network.id, {remote.id: remote})
    await controller.overlays.encryption.settle()

    async def no_others(*, anew=False):
        return

    watch = controller.watch_drift(lambda action, what: told.append((action, what)), lambda _: None, [], no_others)
    watch.start()
    wanted = sorted(xfrm.read_own(encryption.REQUEST_ID), key=str)
    counts = {}
    for name, command in DAMAGES.items():
        told.clear()
        subprocess.run(command, shell=True, check=True)
        await until(lambda: sorted(xfrm.read_own(encryption.REQUEST_ID), key=str) == wanted)
        await until(lambda: any(what.startswith("esp") for _, what in told))
        counts[name] = sorted(f"{action} {what}" for action, what in told if what.startswith("esp"))
    left = [damage.describe() for damage in await watch.find(ENCRYPTION)]
    print(json.dumps({"wanted": len(wanted), "told": counts, "left": left}))
    await watch.close()
    await controller.workers.close()


asyncio.run(main())
