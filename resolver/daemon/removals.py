"""How sandboxes go: at somebody's request, or because the command that they were made for has ended. One that stays leaves its run."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

from netcore.controller import Controller
from netcore.errors import NotFound
from netcore.model import Owner, Sandbox
from resolver.daemon.events import Cause, Events
from resolver.daemon.lost_holders import LostHolders
from resolver.daemon.owners import ExitCode
from resolver.daemon.runs import Run, Runs


class Removals:
    """*lost*: told of those whose holder was killed.

    *end_process*: end a process and wait for its end. *end_restarts*: have what holds a sandbox start its command no more.
    """

    def __init__(
        self,
        controller: Controller,
        runs: Runs,
        events: Events,
        lost: LostHolders,
        *,
        end_process: Callable[[Owner], Awaitable[None]],
        end_restarts: Callable[[Owner], Awaitable[None]],
    ) -> None:
        self._controller = controller
        self._runs = runs
        self._events = events
        self._lost = lost
        self._end_process = end_process
        self._end_restarts = end_restarts
        self._under_way: set[str] = set()

    async def remove(self, sandbox: Sandbox, cause: Cause, exit_code: ExitCode) -> tuple[str, ...]:
        """End what was started in *sandbox*, remove the sandbox and what would be left of it; return warnings."""
        self._under_way.add(sandbox.id)
        try:
            run = self._runs.get(sandbox.id)
            if run is not None or (sandbox.leader is not None and not sandbox.adopted):
                # A removal that can't be recorded is refused, and the process goes on.
                await self._controller.prove_writable()
            if run is not None and sandbox.owner is not None:
                await self._end_restarts(sandbox.owner)
            if sandbox.leader is not None and not sandbox.adopted:
                await self._end_process(sandbox.leader)
            async with self._runs.lock(sandbox.id) if run is not None else contextlib.nullcontext():
                return await self._free(sandbox, self._runs.get(sandbox.id), cause, exit_code)
        finally:
            self._under_way.discard(sandbox.id)

    async def remove_stopped(self, run: Run, cause: Cause) -> tuple[str, ...]:
        """Remove what is left of a sandbox that is stopped; return warnings: others may have kept its network stack."""
        warnings: tuple[str, ...] = ()
        async with self._runs.lock(run.id):
            await self._runs.drop(run)
            with contextlib.suppress(NotFound):
                warnings = (await self._controller.sandboxes.remove(run.id, if_ended=True)).warnings
        self._events.emit("sandbox", "remove", run.name, identity=run.id, cause=cause, exit_code=run.exit_code)
        return warnings

    async def end_run(self, sandbox: Sandbox, run: Run) -> None:
        """Free what *sandbox* has, now that its command has ended and is not started again; keep the *run*, unless it is not to stay."""
        if sandbox.id in self._under_way:
            return
        async with self._runs.lock(run.id):
            known = self._runs.get(run.id)
            if known is None:
                return
            # Recorded first: its name is taken at all times.
            ended, was_seen = await self._runs.end(known) if known.ended is None else (known, True)
            cause = Cause.COMMAND_ENDED if was_seen else Cause.OWNER_ENDED
            if run.process.remove:
                await self._free(sandbox, ended, cause, lambda: ended.exit_code)
                return
            if known.ended is None:
                self._events.sandbox_stopped(sandbox, cause, ended.exit_code)
            with contextlib.suppress(NotFound):
                await self._controller.sandboxes.remove(sandbox.id)
            if not was_seen:
                self._lost.note(ended)

    async def _free(self, sandbox: Sandbox, run: Run | None, cause: Cause, exit_code: ExitCode) -> tuple[str, ...]:
        """Remove *sandbox*, in which nothing runs, and its *run*, whose lock is held; return warnings."""
        warnings: tuple[str, ...] = ()
        try:
            warnings = (await self._controller.sandboxes.remove(sandbox.id)).warnings
        except NotFound:
            # The process was its owner, so its end has had the sandbox removed.
            if run is None:
                return ()
        if run is not None:
            await self._runs.drop(run)
        self._events.sandbox_removed(sandbox, cause, exit_code())
        return warnings
