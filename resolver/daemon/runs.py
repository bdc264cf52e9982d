"""Runs: the commands that were started to stay (`run -d`, `up -d`), each with the sandbox that it needs. One writer of their records.

A run is there from its first start until it is removed, whether its command runs or not. While it runs there is a sandbox with its
id; afterwards the record alone tells of it, so its name is taken and its addresses and ports are free. A record outlives the boot.
Key: `run/ID`.

Beside the record a run has a directory of its own: what the command printed (`output.log`), and `exit`, which the process that
holds the sandbox writes when the command has ended.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from netcore.errors import Conflict
from netcore.model import Sandbox, SandboxId, SandboxRequest
from netcore.store.codec import Undecodable, decode, encode
from netcore.store.protocol import Store, Transaction
from resolver.daemon.blocking import RunBlocking

log = logging.getLogger(__name__)

LOST = 255
"""The exit code of a command whose end nobody saw, as with Docker after a reboot."""
_EXIT = "exit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A command and how it is started and stopped.

    *environment*: of the caller; *explicit*: variables that win over those of the sandbox. *directory*: where it runs, an error if it
    can't be entered and is *directory_required*. *stop_timeout*: seconds between the stop signal and KILL. *restart*: no, always,
    unless-stopped, on-failure or on-failure:N. *remove*: nothing is kept when it ends.
    """

    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    explicit: tuple[tuple[str, str], ...] = ()
    directory: str = "/"
    directory_required: bool = False
    stop_signal: str = "TERM"
    stop_timeout: float = 10.0
    restart: str = "no"
    remove: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run. *request*: for its sandbox. *on_default*: without networks that goes to `default`. *created*, *started*, *ended*: seconds
    since the epoch; *ended* None: it runs, or waits to be started again. *exit_code*: of the last command that ended.
    *stopped_by_user*: somebody stopped it, or sent its command a signal to end, since its start.
    """

    id: SandboxId
    request: SandboxRequest
    process: Process
    created: float
    started: float
    on_default: bool = False
    ended: float | None = None
    exit_code: int | None = None
    restarts: int = 0
    stopped_by_user: bool = False

    @property
    def name(self) -> str:
        """The name of its sandbox."""
        return self.request.name


class Runs:
    """All runs. *directory*: below which each has its own. *clock*: seconds since the epoch. *keeps_stopped*: see `is_due`."""

    def __init__(
        self, store: Store, directory: Path, run_blocking: RunBlocking, clock: Callable[[], float], *, keeps_stopped: bool = False
    ) -> None:
        self._store = store
        self._directory = directory
        self._run_blocking = run_blocking
        self._clock = clock
        self._keeps_stopped = keeps_stopped
        self._runs: dict[SandboxId, Run] = {}
        self._locks: dict[SandboxId, asyncio.Lock] = {}
        # Those that an earlier daemon knew, or whose holder was killed, and that nobody started or stopped since.
        self._of_before: set[SandboxId] = set()
        self._lost: set[SandboxId] = set()
        # A change is of the record as the one before it has left it.
        self._writing = asyncio.Lock()

    def lock(self, identity: SandboxId) -> asyncio.Lock:
        """Return the lock of whoever starts, ends or removes this run."""
        return self._locks.setdefault(identity, asyncio.Lock())

    async def load(self) -> None:
        """Read all records; one that can't be read stays as it is, and is told of in the log."""
        for key, item in (await self._store.load()).items.items():
            if key.startswith("run/"):
                try:
                    run = decode(Run, item.value)
                except Undecodable as error:
                    log.error("the record of a run can't be read key=%s reason=%s", key, error)
                    continue
                self._runs[run.id] = run
                self._of_before.add(run.id)

    def get(self, identity: str) -> Run | None:
        """Return the run with this id, None if there is none."""
        return self._runs.get(SandboxId(identity))

    def all(self) -> tuple[Run, ...]:
        """Return all runs, by name."""
        return tuple(sorted(self._runs.values(), key=lambda run: run.name))

    def stopped(self) -> tuple[Run, ...]:
        """Return the runs that have ended, by name."""
        return tuple(run for run in self.all() if run.ended is not None)

    def find_stopped(self, reference: str) -> Run | None:
        """Return the run that has ended with this id, name or unique beginning of an id; None if there is none, or several."""
        stopped = self.stopped()
        exact = [run for run in stopped if reference in (run.name, run.id)]
        found = exact or [run for run in stopped if reference and run.id.startswith(reference)]
        return found[0] if len(found) == 1 else None

    def check_name(self, name: str, identity: str | None = None) -> None:
        """Raise Conflict if a run that has ended is called *name*, unless it has the id *identity*."""
        if any(run.name == name and run.id != identity for run in self.stopped()):
            text = "exists already and is stopped; start it with `berth start`, remove it with `berth rm`, or choose another name"
            raise Conflict("sandbox", name, text)

    @property
    def directory(self) -> Path:
        """The directory of the daemon's state, with those of runs and more."""
        return self._directory.parent

    def directory_of(self, identity: str) -> Path:
        """Return the directory of a run."""
        return self._directory / identity

    async def begin(self, sandbox: Sandbox, request: SandboxRequest, process: Process, *, on_default: bool) -> Run:
        """Record a run whose *sandbox* has just been made as *request* says, and make its directory."""
        identity, created = sandbox.id, sandbox.created
        # The owner is of this start only.
        lasting = replace(request, owner=None, again=(identity, created))
        run = Run(id=identity, request=lasting, process=process, created=created, started=self._clock(), on_default=on_default)
        await self._run_blocking(lambda: self._make_directory(identity))
        async with self._writing:
            await self._put(run)
        return run

    def _make_directory(self, identity: str) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory_of(identity).mkdir(mode=0o700, exist_ok=True)

    async def begin_again(self, run: Run) -> Run:
        """Record that a stopped run was started, and forget how it ended before."""
        await self._run_blocking(lambda: (self.directory_of(run.id) / _EXIT).unlink(missing_ok=True))
        await self._run_blocking(lambda: self._make_directory(run.id))
        is_restart = run.id in self._lost
        self._forget_due(run)
        at = self._clock()

        def begun(now: Run) -> Run:
            restarts = now.restarts + 1 if is_restart else 0
            return replace(now, started=at, ended=None, exit_code=None, restarts=restarts, stopped_by_user=False)

        return await self.change(run, begun)

    def expect(self, run: Run) -> None:
        """Note that *run*, whose holder was killed, is to be started again by its policy now: one more restart."""
        self._of_before.add(run.id)
        self._lost.add(run.id)

    def _forget_due(self, run: Run) -> None:
        self._of_before.discard(run.id)
        self._lost.discard(run.id)

    async def note_restart(self, run: Run, exit_code: int) -> None:
        """Record that the command has ended and is to be started again by the process that holds the sandbox."""
        await self.change(run, lambda now: replace(now, exit_code=exit_code, restarts=now.restarts + 1))

    async def note_start(self, run: Run) -> None:
        """Record that it was started again by the process that holds the sandbox."""
        at = self._clock()
        await self.change(run, lambda now: replace(now, started=at))

    async def note_stop(self, run: Run) -> None:
        """Record that somebody wants it stopped."""
        self._forget_due(run)
        await self.change(run, lambda now: replace(now, stopped_by_user=True))

    def is_due(self, run: Run) -> bool:
        """Return whether *run* is to be started by its policy, as this daemon has started, or as its holder was killed."""
        return run.id in self._of_before and is_due(run, keeps_stopped=self._keeps_stopped)

    async def end(self, run: Run) -> tuple[Run, bool]:
        """Record that a run has ended, with the exit code that the holder of its sandbox has written; return whether it had done that."""
        written = await self._run_blocking(lambda: self._read_exit(run.id))
        code, at = written if written is not None else (LOST, self._clock())
        return await self.change(run, lambda now: replace(now, ended=at, exit_code=code)), written is not None

    def _read_exit(self, identity: str) -> tuple[int, float] | None:
        try:
            told = json.loads((self.directory_of(identity) / _EXIT).read_text())
            return int(told["code"]), float(told["at"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    async def change(self, run: Run, change: Callable[[Run], Run]) -> Run:
        """Change the record of *run* as it is now, and return it; one that was dropped meanwhile stays away."""
        async with self._writing:
            changed = change(self._runs.get(run.id, run))
            if run.id in self._runs:
                await self._put(changed)
        return changed

    async def change_request(self, identity: SandboxId, change: Callable[[Run], Run]) -> None:
        """Change what a sandbox will be like at its next start, if it is one that stays."""
        run = self.get(identity)
        if run is not None:
            await self.change(run, change)

    async def rename(self, identity: SandboxId, name: str) -> None:
        """Change its name, if it is one that stays."""
        await self.change_request(identity, lambda run: replace(run, request=replace(run.request, name=name)))

    async def drop(self, run: Run) -> None:
        """Remove the record of a run and its directory."""
        async with self._writing:
            await self._store.commit(Transaction({f"run/{run.id}": None}))
            self._runs.pop(run.id, None)
        self._locks.pop(run.id, None)
        await self._run_blocking(lambda: shutil.rmtree(self.directory_of(run.id), ignore_errors=True))

    async def _put(self, run: Run) -> None:
        await self._store.commit(Transaction({f"run/{run.id}": encode(run)}))
        self._runs[run.id] = run


def is_due(run: Run, *, keeps_stopped: bool) -> bool:
    """Return whether the policy of *run*, which has ended, starts it when a daemon starts, as with Docker. Pure.

    always: in any case; unless-stopped: not if somebody stopped it; on-failure: neither that, nor if it ended well or was started as
    often as it may be. *keeps_stopped*: always means unless-stopped, since daemons come and go without anybody asking for it.
    """
    if run.ended is None:
        return False
    kind, _, most = run.process.restart.partition(":")
    match kind:
        case "always":
            return not (keeps_stopped and run.stopped_by_user)
        case "unless-stopped":
            return not run.stopped_by_user
        case "on-failure":
            return not run.stopped_by_user and run.exit_code != 0 and (not most or run.restarts < int(most))
    return False
