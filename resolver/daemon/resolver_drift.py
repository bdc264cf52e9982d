"""What of the resolvers others can break: listeners, the redirect of port 53 inside sandboxes, resolv.conf and hostname."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from netcore.controller import Controller
from netcore.errors import NetcoreError
from netcore.model import Network, NetworkId, Sandbox, SandboxId
from netcore.plan.drift import Concern, Damage, Key, Part
from resolver.daemon import listeners
from resolver.daemon.registry import Registry


class ResolverComparison:
    """One network or sandbox at a time; see `netcore.controller.drift`."""

    def __init__(self, controller: Controller, registry: Registry) -> None:
        self._state = controller.state
        self._registry = registry

    def open_namespace(self, sandbox: Sandbox) -> int | None:
        """Return a new descriptor of the namespace of *sandbox* by the sockets in it, None if there are none."""
        resolver = self._registry.resolver_of(sandbox)
        return listeners.namespace_of(resolver.pair) if resolver is not None and resolver.pair is not None else None

    def _sandbox(self, concern: Concern) -> Sandbox | None:
        return self._state.sandboxes.get(SandboxId(concern.identity)) if concern.part is Part.SANDBOX else None

    def _network(self, concern: Concern) -> Network | None:
        return self._state.networks.get(NetworkId(concern.identity)) if concern.part is Part.NETWORK else None

    async def find(self, concern: Concern) -> Sequence[Damage]:
        sandbox, network = self._sandbox(concern), self._network(concern)
        gateway = self._registry.gateway_of(network) if network is not None else None
        if network is not None and gateway is not None and gateway.is_broken():
            described = f"resolver at the gateway of network {network.name}"
            return (Damage(key=("gateway", network.id), kind="listener", description=described, concern=concern, owner=network.name),)
        if sandbox is None:
            return ()
        return [
            Damage(key=(kind, sandbox.id, described), kind=kind, description=described, concern=concern, owner=sandbox.name, inside=True)
            for kind, described in await self._broken_parts(sandbox)
        ]

    async def _broken_parts(self, sandbox: Sandbox) -> list[tuple[str, str]]:
        """Return (kind, description) of what of a sandbox's resolver and files is not as it should be."""
        resolver, run_blocking = self._registry.resolver_of(sandbox), self._registry.kernel
        found = await resolver.find_broken(run_blocking) if resolver is not None else []
        return [*found, *(("file", path) for path in await run_blocking(lambda: self._registry.files.missing(sandbox)))]

    async def repair(self, concern: Concern, damages: Sequence[Damage]) -> Mapping[Key, str]:
        sandbox, network = self._sandbox(concern), self._network(concern)
        try:
            if network is not None and damages and (gateway := self._registry.gateway_of(network)) is not None:
                await self._registry.reopen(gateway)
            if sandbox is not None:
                await self._restore(sandbox, {damage.kind for damage in damages})
        except (NetcoreError, OSError) as error:
            return {damage.key: str(error) for damage in damages}
        return {}

    async def _restore(self, sandbox: Sandbox, kinds: set[str]) -> None:
        resolver, run_blocking = self._registry.resolver_of(sandbox), self._registry.kernel
        if resolver is not None and "listener" in kinds:
            await self._registry.reopen(resolver)
        elif resolver is not None and "redirect" in kinds:
            await resolver.restore_redirect(run_blocking)
        if "file" in kinds:
            await run_blocking(lambda: self._registry.files.restore(sandbox))
