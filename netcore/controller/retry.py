"""Tries again to restore what is set aside: networks, endpoints on them, what sandboxes lack in the kernel."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from netcore.controller import Controller, firewall_rewrite, network_recovery
from netcore.controller.network_recovery import BROKEN
from netcore.controller.recovery import set_sandbox_aside
from netcore.desired.diff import Step
from netcore.errors import NetcoreError
from netcore.kernel.observe import observe
from netcore.model import Endpoint, Sandbox, SandboxId
from netcore.plan import leftovers
from netcore.plan.host_state import SandboxState
from netcore.store.records import Records


async def retry(controller: Controller, records: Records) -> list[Sandbox]:
    """Try everything that is set aside once more; return the sandboxes whose objects are all there, to be served."""
    # What else is set aside may not need the store.
    with contextlib.suppress(NetcoreError):
        await records.writes.settle()
    await network_recovery.retry(controller)
    await _retry_firewall(controller)
    for identity, waiting in records.kept_aside().items():
        endpoints = [endpoint for endpoint in waiting if endpoint.network_id in controller.state.networks]
        if endpoints:
            await _reconnect(controller, records, identity, endpoints)
    return [
        sandbox
        for aside in controller.set_aside.all("sandbox")
        if (sandbox := await _complete(controller, SandboxId(aside.id))) is not None
    ]


async def _retry_firewall(controller: Controller) -> None:
    if not controller.set_aside.all("firewall"):
        return
    try:
        await firewall_rewrite.rewrite(controller)
    except NetcoreError:
        return
    controller.set_aside.restored("firewall", "berth")


async def _reconnect(controller: Controller, records: Records, identity: SandboxId, endpoints: Sequence[Endpoint]) -> None:
    """Give a sandbox its endpoints back on networks that were set aside."""
    parts, state = controller.parts, controller.state
    keys = [f"sandbox:{identity}", *(f"network:{endpoint.network_id}" for endpoint in endpoints)]
    async with parts.locks.hold(keys):
        if identity not in state.sandboxes:
            return
        before = state.sandbox_state(identity)
        sandbox, after = before.sandbox, (*before.endpoints, *endpoints)
        try:
            wanted = state.objects_of(sandbox, after)
            had = state.objects_of(sandbox, before.endpoints)
            await controller.workers.run(
                lambda: parts.executor.apply(leftovers.repair_steps((*had, *observe(wanted, controller.netns_path)), wanted)),
            )
            for endpoint in endpoints:
                parts.addresses.local.restore(endpoint)
            left = [endpoint for endpoint in records.kept_aside().get(identity, ()) if endpoint not in endpoints]
            records.keep_aside(identity, left)
            await records.put_back(sandbox, after)
            parts.writer.put_sandbox(SandboxState(sandbox, after))
            await parts.overlays.publish(sandbox, endpoints)
            await parts.names.update(sandbox, state.in_gateway_order(after), state.networks)
        except BROKEN as error:
            set_sandbox_aside(controller, sandbox, f"it can't be connected again: {str(error) or type(error).__name__}")


async def _complete(controller: Controller, identity: SandboxId) -> Sandbox | None:
    """Make what a sandbox lacks in the kernel; return it if nothing is missing then."""
    parts, state = controller.parts, controller.state
    async with parts.locks.hold([f"sandbox:{identity}"]):
        if identity not in state.sandboxes:
            return None
        sandbox = state.sandboxes[identity]
        # On the loop: what is known of the state belongs to it.
        wanted = state.objects_of(sandbox, state.endpoints[identity])

        def body() -> Sequence[tuple[Step, Exception]]:
            steps = leftovers.repair_steps(observe(wanted, controller.netns_path), wanted)
            return parts.executor.attempt(leftovers.without_elements(steps)).failed

        try:
            await parts.files.mend(sandbox, state.directory_of(identity))
            failed = await controller.workers.run(body)
        except BROKEN as error:
            set_sandbox_aside(controller, sandbox, str(error) or type(error).__name__)
            return None
        if failed:
            step, why = failed[0]
            set_sandbox_aside(controller, sandbox, f"it lacks {step.describe()}: {why}")
            return None
        return sandbox
