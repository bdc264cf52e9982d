"""Links, addresses, routes, neighbours, sysctls, forwarding entries and hosts lines of one network or sandbox."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from netcore.controller.collaborators import Collaborators
from netcore.desired.objects import (
    HOST,
    HostsLines,
    Ipvlan,
    KernelObject,
    LinkPart,
    LinkReference,
    LinkUp,
    Macvlan,
    MovedLink,
    Sysctl,
    Veth,
    VethPeer,
)
from netcore.kernel.observe import Damaged, find_damaged
from netcore.model import NetworkId, SandboxId
from netcore.plan.drift import Concern, Damage, Key, Part


class KernelObjectComparison:
    """See the module."""

    def __init__(self, parts: Collaborators) -> None:
        self._parts = parts
        self._state = parts.state

    def _wanted(self, concern: Concern) -> tuple[KernelObject, ...]:
        match concern.part:
            case Part.NETWORK:
                network = self._state.network_here(concern.identity)
                return self._state.lasting_objects_of_network(network) if network is not None else ()
            case Part.SANDBOX if concern.identity in self._state.sandboxes:
                return self._state.lasting_objects_of(SandboxId(concern.identity))
            case _:
                return ()

    async def find(self, concern: Concern) -> Sequence[Damage]:
        wanted = self._wanted(concern)
        if not wanted:
            return ()
        damaged = await self._parts.workers.run(lambda: find_damaged(wanted, self._parts.writer.netns_path))
        return damages_of(damaged, concern, owner_of(self._parts, concern))

    async def repair(self, concern: Concern, damages: Sequence[Damage]) -> Mapping[Key, str]:
        wanted = {wanted.key: wanted for wanted in self._wanted(concern)}
        chosen = [wanted[damage.key] for damage in damages if damage.key in wanted]
        if not chosen:
            return {}
        problems = await self._parts.workers.run(lambda: self._parts.executor.mend(chosen))
        return {failed.key: problem for failed, problem in problems.items()}


def damages_of(damaged: Damaged, concern: Concern, owner: str) -> list[Damage]:
    """Return what is *damaged* as damage: which of it root in a sandbox may have done (rule DR-6), and what has to wait (DR-7)."""
    return [
        Damage(
            key=wanted.key,
            kind=kind_of(wanted),
            description=wanted.describe(),
            concern=concern,
            owner=owner,
            inside=_is_inside(wanted, damaged),
            needs=frozenset(link.key for link in damaged.objects if _needs(wanted, link, _lost_links(link, damaged))),
        )
        for wanted in damaged.objects
    ]


def _is_inside(wanted: KernelObject, damaged: Damaged) -> bool:
    if isinstance(wanted, Veth):
        # Whoever deletes one end of a pair deletes both. One that has another name on the host only is found by the other end.
        is_end_wrong = any(isinstance(part, VethPeer) and part.host_ifname == wanted.host_ifname for part in damaged.objects)
        return is_end_wrong and wanted.key in damaged.gone
    return wanted.lane.sandbox_id is not HOST or isinstance(wanted, HostsLines)


def _needs(wanted: KernelObject, link: KernelObject, lost: Collection[LinkReference]) -> bool:
    """Return whether *wanted* can't be put right before *link*, which has to do with the *lost* links."""
    match wanted:
        case _ if wanted is link:
            return False
        case VethPeer():
            return isinstance(link, Veth) and wanted.goes_with(lost)
        case Sysctl():
            # Of a link that is down they can be set.
            return not isinstance(link, LinkUp) and any(
                f"/conf/{ifname}/" in wanted.path for where, ifname in lost if where == wanted.sandbox_id
            )
        case _:
            return isinstance(wanted, LinkPart) and wanted.goes_with(lost)


def _lost_links(wanted: KernelObject, damaged: Damaged) -> tuple[LinkReference, ...]:
    """Return the links to which nothing can be added until *wanted* is put right."""
    match wanted:
        case Veth() if _is_inside(wanted, damaged):
            return wanted.links()
        case VethPeer() | Macvlan() | Ipvlan() | MovedLink() | LinkUp():
            return ((wanted.sandbox_id, wanted.ifname),)
        case _:
            return ()


def kind_of(wanted: KernelObject) -> str:
    """Return what an object is called in metrics: `bridge`, `link_up`, `hosts_lines`."""
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", type(wanted).__name__).lower()


def owner_of(parts: Collaborators, concern: Concern) -> str:
    """Return the name of what *concern* is about."""
    match concern.part:
        case Part.NETWORK:
            network = parts.state.networks.get(NetworkId(concern.identity))
            return network.name if network is not None else ""
        case Part.SANDBOX:
            sandbox = parts.state.sandboxes.get(SandboxId(concern.identity))
            return sandbox.name if sandbox is not None else ""
        case Part.TABLES | Part.UPLINKS | Part.ENCRYPTION | Part.PORTS:
            return ""
