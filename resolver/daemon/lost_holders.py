"""Sandboxes whose holder was killed: their commands are started again by their restart policy, as when a daemon starts.

Who holds a sandbox starts its command again by itself; with it went whoever could. The daemon waits as long as that would have waited,
and has a process with the rights for it start what is due (`resolver.cli.starting`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from netcore.model import SandboxId
from resolver import limits, restart_policy
from resolver.daemon.runs import LOST, Run, Runs

log = logging.getLogger(__name__)


class LostHolders:
    """*start_due*: have what is due started soon. *clock*: seconds since the epoch."""

    def __init__(self, runs: Runs, start_due: Callable[[], None], clock: Callable[[], float]) -> None:
        self._runs = runs
        self._start_due = start_due
        self._clock = clock
        self._pauses: dict[SandboxId, float] = {}
        # Those whose time has not come, and until when those whose time has come are waited for.
        self._waiting: dict[SandboxId, asyncio.TimerHandle] = {}
        self._due_until: dict[SandboxId, float] = {}

    def note(self, run: Run) -> None:
        """Note that *run* has ended as its holder was killed; it is started again if its policy says so."""
        policy = restart_policy.policy_of(run.process.restart)
        if run.stopped_by_user or run.process.remove or not policy.restarts(LOST, run.restarts):
            return
        pause = restart_policy.next_pause(self._pauses.get(run.id, 0.0), self._clock() - run.started)
        self._pauses[run.id] = pause
        log.warning("the process that holds a sandbox was killed; its command is started again name=%s pause=%g", run.name, pause)
        self._waiting[run.id] = asyncio.get_running_loop().call_later(pause, self._start, run.id)

    def _start(self, identity: SandboxId) -> None:
        self._waiting.pop(identity, None)
        run = self._runs.get(identity)
        if run is None or run.ended is None or run.stopped_by_user:
            self._pauses.pop(identity, None)
            return
        self._runs.expect(run)
        self._due_until[identity] = self._clock() + limits.HOLDER_GRACE
        self._start_due()

    def is_busy(self) -> bool:
        """Return whether a command is still to be started again."""
        now = self._clock()
        self._due_until = {key: end for key, end in self._due_until.items() if now < end and self._is_stopped(key)}
        return bool(self._waiting or self._due_until)

    def _is_stopped(self, identity: SandboxId) -> bool:
        run = self._runs.get(identity)
        return run is not None and run.ended is not None

    def close(self) -> None:
        """Start nothing more; the next daemon does."""
        for timer in self._waiting.values():
            timer.cancel()
        self._waiting.clear()
