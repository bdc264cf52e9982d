"""Removing what is set aside: its record, and what is left of it in the kernel. `berth rm` and `berth network rm` come here for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from netcore.controller import Controller, network_recovery
from netcore.controller.set_aside import Aside
from netcore.errors import NetcoreError, TeardownFailed
from netcore.kernel import remains
from netcore.model import Endpoint, NetnsPath, Network, NetworkId, SandboxId
from netcore.store.records import Records


async def remove(controller: Controller, records: Records, aside: Aside) -> None:
    """Remove something that is set aside, with its record and what is left of it in the kernel.

    Everything is tried; TeardownFailed says what failed. Its record goes in any case.
    """
    if aside.network is not None:
        reasons = await _remove_network(controller, records, aside.network)
    elif aside.kind == "network":
        reasons = await _remove_unreadable_network(controller, records, aside)
    elif aside.kind == "sandbox":
        reasons = await _remove_unreadable_sandbox(controller, records, aside)
    else:
        reasons = []
    if aside.unreadable is not None:
        await records.drop_unreadable(aside.unreadable)
    controller.set_aside.drop(aside.kind, aside.id)
    await controller.overlays.deactivate_unused({endpoint.network_id for endpoint in aside.known_endpoints()})
    if reasons:
        raise TeardownFailed(f"{aside.kind} {aside.name}", tuple(reasons))


async def _remove_network(controller: Controller, records: Records, network: Network) -> list[str]:
    parts = controller.parts
    async with parts.locks.hold(["networks", f"network:{network.id}"]):
        await records.put_network(network, pending=True)
        reasons = await _drop_endpoints(controller, records, network.id)
        try:
            reasons += await network_recovery.remove_from_kernel(controller, network)
            await controller.networks.undo_by_plugins(network)
        except NetcoreError as error:
            reasons.append(str(error))
        await records.drop_network(network.id)
        await parts.uplinks.release(network)
    return reasons


async def _drop_endpoints(controller: Controller, records: Records, network_id: NetworkId) -> list[str]:
    """Forget the endpoints on a network that goes, and remove their links from the host."""
    state, names = controller.state, []
    for identity, waiting in records.kept_aside().items():
        gone = [endpoint for endpoint in waiting if endpoint.network_id == network_id]
        if gone:
            names += _host_links(gone)
            await controller.overlays.give_up(gone)
            records.keep_aside(identity, [endpoint for endpoint in waiting if endpoint not in gone])
            if identity in state.sandboxes:
                await records.put_back(state.sandboxes[identity], state.endpoints[identity])
    return await _try_links(controller, names)


async def _remove_unreadable_network(controller: Controller, records: Records, aside: Aside) -> list[str]:
    reasons = await _drop_endpoints(controller, records, NetworkId(aside.id))
    try:
        tagged = [link for link in await controller.workers.run(remains.tagged_links) if link.network_id == aside.id]
    except NetcoreError as error:
        return [*reasons, str(error)]
    return [*reasons, *await _try_links(controller, [name for link in tagged for name in (*link.ports, link.name)])]


async def _remove_unreadable_sandbox(controller: Controller, records: Records, aside: Aside) -> list[str]:
    unreadable, settings = aside.unreadable, controller.settings
    paths = [unreadable.path] if unreadable is not None and unreadable.path is not None else []
    if not paths and aside.name != aside.id[:12]:
        paths = [f"{settings.netns_directory}/berth-{aside.name}"]
    taken = {sandbox.netns_path for sandbox in controller.state.sandboxes.values()}
    endpoints = aside.known_endpoints()
    await controller.overlays.give_up([*endpoints, *records.kept_aside().get(SandboxId(aside.id), ())])
    records.keep_aside(SandboxId(aside.id), ())
    reasons = await _try_links(controller, _host_links(endpoints))
    for path in paths:
        # Only a path below our own directory, whatever a damaged record says.
        if Path(path).parent == Path(settings.netns_directory) and path not in taken:
            reasons += await _try(controller, lambda path=path: remains.remove_pin(NetnsPath(path)))  # type: ignore[misc]
    if not unreadable or "/" not in aside.id:
        reasons += await _try(controller, lambda: remains.remove_directory(Path(controller.files_of(SandboxId(aside.id)))))
    return reasons


def _host_links(endpoints: Sequence[Endpoint]) -> list[str]:
    return [endpoint.host_ifname for endpoint in endpoints if endpoint.host_ifname.startswith("veth")]


async def _try_links(controller: Controller, names: Sequence[str]) -> list[str]:
    return await _try(controller, lambda: remains.remove_links(names)) if names else []


async def _try(controller: Controller, body: Callable[[], None]) -> list[str]:
    try:
        await controller.workers.run(body)
    except (NetcoreError, OSError) as error:
        return [str(error)]
    return []
