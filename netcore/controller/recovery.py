"""Start of the controller: bring the kernel from whatever it holds to what the store says, by the one diff.

A pending record is an operation that a crash cut short: it is taken back to what was there before. What was being removed or
disconnected is removed. Sandboxes whose namespace or process is gone are removed. The firewall tables are made anew in one
transaction, so that traffic never meets a half-filled one.

What can't be restored is set aside with its reason, and keeps nothing else from being restored; see `retry`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from netcore import limits
from netcore.controller import Controller, network_recovery
from netcore.controller.network_recovery import BROKEN
from netcore.controller.plugin_endpoints import plugin_of
from netcore.controller.recalled_objects import RecalledObjects
from netcore.controller.set_aside import Aside
from netcore.desired.diff import Step
from netcore.desired.flows import Flows, stale_flows
from netcore.errors import NetcoreError
from netcore.kernel import netns, process
from netcore.kernel.apply import Attempted
from netcore.kernel.inventory import NamespaceInventory
from netcore.kernel.observe import observe
from netcore.model import Endpoint, IPAddress, Network, NetworkId, Sandbox, SandboxId
from netcore.plan import leftovers, plans, published_ports
from netcore.plan.host_state import SandboxState
from netcore.store.records import EndpointsRecord, Everything, Records, SandboxRecord

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recalled:
    """What the store says. *pending*: networks that were being made or removed. *living*, *gone*: sandboxes by what became of them.

    *objects*: what must exist for them.
    """

    everything: Everything
    networks: Sequence[Network]
    pending: Sequence[Network]
    living: Sequence[tuple[Sandbox, EndpointsRecord]]
    gone: Sequence[tuple[Sandbox, EndpointsRecord]]
    objects: RecalledObjects


@dataclass(slots=True)
class _Leftovers:
    """What a crash or the end of a process left behind, and the steps that remove it from the kernel.

    *settled*: sandboxes that live on, whose records still tell of an operation that was cut short.
    """

    steps: list[Step] = field(default_factory=list)
    endpoints: list[Endpoint] = field(default_factory=list)
    sandboxes: list[Sandbox] = field(default_factory=list)
    networks: list[Network] = field(default_factory=list)
    settled: list[SandboxState] = field(default_factory=list)


async def recall(controller: Controller, records: Records) -> Recalled:
    """Bring the state of *controller* to what the store says. Nothing of the kernel is changed, nor looked at but for what lives.

    From then on the names of sandboxes that live on can be published.
    """
    everything = await records.load()
    for unreadable in everything.unreadable:
        controller.set_aside.put_unreadable(unreadable)
    for switched in everything.switched:
        controller.parts.writer.put_switched(switched)
    networks = network_recovery.add_sensible(controller, [record.network for record in everything.networks if not record.pending])
    objects = RecalledObjects(controller.state)
    living, gone = await _recall_sandboxes(controller, everything, objects)
    for network in networks:
        if network.is_overlay and _is_used(controller, network):
            # What other hosts publish of it comes later.
            controller.overlays.restore(network)
    return Recalled(everything, networks, [record.network for record in everything.networks if record.pending], living, gone, objects)


async def restore(controller: Controller, records: Records, recalled: Recalled, now: float) -> tuple[Sandbox, ...]:
    """Bring the kernel to the state that was recalled; return the sandboxes that live on. Their ports are not held yet: see `serve`.

    What turns out not to be restorable loses the names that were published since `recall`.
    """
    parts, state, everything = controller.parts, controller.state, recalled.everything
    before = dict(state.endpoints)
    # Known before the host is looked at, because their links are not the host's own.
    left = _Leftovers(networks=network_recovery.add_sensible(controller, recalled.pending))
    try:
        # Before links are compared: their names may be needed, and no record tells of them.
        await controller.workers.run(parts.executor.deferred_deletes.take_over)
    except (NetcoreError, OSError) as error:
        log.error("state not restored completely reason=%s", error)
    parts.host.changes.start()
    await parts.host.refresh()
    await records.put_untold(networks=[network for network in left.networks if _is_of_plugins(network)])
    for network in left.networks:
        await _drop_network(controller, records, network)
    host = await network_recovery.restore(controller, recalled.networks)
    await _restore_sandboxes(controller, records, recalled, left)
    await _drop_unused_overlays(controller, records)
    await _withdraw(controller, recalled, before)
    over = _restore_quarantined_addresses(controller, everything, now)
    await _bring(controller, recalled.objects, left, host, _flows_left(left, everything))
    if over:
        # Only now: until their flows are forgotten, these records tell of them.
        await records.drop_quarantined(over)
    await _restore_uplinks(controller, everything)
    await _forget(controller, records, left)
    if everything.pins and not everything.unreadable:
        await records.drop_pins(everything.pins)
    # A plugin may not be there yet, and the start does not wait for it.
    controller.workers.in_background(_tell_plugins(controller, records, left, everything))
    await remove_ended(controller)
    return tuple(state.sandboxes.values())


async def remove_ended(controller: Controller) -> None:
    """Remove the sandboxes that have ended and whose network stack nobody shares any more, as far as that can be recorded now."""
    state = controller.state
    for sandbox in [sandbox for sandbox in state.sandboxes.values() if sandbox.ended and not state.stack_users(sandbox.id)]:
        try:
            await controller.sandboxes.remove(sandbox.id)
        except NetcoreError as error:
            log.error("a sandbox that has ended is not removed sandbox=%s reason=%s", sandbox.name, error)


async def _withdraw(controller: Controller, recalled: Recalled, before: Mapping[SandboxId, Sequence[Endpoint]]) -> None:
    """Withdraw the names of what is not part of the state any more. *before*: the endpoints that were recalled."""
    names, state = controller.parts.names, controller.state
    for sandbox, _ in recalled.living:
        if sandbox.id not in state.sandboxes:
            await names.close(sandbox)
        elif state.endpoints[sandbox.id] != before.get(sandbox.id):
            try:
                await names.update(sandbox, state.in_gateway_order(state.endpoints[sandbox.id]), state.networks)
            except (NetcoreError, OSError) as error:
                set_sandbox_aside(controller, sandbox, f"its names are not complete: {error}")
    for network in recalled.networks:
        if network.id not in state.networks:
            await names.network_down(network)


async def serve(controller: Controller, sandbox: Sandbox) -> None:
    """Hold the ports of a sandbox that lives on; Conflict if a program took one meanwhile. Its names are published already."""
    parts, endpoints = controller.parts, controller.state.endpoints[sandbox.id]

    def hold() -> None:
        parts.host_ports.go_on(sandbox.ports)
        parts.host_ports.claim(sandbox.ports)

    if sandbox.ports:
        await controller.workers.run(hold)
    parts.relays.settle(sandbox.id, published_ports.proxies(endpoints, everything=bool(parts.settings.edge)))
    parts.host_ports.block_unopened(sandbox.ports)


def set_sandbox_aside(controller: Controller, sandbox: Sandbox, reason: str, endpoints: tuple[Endpoint, ...] = ()) -> None:
    """Note that *sandbox* is not whole, and why; what is whole of it goes on. *endpoints*: of one that is no part of the state."""
    controller.set_aside.put(Aside(kind="sandbox", id=sandbox.id, name=sandbox.name, reason=reason, endpoints=endpoints))


# --- sandboxes ------------------------------------------------------------------------------------------------------


async def _recall_sandboxes(
    controller: Controller, everything: Everything, objects: RecalledObjects
) -> tuple[list[tuple[Sandbox, EndpointsRecord]], list[tuple[Sandbox, EndpointsRecord]]]:
    """Put the sandboxes that live on into the state, with what their records say; return them, and those that don't live on."""
    found = everything.sandboxes
    conditions = await controller.workers.run(lambda: [_condition(record) for record, _ in found])
    shared = {record.sandbox.shared_with for (record, _), (lives, _) in zip(found, conditions, strict=True) if lives}
    living, gone = [], []
    for (record, endpoints), (lives, is_pinned) in zip(found, conditions, strict=True):
        sandbox = record.sandbox
        if not lives and is_pinned and not record.pending and sandbox.id in shared:
            # It has ended, but for its network stack, which others share.
            sandbox, lives = replace(sandbox, ended=True), True
        if sandbox.ended:
            sandbox, endpoints = _ended(sandbox, endpoints)
        if not lives:
            gone.append((sandbox, endpoints))
            continue
        try:
            kept = _kept(controller, endpoints)
            # A record that makes no sense fails here, before anything is published.
            objects.of(sandbox, kept)
        except BROKEN as error:
            _set_record_aside(controller, sandbox, endpoints, error)
        else:
            controller.parts.writer.put_sandbox(SandboxState(sandbox, kept))
            living.append((sandbox, endpoints))
    return living, gone


async def _restore_sandboxes(controller: Controller, records: Records, recalled: Recalled, left: _Leftovers) -> None:
    living = [sandbox for sandbox, _ in recalled.living]
    everything, directory_of = recalled.everything, controller.state.directory_of
    pins = None if everything.unreadable else everything.pins
    mended = await controller.parts.files.mend_each([(sandbox, directory_of(sandbox.id)) for sandbox in living], pins)
    for (sandbox, endpoints), failure in zip(recalled.living, mended, strict=True):
        match failure:
            case None:
                pass
            case NetcoreError() | OSError():
                # Its traffic and its names need none of them.
                told = f"{failure.strerror}: {failure.filename}" if isinstance(failure, OSError) else str(failure)
                set_sandbox_aside(controller, sandbox, f"its files can't be written: {told}")
            case _:
                raise failure
        try:
            _restore_sandbox(controller, records, sandbox, endpoints, recalled.objects, left)
        except BROKEN as error:
            controller.parts.writer.drop_sandbox(sandbox.id)
            _set_record_aside(controller, sandbox, endpoints, error)
    for sandbox, endpoints in recalled.gone:
        try:
            _give_up_sandbox(controller, sandbox, endpoints, left)
        except BROKEN as error:
            _set_record_aside(controller, sandbox, endpoints, error)


def _set_record_aside(controller: Controller, sandbox: Sandbox, record: EndpointsRecord, error: Exception) -> None:
    set_sandbox_aside(controller, sandbox, f"it can't be restored: {str(error) or type(error).__name__}", _finished(record))


def _finished(record: EndpointsRecord) -> tuple[Endpoint, ...]:
    return leftovers.finished(record.endpoints, record.before, pending=record.pending)


def _kept(controller: Controller, record: EndpointsRecord) -> tuple[Endpoint, ...]:
    """Return the endpoints of the last finished operation, as far as their networks are there."""
    return tuple(endpoint for endpoint in _finished(record) if endpoint.network_id in controller.state.networks)


def _ended(sandbox: Sandbox, record: EndpointsRecord) -> tuple[Sandbox, EndpointsRecord]:
    """Return a sandbox of which only the network stack is left, which publishes nothing, and the record of its endpoints."""
    now, before = (plans.ended(SandboxState(sandbox, endpoints)) for endpoints in (record.endpoints, record.before))
    return now.sandbox, replace(record, endpoints=now.endpoints, before=before.endpoints)


def _condition(record: SandboxRecord) -> tuple[bool, bool]:
    """Return whether a sandbox lives on, and whether its namespace is pinned."""
    sandbox = record.sandbox
    if not netns.is_pinned(sandbox.netns_path):
        return False, False
    if record.pending:
        return False, True
    try:
        return sandbox.owner is None or process.start_time(sandbox.owner.pid) == sandbox.owner.start_time, True
    except NetcoreError:
        return False, True


def _restore_sandbox(
    controller: Controller, records: Records, sandbox: Sandbox, record: EndpointsRecord, objects: RecalledObjects, left: _Leftovers
) -> None:
    parts, state = controller.parts, controller.state
    every = (*record.endpoints, *record.before, *record.gone)
    kept = _kept(controller, record)
    aside = {one.id for one in controller.set_aside.all("network")}
    waiting = tuple(endpoint for endpoint in _finished(record) if endpoint.network_id in aside)
    gone = leftovers.unfinished((*kept, *waiting), every, state.networks)
    # A record that makes no sense fails here, before anything has been taken.
    objects.of(sandbox, kept)
    is_unsettled = record.pending or bool(record.gone)
    steps = leftovers.steps_back(state, sandbox, kept, gone) if is_unsettled else ()
    for endpoint in kept:
        parts.addresses.local.restore(endpoint)
    records.keep_aside(sandbox.id, waiting)
    parts.writer.put_sandbox(SandboxState(sandbox, kept))
    if is_unsettled:
        left.steps += steps
        left.endpoints += gone
        left.settled.append(SandboxState(sandbox, kept))


def _give_up_sandbox(controller: Controller, sandbox: Sandbox, record: EndpointsRecord, left: _Leftovers) -> None:
    """Have everything removed of a sandbox whose process ended, or whose creation or removal was cut short."""
    state = controller.state
    known = {aside.network.id: aside.network for aside in controller.set_aside.all("network") if aside.network is not None}
    wider = replace(state, networks={**known, **state.networks})
    gone = leftovers.unfinished((), (*record.endpoints, *record.before, *record.gone), wider.networks)
    try:
        left.steps += leftovers.steps_of_removal(wider, sandbox, gone)
    except BROKEN as error:
        log.error("state not restored completely reason=%s", error)
    controller.parts.writer.note_namespace(sandbox)
    left.sandboxes.append(sandbox)
    left.endpoints += [endpoint for endpoint in gone if endpoint.network_id in state.networks]


# --- the rest -------------------------------------------------------------------------------------------------------


async def _drop_network(controller: Controller, records: Records, network: Network) -> None:
    """Remove a network that was being made or removed, or an overlay that no endpoint here is on."""
    for reason in await network_recovery.remove_from_kernel(controller, network):
        log.error("state not restored completely reason=%s", reason)
    controller.parts.writer.drop_network(network.id)
    await records.drop_network(network.id)


def _is_used(controller: Controller, network: Network) -> bool:
    return bool(controller.state.members(network.id)) or controller.set_aside.uses(network.id)


async def _drop_unused_overlays(controller: Controller, records: Records) -> None:
    """Drop the overlay networks that no endpoint here is on any more."""
    for network in [network for network in controller.state.networks.values() if network.is_overlay]:
        if not _is_used(controller, network):
            controller.parts.writer.deactivate(network.id)
            await _drop_network(controller, records, network)


def _restore_quarantined_addresses(controller: Controller, everything: Everything, now: float) -> list[tuple[NetworkId, IPAddress]]:
    """Have the addresses rest that still must; return those whose time is over."""
    aside = {one.id for one in controller.set_aside.all("network")}
    over = []
    for network_id, address, until in everything.quarantined:
        if until > now and network_id in controller.state.networks:
            controller.parts.addresses.local.quarantine(network_id, address, until)
        elif until <= now or network_id not in aside:
            over.append((network_id, address))
    return over


async def _restore_uplinks(controller: Controller, everything: Everything) -> None:
    """Let packets out again, or put back what the last run had switched on and nobody needs any more."""
    try:
        await controller.parts.uplinks.restore(everything.switched, controller.state.networks_here())
    except NetcoreError as error:
        log.error("this host's links are not as networks need them reason=%s", error)


def _flows_left(left: _Leftovers, everything: Everything) -> Flows:
    """Return the flows that the last run may have left: of addresses that went last, and of what is left over.

    An address that rested may be somebody's again, also of a sandbox or network that could not be restored.
    """
    last = max((until for _, _, until in everything.quarantined), default=0.0) - limits.ADDRESS_QUARANTINE
    resting = {address for _, address, until in everything.quarantined if until >= last}
    used = {address for _, record in everything.sandboxes for endpoint in record.endpoints for address in endpoint.addresses()}
    used |= {pool.gateway for record in everything.networks for pool in record.network.pools if pool.gateway is not None}
    return stale_flows(left.steps) | Flows(addresses=frozenset(resting - used))


async def _bring(controller: Controller, objects: RecalledObjects, left: _Leftovers, host: NamespaceInventory | None, flows: Flows) -> None:
    """Remove what is left over, make what is missing, write the firewall anew. A sandbox that lacks something is set aside.

    *host*: what the host holds before that, if it is known. *flows*: are forgotten then.
    """
    state, executor = controller.state, controller.parts.executor
    desired, shared = state.lasting_objects(objects.of), state.uplink_objects(state.networks_here())

    def body() -> Attempted:
        kept = {wanted.key for wanted in desired}
        back = [step for step in left.steps if step.after is not None or step.subject.key not in kept]
        removed = executor.attempt(leftovers.without_elements(back))
        steps = leftovers.repair_steps(observe(desired, controller.netns_path, None if back else host), desired)
        made = executor.attempt(leftovers.without_elements(steps))
        if flows:
            executor.forget(flows)
        return Attempted([*removed.failed, *made.failed], made.waiting)

    await controller.workers.run(lambda: network_recovery.restore_guard(controller, desired))
    if controller.settings.firewall:
        # Before the links: a port that comes up is bound already.
        try:
            with controller.parts.names.rewriting() as openings:
                await controller.workers.run(lambda: executor.write_tables([*desired, *shared], openings))
        except NetcoreError as error:
            controller.set_aside.put(Aside(kind="firewall", id="berth", name="berth", reason=str(error)))
    attempted = await controller.workers.run(body)
    _note_what_lacks(controller, attempted.failed)
    for sandbox_id in {step.lane.sandbox_id for step in attempted.waiting}:
        if sandbox_id is not None:
            await controller.parts.late_routes.wait(sandbox_id)


def _note_what_lacks(controller: Controller, failed: Sequence[tuple[Step, Exception]]) -> None:
    """Set the sandboxes aside whose steps failed."""
    if not failed:
        return
    state = controller.state
    owners = {
        wanted.key: sandbox for sandbox in state.sandboxes.values() for wanted in state.objects_of(sandbox, state.endpoints[sandbox.id])
    }
    reasons: dict[SandboxId, str] = {}
    for step, error in failed:
        owner = owners.get(step.subject.key)
        if owner is None:
            log.error("state not restored completely reason=%s: %s", step.describe(), error)
        else:
            reasons.setdefault(owner.id, f"it lacks {step.describe()}: {error}")
    known = {aside.id for aside in controller.set_aside.all("sandbox")}
    for identity, reason in reasons.items():
        # What was found before is the reason for this.
        if identity not in known:
            set_sandbox_aside(controller, state.sandboxes[identity], reason)


async def _forget(controller: Controller, records: Records, left: _Leftovers) -> None:
    """Remove the files, namespaces and records of what is left over; record that nothing of it is left."""
    networks = controller.state.networks
    await records.put_untold([endpoint for endpoint in left.endpoints if _is_of_plugins(networks.get(endpoint.network_id))])
    await controller.parts.addresses.quarantine(left.endpoints)
    for sandbox in left.sandboxes:
        try:
            await controller.transaction.drop_sandbox(sandbox)
        except (NetcoreError, OSError) as error:
            set_sandbox_aside(controller, sandbox, f"it has ended and can't be removed: {error}")
    for settled in left.settled:
        await records.put_back(settled.sandbox, settled.endpoints)


def _is_of_plugins(network: Network | None) -> bool:
    return network is not None and (network.ipam is not None or plugin_of(network) is not None)


async def _tell_plugins(controller: Controller, records: Records, left: _Leftovers, everything: Everything) -> None:
    """Ask again for addresses in use; let plugins take back what nobody has any more, of this start and of one that was cut short."""
    state = controller.state
    await controller.parts.addresses.replay()
    untold = {endpoint.id: endpoint for endpoint in (*everything.untold, *left.endpoints)}
    # A sandbox that was connected again has an endpoint with the same id.
    present = {endpoint.id for endpoints in state.endpoints.values() for endpoint in endpoints}
    endpoints = [endpoint for endpoint in untold.values() if endpoint.network_id in state.networks and endpoint.id not in present]
    await controller.parts.plugin_endpoints.undo(endpoints)
    await controller.parts.addresses.give_to_plugins(endpoints)
    networks = {network.id: network for network in (*everything.untold_networks, *left.networks) if network.id not in state.networks}
    for network in networks.values():
        await controller.networks.undo_by_plugins(network)
    of_plugins = [endpoint for endpoint in left.endpoints if _is_of_plugins(state.networks.get(endpoint.network_id))]
    await records.drop_untold([*everything.untold, *of_plugins], [network for network in networks.values() if _is_of_plugins(network)])
