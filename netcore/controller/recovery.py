"""Start of the controller: bring the kernel from whatever it holds to what the store says, by the one diff.

A pending record is an operation that a crash cut short: it is taken back to what was there before. Sandboxes whose
namespace or process is gone are removed. The firewall tables are made anew in one transaction, so that traffic never
meets a half-filled one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby

from netcore import drivers
from netcore.controller import Controller
from netcore.desired.diff import Step, diff
from netcore.desired.firewall import render_firewall
from netcore.desired.objects import Element, GuardedLink, KernelObject
from netcore.errors import NetcoreError
from netcore.kernel import netns, nft, process
from netcore.kernel.observe import observe
from netcore.model import Endpoint, Network, NetworkId, Sandbox, SandboxId
from netcore.plan import plans, published_ports
from netcore.plan.host_state import SandboxState
from netcore.store.records import EndpointsRecord, Everything, NetworkRecord, Records

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Leftovers:
    """What a crash or the end of a process left behind."""

    objects: list[KernelObject] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    endpoints: list[Endpoint] = field(default_factory=list)
    sandboxes: list[Sandbox] = field(default_factory=list)
    networks: list[Network] = field(default_factory=list)


async def restore(controller: Controller, records: Records, now: float) -> tuple[Sandbox, ...]:
    """Bring *controller* and the kernel to the state of the store; return the sandboxes that live on.

    Their resolvers and names are not up yet: see `serve`.
    """
    everything = await records.load()
    parts, state = controller.parts, controller.state
    for switched in everything.switched:
        parts.writer.put_switched(switched)
    for record in everything.networks:
        if not record.pending:
            # Known before the host is looked at, because their links are not the host's own.
            parts.writer.put_network(record.network)
    parts.host.changes.start()
    await parts.host.refresh()
    leftovers = _Leftovers()
    _restore_networks(controller, everything.networks, leftovers)
    await _restore_sandboxes(controller, everything, leftovers)
    await _restore_overlays(controller, records, everything, leftovers)
    await _restore_quarantined_addresses(controller, records, everything, now)
    desired, shared = state.lasting_objects(), state.uplink_objects(state.networks_here())
    for late in await controller.workers.run(lambda: _bring(controller, desired, shared, leftovers)):
        await parts.late_routes.wait(late)
    await _restore_uplinks(controller, everything)
    # A plugin may not be there yet, and the start does not wait for it.
    controller.workers.in_background(_tell_plugins(controller, leftovers))
    for network in leftovers.networks:
        await records.drop_network(network)
    for sandbox in leftovers.sandboxes:
        await controller.transaction.drop_sandbox(sandbox)
    for sandbox in [sandbox for sandbox in state.sandboxes.values() if sandbox.ended and not state.stack_users(sandbox.id)]:
        await controller.sandboxes.remove(sandbox.id)
    return tuple(state.sandboxes.values())


async def serve(controller: Controller, sandbox: Sandbox) -> None:
    """Publish the names of a sandbox that lives on and hold its ports; Conflict if a program took one meanwhile.

    Its resolver is open already.
    """
    parts, state = controller.parts, controller.state
    endpoints = state.endpoints[sandbox.id]
    await parts.names.update(sandbox, state.in_gateway_order(endpoints), state.networks)
    await controller.workers.run(lambda: parts.host_ports.claim(sandbox.ports))
    parts.relays.settle(sandbox.id, published_ports.proxies(endpoints))


def _restore_networks(controller: Controller, records: Iterable[NetworkRecord], leftovers: _Leftovers) -> None:
    for record in records:
        if record.pending:
            leftovers.networks.append(record.network)
            leftovers.objects += drivers.of(record.network).network_objects(record.network, controller.state.facts)
        else:
            controller.parts.addresses.adopt(record.network)


async def _restore_sandboxes(controller: Controller, everything: Everything, leftovers: _Leftovers) -> None:
    networks = controller.state.networks
    for record, endpoints in everything.sandboxes:
        sandbox = record.sandbox
        kept = _kept(endpoints, networks)
        if record.pending or not await controller.workers.run(lambda sandbox=sandbox: _lives(sandbox)):  # type: ignore[misc]
            leftovers.sandboxes.append(sandbox)
            controller.parts.writer.note_namespace(sandbox)
            kept = ()
            leftovers.steps += _given_back(controller, sandbox, [*endpoints.endpoints, *endpoints.before])
        else:
            controller.parts.writer.put_sandbox(SandboxState(sandbox, kept))
            for endpoint in kept:
                controller.parts.addresses.local.restore(endpoint)
        for endpoint in (*endpoints.endpoints, *endpoints.before):
            if endpoint not in kept and endpoint.network_id in networks:
                leftovers.objects += _host_side(controller, endpoint)
                leftovers.endpoints.append(endpoint)


def _given_back(controller: Controller, sandbox: Sandbox, endpoints: Iterable[Endpoint]) -> Iterable[Step]:
    """Return the steps that give an adopted namespace back what berth has taken from it: default routes, sysctls."""
    if not sandbox.adopted:
        return ()
    known = {endpoint.id: endpoint for endpoint in endpoints if endpoint.network_id in controller.state.networks}
    return plans.plan_removal(controller.state, SandboxState(sandbox, tuple(known.values()))).steps


def _kept(record: EndpointsRecord, networks: Iterable[NetworkId]) -> tuple[Endpoint, ...]:
    """Return the endpoints of the last finished operation, as far as their networks exist."""
    finished = record.before if record.pending else record.endpoints
    return tuple(endpoint for endpoint in finished if endpoint.network_id in networks)


def _host_side(controller: Controller, endpoint: Endpoint) -> Iterable[KernelObject]:
    """Return an endpoint's objects on the host; what is inside the sandbox goes with its link."""
    network = controller.state.networks[endpoint.network_id]
    objects = drivers.of(network).endpoint_objects(network, endpoint, controller.state.facts)
    return [kernel_object for kernel_object in objects if not isinstance(kernel_object, Element)]


def _lives(sandbox: Sandbox) -> bool:
    if not netns.is_pinned(sandbox.netns_path):
        return False
    if sandbox.owner is None:
        return True
    try:
        return process.start_time(sandbox.owner.pid) == sandbox.owner.start_time
    except NetcoreError:
        return False


async def _restore_overlays(controller: Controller, records: Records, everything: Everything, leftovers: _Leftovers) -> None:
    """Keep the overlay networks whose endpoints are still here; what other hosts publish of them comes later."""
    for record in everything.networks:
        network = record.network
        if not network.is_overlay:
            continue
        if controller.state.members(network.id):
            controller.overlays.restore(network)
        else:
            leftovers.objects += drivers.of(network).network_objects(network, controller.state.facts)
            controller.parts.writer.drop_network(network.id)
            await records.drop_network(network)


async def _restore_quarantined_addresses(controller: Controller, records: Records, everything: Everything, now: float) -> None:
    over = []
    for network_id, address, until in everything.quarantined:
        if until > now and network_id in controller.state.networks:
            controller.parts.addresses.local.quarantine(network_id, address, until)
        else:
            over.append((network_id, address))
    if over:
        await records.drop_quarantined(over)


async def _tell_plugins(controller: Controller, leftovers: _Leftovers) -> None:
    """Ask again for addresses in use; let plugins take back what nobody has any more."""
    await controller.parts.addresses.replay()
    await controller.parts.plugin_endpoints.undo(leftovers.endpoints)
    for network in leftovers.networks:
        await controller.networks.undo_by_plugins(network)


async def _restore_uplinks(controller: Controller, everything: Everything) -> None:
    """Let packets out again, or put back what the last run had switched on and nobody needs any more."""
    try:
        await controller.parts.uplinks.restore(everything.switched, controller.state.networks_here())
    except NetcoreError as error:
        log.error("this host's links are not as networks need them reason=%s", error)


def _bring(
    controller: Controller, desired: Iterable[KernelObject], shared: Iterable[KernelObject], leftovers: _Leftovers
) -> set[SandboxId]:
    """Remove what is left over, make what is missing, write the firewall anew. Reports and goes on at errors.

    *shared*: what is made later, but for its part in the firewall. Return the sandboxes with routes that wait for their link.
    """
    _restore_guard(controller, desired)
    waiting: set[SandboxId] = set()
    links = [kernel_object for kernel_object in leftovers.objects if not isinstance(kernel_object, Element)]
    kept = {kernel_object.key for kernel_object in desired}
    steps = [
        *leftovers.steps,
        *diff([kernel_object for kernel_object in links if kernel_object.key not in kept], ()),
        *diff(observe(desired, controller.netns_path), desired),
    ]
    steps = [step for step in steps if not isinstance(step.subject, Element)]
    # What is there but not as it should be is put right, not made a second time.
    for _, group in groupby(steps, key=lambda step: step.after is None):
        try:
            repairs = [Step(step.after, step.after) if step.before is None else step for step in group]
            late = controller.parts.executor.remove(repairs, "state of the last run")
            waiting |= {sandbox_id for step in late if (sandbox_id := step.lane.sandbox_id) is not None}
        except NetcoreError as error:
            log.error("state not restored completely reason=%s", error)
    if controller.settings.firewall:
        nft.apply_text(render_firewall([*desired, *shared]))
    return waiting


def _restore_guard(controller: Controller, desired: Iterable[KernelObject]) -> None:
    """Own the guard table of the last run, and make it fit. Without a firewall of ours nothing is marked, so it has to go."""
    try:
        controller.parts.guard.write(wanted.ifname for wanted in desired if isinstance(wanted, GuardedLink))
    except (NetcoreError, OSError) as error:
        if controller.settings.firewall:
            log.error("networks are not guarded against flushed firewall tables reason=%s", error)
