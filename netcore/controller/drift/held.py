"""What is held for a sandbox: the pin of its namespace, and the sockets on its published ports."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from netcore.controller.collaborators import Collaborators
from netcore.errors import NetcoreError, NotFound
from netcore.kernel import namespace, netns
from netcore.model import NetnsPath, PortMapping, Sandbox, SandboxId, Stack
from netcore.plan import published_ports
from netcore.plan.drift import Concern, Damage, Key, Part

NAMESPACE = "netns"
"""Kind of the damage that hides all other of a sandbox."""

OpenNamespace = Callable[[Sandbox], int | None]
"""Returns a descriptor of a sandbox's namespace by something that is open in it, None if nothing is. It is the caller's to close."""


class PinComparison:
    """The path at which a sandbox's namespace is pinned. *open_namespace*: finds the namespace when the pin is gone."""

    def __init__(self, parts: Collaborators, open_namespace: OpenNamespace) -> None:
        self._parts = parts
        self._open_namespace = open_namespace

    def _sandbox(self, concern: Concern) -> Sandbox | None:
        return self._parts.state.sandboxes.get(SandboxId(concern.identity)) if concern.part is Part.SANDBOX else None

    async def find(self, concern: Concern) -> Sequence[Damage]:
        sandbox = self._sandbox(concern)
        if sandbox is None or await self._parts.workers.run(lambda: self._is_pinned(sandbox)):
            return ()
        described = f"netns {sandbox.netns_path}"
        return (Damage(key=("netns", sandbox.id), kind=NAMESPACE, description=described, concern=concern, owner=sandbox.name),)

    def _is_pinned(self, sandbox: Sandbox) -> bool:
        if not netns.is_pinned(sandbox.netns_path):
            return False
        descriptor = self._open_namespace(sandbox)
        if descriptor is None:
            return True
        try:
            return netns.identity_of_path(sandbox.netns_path) == netns.identity(descriptor)
        finally:
            os.close(descriptor)

    async def repair(self, concern: Concern, damages: Sequence[Damage]) -> Mapping[Key, str]:
        sandbox = self._sandbox(concern)
        if sandbox is None or not damages:
            return {}
        shared = self._parts.state.netns_path(sandbox.shared_with) if sandbox.shared_with is not None else None
        try:
            await self._parts.workers.run(lambda: self._pin(sandbox, shared))
        except (NetcoreError, OSError) as error:
            return {damage.key: str(error) for damage in damages}
        return {}

    def _pin(self, sandbox: Sandbox, shared: NetnsPath | None) -> None:
        netns.unpin(sandbox.netns_path)
        if shared is not None or sandbox.stack is Stack.HOST:
            namespace.share(shared or netns.OWN, sandbox.netns_path)
            return
        descriptor = self._open_namespace(sandbox)
        if descriptor is None:
            raise NotFound("netns", sandbox.netns_path)
        try:
            netns.pin(f"/proc/self/fd/{descriptor}", sandbox.netns_path)
        finally:
            os.close(descriptor)


class PortComparison:
    """The sockets that hold a sandbox's published ports, so that no program of the host takes them."""

    def __init__(self, parts: Collaborators) -> None:
        self._parts = parts

    def _lost(self, concern: Concern) -> list[PortMapping]:
        sandbox = self._parts.state.sandboxes.get(SandboxId(concern.identity)) if concern.part is Part.SANDBOX else None
        return self._parts.host_ports.lost(sandbox.ports) if sandbox is not None else []

    async def find(self, concern: Concern) -> Sequence[Damage]:
        lost = self._lost(concern)
        if not lost:
            return ()
        owner = self._parts.state.sandboxes[SandboxId(concern.identity)].name
        return [
            Damage(key=_port_key(mapping), kind="port", description=_describe(mapping), concern=concern, owner=owner) for mapping in lost
        ]

    async def repair(self, concern: Concern, damages: Sequence[Damage]) -> Mapping[Key, str]:
        keys, sandbox_id = {damage.key for damage in damages}, SandboxId(concern.identity)
        lost: dict[tuple[str, int], list[PortMapping]] = defaultdict(list)
        for mapping in self._lost(concern):
            if _port_key(mapping) in keys:
                # What one socket may hold.
                lost[mapping.protocol, mapping.host_port].append(mapping)
        if not lost:
            return {}
        # Their relays end before their sockets are closed.
        relayed = published_ports.proxies(self._parts.state.endpoints[sandbox_id], everything=bool(self._parts.settings.edge))
        self._parts.relays.settle(sandbox_id, {mapping: rule for mapping, rule in relayed.items() if _port_key(mapping) not in keys})
        problems: dict[Key, str] = {}
        for mappings in lost.values():
            try:
                await self._parts.workers.run(lambda mappings=mappings: self._parts.host_ports.hold_again(mappings))  # type: ignore[misc]
            except NetcoreError as error:
                problems |= {_port_key(mapping): str(error) for mapping in mappings}
        self._parts.relays.settle(sandbox_id, relayed)
        return problems


def _port_key(mapping: PortMapping) -> Key:
    return ("port", str(mapping.family), mapping.protocol, str(mapping.host_address or ""), str(mapping.host_port))


def _describe(mapping: PortMapping) -> str:
    where = mapping.host_address or ("0.0.0.0" if mapping.family == 4 else "[::]")
    return f"host port {where}:{mapping.host_port}/{mapping.protocol}"
