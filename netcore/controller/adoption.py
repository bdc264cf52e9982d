"""Taking back what a lost state told of and what still exists: it is recorded, set aside, and restored by the next retry."""

from __future__ import annotations

from collections.abc import Sequence

from netcore.controller import Controller
from netcore.controller.set_aside import Aside
from netcore.errors import Conflict
from netcore.kernel import netns
from netcore.model import Endpoint, Network, Sandbox
from netcore.plan import restorable
from netcore.plan.host_state import SandboxState
from netcore.store.records import Records

_REASON = "it is being adopted"


async def adopt_network(controller: Controller, records: Records, network: Network) -> None:
    """Record *network* again; one that is known is done. Conflict if another has its name or a subnet of it."""
    async with controller.parts.locks.hold(["networks", f"network:{network.id}"]):
        if network.id in controller.state.networks or controller.set_aside.find("network", network.id) is not None:
            return
        reason = restorable.clashes(network, [*controller.state.networks.values()])
        if reason is not None:
            raise Conflict("network", network.name, because=reason)
        await records.put_network(network)
        controller.set_aside.put(Aside(kind="network", id=network.id, name=network.name, reason=_REASON, network=network))


async def adopt_sandbox(controller: Controller, records: Records, sandbox: Sandbox, endpoints: Sequence[Endpoint]) -> None:
    """Record *sandbox* again, with *endpoints*; one that is known is done. Conflict if another has its name, or its namespace is gone."""
    async with controller.parts.locks.hold([f"sandbox:{sandbox.id}"]):
        state = controller.state
        if sandbox.id in state.sandboxes:
            return
        if any(other.name == sandbox.name for other in state.sandboxes.values()):
            raise Conflict("sandbox", sandbox.name, "exists already; rename or remove it first")
        if not await controller.workers.run(lambda: netns.is_pinned(sandbox.netns_path)):
            raise Conflict("sandbox", sandbox.name, because=f"its namespace {sandbox.netns_path} is gone; remove its files")
        records.keep_aside(sandbox.id, endpoints)
        await records.put_all(sandbox, ())
        controller.parts.writer.put_sandbox(SandboxState(sandbox))
        controller.set_aside.put(Aside(kind="sandbox", id=sandbox.id, name=sandbox.name, reason=_REASON))
