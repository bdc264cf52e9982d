"""Networks of the last run: made again as far as they are missing, or set aside with the reason and tried again.

A network that is set aside is no part of the state. Its endpoints stay in the records of their sandboxes, which go on without them.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from netcore import drivers
from netcore.controller import Controller
from netcore.controller.set_aside import Aside
from netcore.desired.diff import Step, diff
from netcore.desired.objects import GuardedLink, KernelObject
from netcore.errors import NetcoreError
from netcore.kernel import inventory
from netcore.kernel.handlers import guarded
from netcore.kernel.inventory import NamespaceInventory
from netcore.kernel.observe import observe
from netcore.model import Network, NetworkId
from netcore.parse.names import check_object_name
from netcore.plan import leftovers, restorable

log = logging.getLogger(__name__)

BROKEN = (NetcoreError, OSError, LookupError, ValueError, TypeError, AttributeError, AssertionError)
"""What a record that can be read, but makes no sense, may lead to."""


def set_aside(controller: Controller, network: Network, reason: str) -> None:
    """Take *network* out of the state, if it is there, until it can be restored."""
    controller.parts.writer.drop_network(network.id)
    controller.set_aside.put(Aside(kind="network", id=network.id, name=network.name, reason=reason, network=network))


def add_sensible(controller: Controller, networks: Iterable[Network]) -> list[Network]:
    """Put the networks that make sense into the state and return them; set the others aside."""
    result = []
    for network in networks:
        try:
            check_object_name("network", network.name)
            drivers.of(network).host_link(network)
            drivers.of(network).host_addresses(network)
            drivers.of(network).network_objects(network, controller.state.facts)
        except BROKEN as error:
            set_aside(controller, network, str(error) or type(error).__name__)
        else:
            controller.parts.writer.put_network(network)
            result.append(network)
    return result


async def restore(controller: Controller, networks: Sequence[Network]) -> NamespaceInventory | None:
    """Make what the kernel lacks of *networks*, which are in the state already; set those aside that can't be made.

    Return what the host holds, None if something of it was changed since it was read.
    """
    parts, state = controller.parts, controller.state
    if not networks:
        return None
    host, aliases = await parts.host.constraints(), parts.host.aliases()
    objects: dict[NetworkId, Sequence[KernelObject]] = {}
    for network in networks:
        reason = restorable.why_not(network, state.facts, host.routes, aliases)
        if reason is not None:
            set_aside(controller, network, reason)
        elif not network.is_overlay:
            objects[network.id] = drivers.of(network).network_objects(network, state.facts)
    owners = {wanted.key: identity for identity, its_own in objects.items() for wanted in its_own}
    desired = [wanted for its_own in objects.values() for wanted in its_own]

    def body() -> tuple[NamespaceInventory | None, Sequence[tuple[Step, Exception]]]:
        # Before all others: they would be guarded link by link.
        restore_guard(controller, desired, of_sandboxes=False)
        held = inventory.read(entries=True)
        steps = leftovers.without_elements(leftovers.repair_steps(observe(desired, controller.netns_path, held), desired))
        failed = parts.executor.attempt(steps).failed
        return (held if all(isinstance(step.subject, GuardedLink) for step in steps) else None), failed

    host_now, failed = await controller.workers.run(body)
    for step, error in failed:
        network_id = owners[step.subject.key]
        if network_id in state.networks:
            set_aside(controller, state.networks[network_id], f"{step.describe()}: {error}")
    for network in networks:
        if network.id in state.networks:
            parts.addresses.adopt(network)
    return host_now


def restore_guard(controller: Controller, desired: Collection[KernelObject], *, of_sandboxes: bool = True) -> None:
    """Own the guard tables of the last run, and make them fit. Without a firewall of ours nothing is marked, so they have to go.

    *of_sandboxes*: whether *desired* has what is of sandboxes; otherwise the table of their ports stays as it is.
    """
    guard = controller.parts.guard
    links = {wanted.ifname for wanted in desired if isinstance(wanted, GuardedLink)}
    try:
        # It is there already, for the second time that a start comes here, unless a network could not be made.
        if not guard.has_written(links):
            guard.write(links)
        if of_sandboxes:
            guarded.write_ports(guard, desired)
    except (NetcoreError, OSError) as error:
        if controller.settings.firewall:
            log.error("networks are not guarded against flushed firewall tables reason=%s", error)


async def remove_from_kernel(controller: Controller, network: Network) -> list[str]:
    """Remove what exists for the sake of *network* alone, which may be nothing; return what failed. It may be set aside."""
    state = replace(controller.state, networks={**controller.state.networks, network.id: network})
    steps = leftovers.without_elements(diff(state.objects_only_of(network), ()))
    attempted = await controller.workers.run(lambda: controller.parts.executor.attempt(steps))
    return [f"{step.describe()}: {error}" for step, error in attempted.failed]


async def retry(controller: Controller) -> None:
    """Make the networks again that can be made now; their names are served when this returns."""
    for aside in controller.set_aside.all("network"):
        network = aside.network or await _known_to_all(controller, NetworkId(aside.id))
        if network is not None and network.id not in controller.state.networks:
            async with controller.parts.locks.hold(["networks", f"network:{network.id}"]):
                # Somebody may have removed it while this waited for the locks.
                if controller.set_aside.find("network", network.id) is not None:
                    await _retry(controller, network)


async def _known_to_all(controller: Controller, network_id: NetworkId) -> Network | None:
    """Return an overlay network whose record here can't be read, from what all hosts share; it is recorded again."""
    network = controller.cluster.state.networks.get(network_id) if controller.cluster is not None else None
    if network is not None:
        await controller.parts.records.put_network(network)
    return network


async def _retry(controller: Controller, network: Network) -> None:
    parts, state = controller.parts, controller.state
    reason = restorable.clashes(network, [*state.networks.values()])
    try:
        host = await parts.host.constraints()
        reason = reason or restorable.why_not(network, state.facts, host.routes, parts.host.aliases())
        if reason is not None:
            set_aside(controller, network, reason)
            return
        wanted = drivers.of(network).network_objects(network, state.facts)
        with parts.host.expecting(network):
            await controller.workers.run(
                lambda: parts.executor.apply(leftovers.repair_steps(observe(wanted, controller.netns_path), wanted))
            )
            await parts.uplinks.need(network)
            parts.writer.put_network(network)
        parts.addresses.adopt(network)
        if network.is_overlay:
            await parts.overlays.resume(network)
        await parts.names.network_up(network)
    except BROKEN as error:
        set_aside(controller, network, str(error) or type(error).__name__)
        return
    controller.set_aside.restored("network", network.id)
