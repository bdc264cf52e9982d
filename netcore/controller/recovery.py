"""Start of the controller: bring the kernel from whatever it holds to what the store says, by the one diff.

A pending record is an operation that a crash cut short: it is taken back to what was there before. Sandboxes whose
namespace or process is gone are removed. The firewall tables are made anew in one transaction, so that traffic never
meets a half-filled one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from netcore import drivers
from netcore.controller import Controller
from netcore.desired.diff import Step, diff
from netcore.desired.firewall import render_firewall
from netcore.desired.objects import Element, KernelObject
from netcore.errors import NetcoreError
from netcore.kernel import netns, nft, process
from netcore.kernel.observe import observe
from netcore.model import Endpoint, Network, NetworkId, Sandbox, SandboxId
from netcore.plan import plans, published_ports
from netcore.plan.host_state import SandboxState
from netcore.store.records import EndpointsRecord, Everything, Records

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Recalled:
    """What the store says, and what of it a crash or the end of a process left behind. *overlays*: that nobody here is on any more."""

    everything: Everything
    objects: list[KernelObject] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    endpoints: list[Endpoint] = field(default_factory=list)
    sandboxes: list[Sandbox] = field(default_factory=list)
    gone: list[tuple[Sandbox, Sequence[Endpoint]]] = field(default_factory=list)
    networks: list[Network] = field(default_factory=list)
    overlays: list[Network] = field(default_factory=list)


async def recall(controller: Controller, records: Records) -> Recalled:
    """Bring the state of *controller* to what the store says. Nothing of the kernel is changed, nor looked at but for what lives.

    From then on the names of sandboxes that live on can be published.
    """
    everything = await records.load()
    for switched in everything.switched:
        controller.parts.writer.put_switched(switched)
    for record in everything.networks:
        if not record.pending:
            # Known before the host is looked at, because their links are not the host's own.
            controller.parts.writer.put_network(record.network)
            controller.parts.addresses.adopt(record.network)
    recalled = Recalled(everything)
    await _recall_sandboxes(controller, everything, recalled)
    _recall_overlays(controller, everything, recalled)
    return recalled


async def restore(controller: Controller, records: Records, leftovers: Recalled, now: float) -> tuple[Sandbox, ...]:
    """Bring the kernel to the state that was recalled; return the sandboxes that live on. Their ports are not held yet: see `serve`."""
    parts, state, everything = controller.parts, controller.state, leftovers.everything
    parts.host.changes.start()
    await parts.host.refresh()
    _collect_objects(controller, leftovers)
    for network in leftovers.overlays:
        parts.writer.drop_network(network.id)
        await records.drop_network(network)
    await _restore_quarantined_addresses(controller, records, everything, now)
    desired, shared = state.all_objects(), state.uplink_objects(state.networks_here())
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
    """Hold the ports of a sandbox that lives on; Conflict if a program took one meanwhile. Its names are published already."""
    parts, endpoints = controller.parts, controller.state.endpoints[sandbox.id]
    await controller.workers.run(lambda: parts.host_ports.go_on(sandbox.ports))
    await controller.workers.run(lambda: parts.host_ports.claim(sandbox.ports))
    parts.relays.settle(sandbox.id, published_ports.proxies(endpoints))
    parts.host_ports.block_unopened(sandbox.ports)


def _collect_objects(controller: Controller, leftovers: Recalled) -> None:
    """Find out what of the kernel is left over. The host has been looked at."""
    facts = controller.state.facts
    for record in leftovers.everything.networks:
        if record.pending:
            leftovers.networks.append(record.network)
            leftovers.objects += drivers.of(record.network).network_objects(record.network, facts)
    for endpoint in leftovers.endpoints:
        leftovers.objects += _host_side(controller, endpoint)
    for sandbox, endpoints in leftovers.gone:
        leftovers.steps += _given_back(controller, sandbox, endpoints)
    for network in leftovers.overlays:
        leftovers.objects += drivers.of(network).network_objects(network, facts)


async def _recall_sandboxes(controller: Controller, everything: Everything, leftovers: Recalled) -> None:
    networks = controller.state.networks
    living = await controller.workers.run(lambda: [_lives(record.sandbox) for record, _ in everything.sandboxes])
    for (record, endpoints), lives in zip(everything.sandboxes, living, strict=True):
        sandbox = record.sandbox
        kept = _kept(endpoints, networks)
        if record.pending or not lives:
            leftovers.sandboxes.append(sandbox)
            controller.parts.writer.note_namespace(sandbox)
            kept = ()
            leftovers.gone.append((sandbox, (*endpoints.endpoints, *endpoints.before)))
        else:
            controller.parts.writer.put_sandbox(SandboxState(sandbox, kept))
            for endpoint in kept:
                controller.parts.addresses.local.restore(endpoint)
        for endpoint in (*endpoints.endpoints, *endpoints.before):
            if endpoint not in kept and endpoint.network_id in networks:
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


def _recall_overlays(controller: Controller, everything: Everything, leftovers: Recalled) -> None:
    """Keep the overlay networks whose endpoints are still here; what other hosts publish of them comes later."""
    for record in everything.networks:
        network = record.network
        if not network.is_overlay:
            continue
        if controller.state.members(network.id):
            controller.overlays.restore(network)
        else:
            leftovers.overlays.append(network)


async def _restore_quarantined_addresses(controller: Controller, records: Records, everything: Everything, now: float) -> None:
    over = []
    for network_id, address, until in everything.quarantined:
        if until > now and network_id in controller.state.networks:
            controller.parts.addresses.local.quarantine(network_id, address, until)
        else:
            over.append((network_id, address))
    if over:
        await records.drop_quarantined(over)


async def _tell_plugins(controller: Controller, leftovers: Recalled) -> None:
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


def _bring(controller: Controller, desired: Iterable[KernelObject], shared: Iterable[KernelObject], leftovers: Recalled) -> set[SandboxId]:
    """Remove what is left over, make what is missing, write the firewall anew. Reports and goes on at errors.

    *shared*: what is made later, but for its part in the firewall. Return the sandboxes with routes that wait for their link.
    """
    waiting: set[SandboxId] = set()
    links = [kernel_object for kernel_object in leftovers.objects if not isinstance(kernel_object, Element)]
    kept = {kernel_object.key for kernel_object in desired}
    if controller.settings.firewall:
        # Before the links: a port that comes up is bound already.
        nft.apply_text(render_firewall([*desired, *shared]))
    steps = [
        *leftovers.steps,
        *diff([kernel_object for kernel_object in links if kernel_object.key not in kept], ()),
        *diff(observe(desired, controller.netns_path), desired),
    ]
    steps = [step for step in steps if not isinstance(step.subject, Element)]
    for _, group in groupby(steps, key=lambda step: step.after is None):
        try:
            late = controller.parts.executor.remove(list(group), "state of the last run")
            waiting |= {sandbox_id for step in late if (sandbox_id := step.lane.sandbox_id) is not None}
        except NetcoreError as error:
            log.error("state not restored completely reason=%s", error)
    return waiting
