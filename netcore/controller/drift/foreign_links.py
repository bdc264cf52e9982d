"""Links in an adopted namespace that berth did not make: of a sandbox with egress rules they would be a way past every rule.

`attach` refuses a namespace that has one; one that appears later is set down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from netcore.controller.collaborators import Collaborators
from netcore.errors import NetcoreError, NotFound
from netcore.kernel import namespace
from netcore.model import Sandbox, SandboxId
from netcore.plan import egress
from netcore.plan.drift import Concern, Damage, Key, Part


class ForeignLinkComparison:
    """See the module."""

    def __init__(self, parts: Collaborators) -> None:
        self._parts = parts
        self._state = parts.state

    def _confined(self, concern: Concern) -> Sandbox | None:
        """Return the adopted sandbox with rules that *concern* is, None if it is none."""
        sandbox = self._state.sandboxes.get(SandboxId(concern.identity)) if concern.part is Part.SANDBOX else None
        if sandbox is None or not sandbox.adopted:
            return None
        networks = [self._state.networks[endpoint.network_id] for endpoint in self._state.endpoints[sandbox.id]]
        return sandbox if egress.layers_of(sandbox, networks, self._state.facts.egress) else None

    async def find(self, concern: Concern) -> Sequence[Damage]:
        sandbox = self._confined(concern)
        if sandbox is None:
            return ()
        ours = {endpoint.ifname for endpoint in self._state.endpoints[sandbox.id]}
        try:
            up = await self._parts.workers.run(lambda: namespace.links_up(sandbox.netns_path))
        except (NetcoreError, OSError):
            # The namespace is gone, or can't be looked into: others say so.
            return ()
        return [
            Damage(
                key=("foreign-link", sandbox.id, name), kind="foreign-link", description=f"link {name} that berth did not make",
                concern=concern, owner=sandbox.name, consequence="it is a way out past the egress rules",
            )
            for name in sorted(egress.foreign_links(up, ours))
        ]  # fmt: skip

    async def repair(self, concern: Concern, damages: Sequence[Damage]) -> Mapping[Key, str]:
        problems: dict[Key, str] = {}
        sandbox = self._confined(concern)
        for damage in damages if sandbox is not None else ():
            assert sandbox is not None
            name, path = str(damage.key[2]), sandbox.netns_path
            try:
                await self._parts.workers.run(partial(namespace.set_link_down, path, name))
            except NotFound:
                continue
            except (NetcoreError, OSError) as error:
                problems[damage.key] = str(error)
        return problems
