"""Start, stop and prune: what becomes of sandboxes that stay when their command has ended.

The daemon makes a sandbox again and frees it; the process that holds it (`resolver.cli.monitor`) starts the command, and starts it
again by its restart policy. When that process ends, `Operations` notes how the command ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from netcore.controller import Controller
from netcore.errors import Conflict, InvalidRequest, NotFound
from netcore.health import Health
from netcore.model import EndpointRequest, Owner, Sandbox, Stack
from netcore.parse import names
from resolver import limits
from resolver.daemon.convert import passes
from resolver.daemon.events import Cause, Events
from resolver.daemon.operations import Operations
from resolver.daemon.removals import Removals
from resolver.daemon.run_networks import connected, disconnected, networks_of
from resolver.daemon.run_shapes import check_timeout, stop_signal
from resolver.daemon.runs import Process, Run, Runs
from resolver.daemon.schema import PruneBody

log = logging.getLogger(__name__)

EndProcess = Callable[[Owner, int, float | None], Awaitable[None]]
"""Sends a signal to the command of a leader, KILL after so many seconds (None: never), and waits for its end."""


class Lifecycle:
    """See the module. *end_restarts*: have a holder start its command no more. *wait_for*: wait until a process has ended."""

    def __init__(
        self,
        controller: Controller,
        operations: Operations,
        runs: Runs,
        removals: Removals,
        events: Events,
        *,
        end_process: EndProcess,
        end_restarts: Callable[[Owner], Awaitable[None]],
        wait_for: Callable[[Owner], Awaitable[None]],
    ) -> None:
        self._controller = controller
        self._operations = operations
        self._runs = runs
        self._removals = removals
        self._events = events
        self._end_process = end_process
        self._end_restarts = end_restarts
        self._wait_for = wait_for

    def stopped(self) -> tuple[Run, ...]:
        """Return what is left of the sandboxes that are stopped, by name; others may have kept the network stack of one."""
        sandboxes = self._controller.state.sandboxes
        return tuple(run for run in self._runs.stopped() if run.id not in sandboxes or sandboxes[run.id].ended)

    async def rename_stopped(self, run: Run, name: str) -> None:
        """Rename a sandbox that is stopped."""
        names.check_object_name("sandbox", name)
        self._runs.check_name(name, run.id)
        await self._controller.sandboxes.free_name(name)
        if self._controller.state.sandbox_named(name) is not None:
            raise Conflict("sandbox", name, "exists already; choose another name")
        if run.id in self._controller.state.sandboxes:
            await self._controller.sandboxes.change(run.id, lambda sandbox: replace(sandbox, name=name))
        await self._runs.rename(run.id, name)

    async def connect_stopped(self, reference: str, request: EndpointRequest, *, dry_run: bool = False) -> Run:
        """Have a sandbox that is stopped be on one more network from its next start on; return it as it is then."""
        run = self._operations.find_stopped(reference)
        network = self._operations.find_network(request.network)
        changed = connected(run, request, network)
        if not dry_run:
            await self._runs.change(run, lambda now: connected(now, request, network))
        return changed

    async def disconnect_stopped(self, reference: str, network_reference: str, *, dry_run: bool = False) -> Run:
        """Have a sandbox that is stopped be off a network from its next start on; return it as it is then."""
        run = self._operations.find_stopped(reference)
        # The network may be gone: nothing that is stopped keeps it.
        names = [endpoint.network for endpoint in networks_of(run)]
        name = network_reference if network_reference in names else self._operations.find_network(network_reference).name
        changed = disconnected(run, name)
        if not dry_run:
            await self._runs.change(run, lambda now: disconnected(now, name))
        return changed

    async def note_restart(self, reference: str, exit_code: int) -> Sandbox:
        """Note that the command in a sandbox has ended, and that its holder will start it again."""
        sandbox = await self._controller.sandboxes.change(reference, lambda sandbox: replace(sandbox, leader=None))
        run = self._runs.get(sandbox.id)
        if run is None:
            raise Conflict("sandbox", sandbox.name, "does not stay when its command ends, so it is not started again")
        await self._runs.note_restart(run, exit_code)
        self._events.sandbox_stopped(sandbox, Cause.COMMAND_ENDED, exit_code)
        return sandbox

    async def note_health(self, reference: str, health: Health) -> Sandbox:
        """Note what the health check of a sandbox has found: names that have others leave out one that is unhealthy (DNS-49)."""
        sandbox = self._operations.find_sandbox(reference)
        if sandbox.health_check is None:
            raise InvalidRequest("health", f"sandbox {sandbox.name} has no health check")
        if sandbox.health is health:
            return sandbox
        changed = await self._controller.sandboxes.change(sandbox.id, lambda before: replace(before, health=health))
        self._events.sandbox_health(changed)
        return changed

    async def start(self, reference: str, owner: Owner) -> tuple[Sandbox, Process, tuple[str, ...]]:
        """Make a stopped sandbox again, for *owner* to start the returned command in; return it with warnings. Conflict if it runs.

        One whose network stack others share is in that stack again.
        """
        found = self._operations.find(reference)
        if isinstance(found, Sandbox):
            raise Conflict("sandbox", found.name, "runs already")
        async with self._runs.lock(found.id):
            run = self._runs.get(found.id)
            if run is None:
                raise NotFound("sandbox", found.name)
            sandbox, warnings = await self._make_again(run, owner)
            await self._runs.begin_again(run)
        return sandbox, run.process, warnings

    async def _make_again(self, run: Run, owner: Owner) -> tuple[Sandbox, tuple[str, ...]]:
        if run.id in self._controller.state.sandboxes:
            with contextlib.suppress(NotFound):
                return await self._revive(run, owner)
        return await self._operations.create_sandbox(replace(run.request, owner=owner), on_default=run.on_default)

    async def _revive(self, run: Run, owner: Owner) -> tuple[Sandbox, tuple[str, ...]]:
        """Have the sandbox of *run* run again in its network stack, which others have kept, on the networks that it is to be on now.

        NotFound if the stack has gone meanwhile.
        """
        sandboxes, state = self._controller.sandboxes, self._controller.state

        def change(sandbox: Sandbox) -> Sandbox:
            return replace(sandbox, owner=owner, leader=None, health=None if sandbox.health_check is None else Health.STARTING)

        sandbox, warnings = await sandboxes.revive(run.id, change)
        await self._operations.watch(owner)
        self._events.sandbox_started(sandbox)
        networks = [state.networks[endpoint.network_id] for endpoint in state.endpoints[run.id]]
        present = {network.name: network for network in networks if not network.is_gateway_bridge}
        wanted = {endpoint.network: endpoint for endpoint in networks_of(run)} if sandbox.stack is Stack.OWN else {}
        for name in present.keys() - wanted.keys() if wanted else ():
            await sandboxes.disconnect(run.id, name)
            self._events.endpoint_disconnected(sandbox, present[name])
        for name, endpoint in wanted.items():
            if name not in present:
                await sandboxes.connect(run.id, endpoint)
                self._events.endpoint_connected(sandbox, state.find_network(name))
        return sandbox, warnings

    async def stop(self, reference: str, *, grace: float | None = None, signal_name: str | None = None) -> str:
        """Stop the command in a sandbox and return when all that it had is free; return its name. One that is stopped is done."""
        if grace is not None:
            check_timeout("timeout", grace)
        number = None if signal_name is None else stop_signal(signal_name)
        found = self._operations.find(reference)
        if isinstance(found, Run):
            await self._runs.note_stop(found)
            return found.name
        if found.adopted:
            raise Conflict("sandbox", found.name, "is adopted: its processes belong to who started them, and are stopped there")
        run = self._runs.get(found.id)
        if found.leader is None and run is None:
            raise Conflict("sandbox", found.name, "has no command of its own to stop; remove it with `berth rm`")
        # What can't be recorded is refused, and the command goes on.
        await self._controller.prove_writable()
        process = run.process if run is not None else Process(command=())
        seconds = process.stop_timeout if grace is None else grace
        if run is not None:
            await self._start_no_more(found, run)
        if found.leader is not None:
            await self._end_process(found.leader, number or stop_signal(process.stop_signal), None if seconds < 0 else seconds)
        if run is not None:
            if found.owner is not None:
                await self._wait_for(found.owner)
            await self._removals.end_run(found, run)
        else:
            await self._wait_until_gone(found)
        return found.name

    async def start_no_more(self, reference: str) -> Sandbox:
        """Have the command in a sandbox be started no more by its policy when it ends: somebody is about to end it."""
        found = self._operations.find_sandbox(reference)
        run = self._runs.get(found.id)
        if run is not None:
            await self._start_no_more(found, run)
        return found

    async def _start_no_more(self, sandbox: Sandbox, run: Run) -> None:
        await self._runs.note_stop(run)
        if sandbox.owner is not None:
            await self._end_restarts(sandbox.owner)

    async def _wait_until_gone(self, sandbox: Sandbox) -> None:
        """Wait for the caller of `berth run`, who removes a sandbox that does not stay; it is removed here if he does not."""
        for _ in range(int(limits.PROCESS_GRACE / limits.ENDED_LOOK)):
            if sandbox.id not in self._controller.state.sandboxes:
                return
            await asyncio.sleep(limits.ENDED_LOOK)
        try:
            await self._operations.remove_sandbox(sandbox.id, Cause.REQUEST)
        except NotFound:
            return

    async def prune(self, filters: PruneBody) -> list[str]:
        """Remove the sandboxes that are stopped and that *filters* match; return their names."""
        removed = []
        for run in self.stopped():
            if not passes(filters, dict(run.request.labels), run.created):
                continue
            name, _ = await self._operations.remove_sandbox(run.id, Cause.PRUNED)
            removed.append(name)
        return removed

    async def settle(self) -> None:
        """Note which runs have ended while no daemon was there, with the host for example; for a start that has restored all else."""
        state, aside = self._controller.state, self._controller.set_aside
        for run in self._runs.all():
            sandbox = state.sandboxes.get(run.id)
            if run.ended is not None and sandbox is not None and not sandbox.ended:
                # The last daemon was killed while it started or ended this one. What is left of it, its owner's end removes.
                await self._runs.change(run, lambda now: replace(now, ended=None))
            has_gone = sandbox is None or sandbox.ended
            if run.ended is None and has_gone and aside.find("sandbox", run.id) is None:
                ended, _ = await self._runs.end(run)
                log.info("sandbox has ended while no daemon was there name=%s exit_code=%d", run.name, ended.exit_code or 0)
                if run.process.remove:
                    await self._runs.drop(ended)
