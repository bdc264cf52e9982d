"""When what must exist is compared with what is there: soon after a notification that contradicts it, and once a minute (`rounds.py`).

Each network and sandbox is compared by itself, at most once a second, and beside the others: one that an operation holds locked
keeps nobody waiting. It is looked at first without its locks; only what seems damaged is looked at again under them, so
an operation under way is never taken for damage. Networks come before sandboxes, whose links are ports of their bridges.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from netcore import limits
from netcore.controller import tunnel_encryption
from netcore.controller.collaborators import Collaborators
from netcore.controller.drift import notices
from netcore.controller.drift.comparison import Comparison
from netcore.controller.drift.held import NAMESPACE
from netcore.controller.drift.rounds import Rounds
from netcore.controller.drift.sources import Sources
from netcore.errors import NetcoreError
from netcore.model import SandboxId
from netcore.plan.drift import ENCRYPTION, TABLES, Concern, Damage, Part

log = logging.getLogger(__name__)

OnDrift = Callable[[str, str], None]
"""(what happened: `repair`, `fail` or `leave`; to what)."""


class CheckOthers(Protocol):
    """Sees to other programs' firewalls. *anew*: whatever was seen there before."""

    def __call__(self, *, anew: bool = False) -> Awaitable[None]: ...


class DriftWatch:
    """See the module. *comparisons*: in the order in which they are made. *others*: is awaited after somebody changed nftables."""

    def __init__(self, parts: Collaborators, comparisons: Sequence[Comparison], on_event: OnDrift, others: CheckOthers) -> None:
        self._parts = parts
        self._comparisons = comparisons
        self._on_event = on_event
        self._others = others
        self._others_at_work = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._sources = Sources(parts, self._wake)
        self._woken = asyncio.Event()
        self._dirty: set[Concern] = set()
        self._running: dict[Concern, asyncio.Task[None]] = {}
        self._compared: dict[Concern, float] = {}
        self._rounds = Rounds(self._in_turn, self._loop.time())
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._problems: dict[Concern, str] = {}
        self.repairs = parts.repairs

    def start(self) -> None:
        """Begin to watch."""
        self._sources.start()
        self._task = self._loop.create_task(self._follow())

    def _wake(self) -> None:
        self._woken.set()

    # --- when ----------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._rounds.next_turn() - self._loop.time())):
                    await self._woken.wait()
            # By the clock: where something comes all the time, the wait never ends by its time.
            if self._rounds.next_turn() <= self._loop.time():
                turns = self._rounds.take(self._loop.time())
                self._dirty.update(turns)
                self._sources.follow_again(turns)
                if TABLES in turns:
                    await self.check_others(anew=True)
            else:
                await asyncio.sleep(limits.DRIFT_SETTLE)
            self._woken.clear()
            try:
                await self._take_notices()
            except (NetcoreError, OSError) as error:
                log.warning("changes are not noticed at once reason=%s", error)
            await self._begin_comparisons()

    async def _take_notices(self) -> None:
        told = await self._sources.read()
        self._dirty |= told.concerns
        for concern in told.gone:
            self._compared.pop(concern, None)
            self._problems.pop(concern, None)
            self.repairs.forget(concern)
        if told.is_incomplete:
            self._rounds.begin_anew(self._loop.time())
        if told.are_tables_foreign:
            await self.check_others()

    def _in_turn(self) -> list[Concern]:
        """Return everything, in the order in which it is compared."""
        state = self._parts.state
        networks = [Concern(Part.NETWORK, network.id) for network in state.networks_here()]
        sandboxes = [Concern(Part.SANDBOX, sandbox.id) for sandbox in state.sandboxes.values() if notices.is_compared(sandbox)]
        encryption = [ENCRYPTION] if self._parts.overlays.encryption.is_used else []
        return [TABLES, *encryption, *networks, *sandboxes]

    def _exists(self, concern: Concern) -> bool:
        match concern.part:
            case Part.NETWORK:
                return concern.identity in self._parts.state.networks
            case Part.SANDBOX:
                return concern.identity in self._parts.state.sandboxes
            case _:
                return True

    async def _begin_comparisons(self) -> None:
        now = self._loop.time()
        self._dirty = {concern for concern in self._dirty if self._exists(concern)}
        due = {concern for concern in self._dirty if self._compared.get(concern, 0.0) + limits.DRIFT_PAUSE <= now} - self._running.keys()
        self._dirty -= due
        for part in (Part.NETWORK, Part.TABLES, Part.ENCRYPTION, Part.SANDBOX):
            begun = [self._begin(concern, now) for concern in due if concern.part is part]
            if begun and part is Part.NETWORK:
                await asyncio.wait(begun, timeout=limits.DRIFT_PAUSE)
        if self._dirty and self._timer is None:
            self._timer = self._loop.call_later(limits.DRIFT_PAUSE, self._wake_later)

    def _wake_later(self) -> None:
        self._timer = None
        self._wake()

    def _begin(self, concern: Concern, now: float) -> asyncio.Task[None]:
        self._compared[concern] = now
        task = self._running[concern] = self._loop.create_task(self._compare(concern))
        task.add_done_callback(lambda _: self._ended(concern))
        return task

    def _ended(self, concern: Concern) -> None:
        del self._running[concern]
        if self._dirty:
            self._wake()

    # --- what ----------------------------------------------------------------------------------------------------

    async def _compare(self, concern: Concern) -> None:
        try:
            damages = await self.find(concern)
            if damages:
                async with self._parts.locks.hold(self._locks(concern)):
                    damages = await self._repair(concern)
                self._sources.follow_again([concern])
            self.repairs.settle(concern, damages, self._parts.clock())
            self._problems.pop(concern, None)
        except (NetcoreError, OSError) as error:
            if self._problems.get(concern) != str(error):
                log.warning(
                    "could not be compared with what must exist kind=%s id=%s reason=%s", concern.part.value, concern.identity, error
                )
            self._problems[concern] = str(error)

    async def find(self, concern: Concern) -> list[Damage]:
        """Return all that is not as it should be of *concern*; changes nothing."""
        found: list[Damage] = []
        for comparison in self._comparisons:
            found += await comparison.find(concern)
            if any(damage.kind == NAMESPACE for damage in found):
                # Nothing inside can be looked at.
                break
        return found

    async def _repair(self, concern: Concern, *, again: bool = False) -> list[Damage]:
        """Put right what may be put right, one comparison after the other; return what was found. *again*: as often as it takes."""
        everything: list[Damage] = []
        for comparison in self._comparisons:
            damages = await comparison.find(concern)
            everything += damages
            chosen, given_up = self.repairs.choose(damages, self._parts.clock())
            if again:
                chosen, given_up = list(damages), []
            for damage in given_up:
                log.warning("changed again and left alone object=%s", damage.describe())
                self._on_event("leave", damage.describe())
            if chosen:
                problems = await comparison.repair(concern, chosen)
                for damage in chosen:
                    self._say(damage, problems.get(damage.key))
            if any(damage.kind == NAMESPACE for damage in damages) and await comparison.find(concern):
                # Nothing inside can be looked at.
                break
        return everything

    def _say(self, damage: Damage, problem: str | None) -> None:
        self.repairs.done(damage, self._parts.clock(), problem)
        if problem is None:
            log.warning("changed by another program and repaired object=%s", damage.describe())
            self._on_event("repair", damage.describe())
        else:
            log.warning("changed by another program and not repaired object=%s reason=%s", damage.describe(), problem)
            self._on_event("fail", damage.describe())

    def _locks(self, concern: Concern) -> list[str]:
        state = self._parts.state
        match concern.part:
            case Part.NETWORK:
                return ["networks", f"network:{concern.identity}"]
            case Part.SANDBOX:
                endpoints = state.endpoints.get(SandboxId(concern.identity), ())
                return [f"sandbox:{concern.identity}", *(f"network:{endpoint.network_id}" for endpoint in endpoints)]
            case Part.TABLES:
                sandboxes, networks = state.sandboxes, state.networks
                return ["networks", *(f"sandbox:{identity}" for identity in sandboxes), *(f"network:{identity}" for identity in networks)]
            case Part.ENCRYPTION:
                return [tunnel_encryption.LOCK]
            case Part.UPLINKS | Part.PORTS:
                # Compared by `Uplinks`, under a lock of its own; and with the sandboxes.
                return []

    # --- for others ----------------------------------------------------------------------------------------------

    async def check_others(self, *, anew: bool = False) -> None:
        """See to other programs' firewalls now; what fails is logged and tried again later. *anew*: whatever was seen there before."""
        try:
            # Two at once would each find a rule missing and put it in.
            async with self._others_at_work:
                await self._others(anew=anew)
        except (NetcoreError, OSError) as error:
            log.warning("firewalls could not be checked reason=%s", error)

    async def examine(self) -> list[Damage]:
        """Return everything that is not as it should be; changes nothing."""
        found = []
        for concern in sorted(self._in_turn(), key=lambda concern: (concern.part.value, concern.identity)):
            found += await self.find(concern)
        return found

    async def mend(self, concern: Concern) -> list[Damage]:
        """Put right everything of *concern*, also what was left alone; return what is still not as it should be."""
        async with self._parts.locks.hold(self._locks(concern)):
            await self._repair(concern, again=True)
            self.repairs.forget(concern)
            return await self.find(concern)

    def warnings(self) -> tuple[str, ...]:
        """Return what others change, for the status."""
        return self.repairs.warnings(self._parts.clock())

    async def close(self) -> None:
        """Stop watching; what is being repaired is finished."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._running:
            await asyncio.wait([*self._running.values()])
        self._sources.close()
