"""A sandbox that goes on in another namespace, with all that it has: its id, names, addresses, MACs, ports and files.

What it had in the old namespace is taken away, and made in the new one. If that fails it goes on in an empty namespace of its own,
which keeps its addresses and ports. It is recorded as pending meanwhile: a crash removes it, and who wants it to last makes it again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace

from netcore.controller.collaborators import Collaborators
from netcore.controller.undo import all_or_nothing
from netcore.errors import TeardownFailed
from netcore.model import Endpoint, NetnsPath, Sandbox
from netcore.plan import egress, link_names, plans
from netcore.plan.desired_state import sysctl_paths
from netcore.plan.host_state import SandboxState

log = logging.getLogger(__name__)


class Moves:
    """See the module. *make_known*: has everybody on this host know what a sandbox is like now. Its callers hold all locks."""

    def __init__(self, parts: Collaborators, make_known: Callable[[SandboxState], Awaitable[None]]) -> None:
        self._parts = parts
        self._state = parts.state
        self._make_known = make_known

    async def move(self, before: SandboxState, after: Sandbox, source: NetnsPath | None) -> SandboxState:
        """Have a sandbox that is like *before* go on as *after* in the namespace at *source*, None for a new one of its own.

        What *source* refuses is raised, and the sandbox has a namespace of its own then.
        """
        await self._parts.records.put_sandbox(before.sandbox, pending=True)
        await self._leave(before)
        try:
            return await self._enter(before, after, source)
        except BaseException:
            await self._enter(before, waiting(after), None)
            raise

    async def _leave(self, before: SandboxState) -> None:
        """Take away what a sandbox has in its namespace and on the host for it, and let go of the namespace."""
        parts, sandbox = self._parts, before.sandbox
        await parts.names.close(sandbox, goes_on=True)
        plan = plans.plan_removal(self._state, before)
        try:
            ending = None if sandbox.adopted else sandbox.id
            await parts.workers.run(lambda: parts.executor.remove(plan.steps, plan.target, ending=ending))
        except TeardownFailed as error:
            # The namespace of a container that has ended goes with what is left in it.
            log.info("not all of a sandbox was removed from the namespace that it leaves sandbox=%s reason=%s", sandbox.name, error)
        parts.relays.settle(sandbox.id, {})
        parts.late_routes.forget(sandbox.id)
        await parts.files.unpin(sandbox)

    async def _enter(self, before: SandboxState, sandbox: Sandbox, source: NetnsPath | None) -> SandboxState:
        parts = self._parts
        async with all_or_nothing() as undo:
            others = [other for other in self._state.sandboxes.values() if other.id != sandbox.id] if source is not None else []
            taken = {other.name: other.netns_path for other in others}
            await parts.files.pin(sandbox, adopted=source, shared=None, taken=taken)
            undo.push(lambda: parts.files.unpin(sandbox))
            endpoints = before.endpoints
            if source is not None:
                sandbox = await self._as_found(sandbox)
                lookups = await parts.host.lookups(sandbox.netns_path, None, ())
                networks = [self._state.networks[endpoint.network_id] for endpoint in endpoints]
                facts = self._state.facts
                egress.check_possible(sandbox, networks, facts.egress, firewall=facts.firewall, foreign=lookups.used_ifnames)
                endpoints = self._without_clashes(sandbox, endpoints, lookups.used_ifnames)
            undo.push(lambda: parts.names.close(sandbox, goes_on=True))
            await parts.names.open(sandbox)
            after = SandboxState(sandbox, endpoints)
            steps = plans.change_steps(self._state, None, after)
            await parts.workers.run(lambda: parts.executor.apply(steps))
            undo.push(lambda: parts.workers.run(lambda: parts.executor.take_back(steps)))
            await parts.records.put_all(sandbox, endpoints)
            await self._make_known(after)
        return after

    async def _as_found(self, sandbox: Sandbox) -> Sandbox:
        """Return *sandbox* with what its new namespace has by itself."""
        found = await self._parts.files.default_routes(sandbox.netns_path)
        sandbox = plans.with_own_routes(self._state, None, sandbox, found)
        own = await self._parts.files.sysctls(sandbox.netns_path, sysctl_paths(sandbox))
        return replace(sandbox, own_sysctls=tuple(own.items()))

    def _without_clashes(self, sandbox: Sandbox, endpoints: tuple[Endpoint, ...], found: Collection[str]) -> tuple[Endpoint, ...]:
        """Return *endpoints* with other names for the links whose names the new namespace has already."""
        used, named = {*found, *(endpoint.ifname for endpoint in endpoints if endpoint.ifname not in found)}, []
        for endpoint in endpoints:
            if endpoint.ifname in found:
                prefix = self._state.networks[endpoint.network_id].common.ifname_prefix
                endpoint = replace(endpoint, ifname=link_names.in_sandbox(sandbox.name, None, prefix, used))
                used.add(endpoint.ifname)
            named.append(endpoint)
        return tuple(named)


def waiting(sandbox: Sandbox) -> Sandbox:
    """Return *sandbox* as it is in a namespace of its own, where nobody is."""
    return replace(sandbox, adopted=False, leader=None, own_routes=(), own_sysctls=())
