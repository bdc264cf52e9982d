"""Start of the controller: bring the kernel from whatever it holds to what the store says, by the one diff.

A pending record is an operation that a crash cut short: it is taken back to what was there before. Sandboxes whose
namespace or process is gone are removed. The firewall tables are made anew in one transaction, so that traffic never
meets a half-filled one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from itertools import groupby

from netcore import drivers
from netcore.controller import Controller
from netcore.desired.diff import diff
from netcore.desired.firewall import SETS, render_skeleton
from netcore.desired.objects import Element, KernelObject
from netcore.errors import NetcoreError
from netcore.kernel import netns, nft, process
from netcore.kernel.observe import observe
from netcore.model import Endpoint, Network, Sandbox
from netcore.store.records import Everything, Records

log = logging.getLogger(__name__)


async def restore(controller: Controller, records: Records, now: float) -> tuple[Sandbox, ...]:
    """Bring *controller* and the kernel to the state of the store; return the sandboxes that live on.

    Their resolvers and names are not up yet.
    """
    everything = await records.load()
    await controller.look_at_host()
    for record in everything.networks:
        if not record.pending:
            controller.adopt_network(record.network)
    gone = await _restore_sandboxes(controller, everything)
    await _restore_overlays(controller, records, everything, gone)
    await _restore_rests(controller, records, everything, now)
    desired = controller.desired_everything()
    await controller.kernel(lambda: _bring(controller, desired, gone))
    # A plugin may not be there yet, and the start does not wait for it.
    controller.in_background(_tell_plugins(controller, gone, [item.network for item in everything.networks if item.pending]))
    for record in everything.networks:
        if record.pending:
            await records.drop_network(record.network)
    for sandbox in gone.sandboxes:
        await controller.forget(sandbox)
    for sandbox in [item for item in controller.sandboxes.values() if item.ended and not controller.users_of(item)]:
        await controller.remove_sandbox(sandbox.id)
    return tuple(controller.sandboxes.values())


async def _restore_overlays(controller: Controller, records: Records, everything: Everything, gone: _Gone) -> None:
    """Keep the overlay networks whose endpoints are here still; what other hosts say of them comes later."""
    for record in everything.networks:
        network = record.network
        if not network.is_overlay:
            continue
        if controller.members(network.id):
            controller.remotes[network.id] = {}
            controller.restored_overlays.add(network.id)
        else:
            gone.objects += drivers.network_objects(network, controller.facts)
            controller.networks.pop(network.id, None)
            await records.drop_network(network)


async def _tell_plugins(controller: Controller, gone: _Gone, networks: list[Network]) -> None:
    """Ask again for addresses in use; let plugins take back what nobody has any more."""
    await controller.replay()
    await controller.unmake(gone.endpoints)
    for network in networks:
        await controller.unmake_network(network)


class _Gone:
    """What a crash or the end of a process left behind."""

    def __init__(self) -> None:
        self.objects: list[KernelObject] = []
        self.endpoints: list[Endpoint] = []
        self.sandboxes: list[Sandbox] = []


async def _restore_sandboxes(controller: Controller, everything: Everything) -> _Gone:
    gone = _Gone()
    for network_record in everything.networks:
        if network_record.pending:
            gone.objects += drivers.network_objects(network_record.network, controller.facts)
    for record, endpoints in everything.sandboxes:
        sandbox = record.sandbox
        known = tuple(item for item in endpoints.endpoints if item.network_id in controller.networks)
        kept = endpoints.before if endpoints.pending else known
        kept = tuple(item for item in kept if item.network_id in controller.networks)
        if record.pending or not await controller.kernel(lambda sandbox=sandbox: _lives(sandbox)):  # type: ignore[misc]
            gone.sandboxes.append(sandbox)
            kept = ()
        else:
            controller.restore_sandbox(sandbox, kept)
        for endpoint in (*known, *endpoints.before):
            if endpoint not in kept and endpoint.network_id in controller.networks:
                gone.objects += _host_side(controller, endpoint)
                gone.endpoints.append(endpoint)
    return gone


def _host_side(controller: Controller, endpoint: Endpoint) -> Iterable[KernelObject]:
    """Return an endpoint's objects on the host; what is inside the sandbox goes with its link."""
    objects = drivers.endpoint_objects(controller.networks[endpoint.network_id], endpoint, controller.facts)
    return [item for item in objects if not isinstance(item, Element)]


def _lives(sandbox: Sandbox) -> bool:
    if not netns.is_pinned(sandbox.netns_path):
        return False
    if sandbox.owner is None:
        return True
    try:
        return process.start_time(sandbox.owner.pid) == sandbox.owner.start_time
    except NetcoreError:
        return False


async def _restore_rests(controller: Controller, records: Records, everything: Everything, now: float) -> None:
    over = []
    for network_id, address, until in everything.quarantined:
        if until > now and network_id in controller.networks:
            controller.restore_rest(network_id, address, until)
        else:
            over.append((network_id, address))
    if over:
        await records.drop_quarantined(over)


def _bring(controller: Controller, desired: tuple[KernelObject, ...], gone: _Gone) -> None:
    """Remove what is left over, make what is missing, write the firewall anew. Reports and goes on at errors."""
    links = [item for item in gone.objects if not isinstance(item, Element)]
    kept = {item.key for item in desired}
    steps = [
        *diff([item for item in links if item.key not in kept], ()),
        *diff(observe(desired, controller.netns_path), desired),
    ]
    steps = [step for step in steps if not isinstance(step.subject, Element)]
    for _, group in groupby(steps, key=lambda step: step.after is None):
        try:
            controller.executor.remove(list(group), "state of the last run")
        except NetcoreError as error:
            log.error("state not restored completely reason=%s", error)
    if controller.settings.firewall:
        nft.apply_text(render_firewall(desired))


def render_firewall(desired: Iterable[KernelObject]) -> str:
    """Return the text that makes both firewall tables with all elements of *desired*, in one transaction."""
    elements = sorted((item for item in desired if isinstance(item, Element)), key=lambda item: (item.table, item.set))
    lines = [render_skeleton()]
    for (table, name), group in groupby(elements, key=lambda item: (item.table, item.set)):
        texts = ", ".join(_element_text(item) for item in group)
        lines.append(f"add element {table} berth {name} {{ {texts} }}")
    return "\n".join(lines) + "\n"


def _element_text(item: Element) -> str:
    types = SETS[item.table, item.set]
    key = " . ".join(_field(kind, value) for kind, value in zip(types, item.fields, strict=False))
    if not item.data:
        return key
    return f"{key} : {' . '.join(str(value) for value in item.data)}"


def _field(kind: str, value: object) -> str:
    match kind:
        case "ifname":
            return f'"{value}"'
        case "payload128":
            return f"0x{int(value):032x}"  # type: ignore[call-overload]
    return str(value)
