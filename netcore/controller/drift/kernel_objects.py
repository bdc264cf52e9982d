"""Links, addresses, routes, neighbours, sysctls, forwarding entries and hosts lines of one network or sandbox."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from netcore.controller.collaborators import Collaborators
from netcore.desired.objects import HOST, HostsLines, KernelObject
from netcore.kernel.observe import find_damaged
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
                network = next((network for network in self._state.networks_here() if network.id == concern.identity), None)
                return self._state.lasting_objects_of_network(network) if network is not None else ()
            case Part.SANDBOX if concern.identity in self._state.sandboxes:
                return self._state.lasting_objects_of(SandboxId(concern.identity))
            case _:
                return ()

    async def _damaged(self, concern: Concern) -> dict[Key, KernelObject]:
        wanted = self._wanted(concern)
        if not wanted:
            return {}
        found = await self._parts.workers.run(lambda: find_damaged(wanted, self._parts.writer.netns_path))
        return {damaged.key: damaged for damaged in found}

    async def find(self, concern: Concern) -> Sequence[Damage]:
        damaged = await self._damaged(concern)
        owner = owner_of(self._parts, concern)
        return [
            Damage(
                key=key,
                kind=kind_of(wanted),
                description=wanted.describe(),
                concern=concern,
                owner=owner,
                inside=wanted.lane.sandbox_id is not HOST or isinstance(wanted, HostsLines),
            )
            for key, wanted in damaged.items()
        ]

    async def repair(self, concern: Concern, damages: Sequence[Damage]) -> Mapping[Key, str]:
        wanted = {wanted.key: wanted for wanted in self._wanted(concern)}
        chosen = [wanted[damage.key] for damage in damages if damage.key in wanted]
        if not chosen:
            return {}
        problems = await self._parts.workers.run(lambda: self._parts.executor.mend(chosen))
        return {failed.key: problem for failed, problem in problems.items()}


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
        case Part.TABLES:
            return ""
