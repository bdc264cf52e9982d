"""The egress rules of all sandboxes at work: their openings, in step with the kernel. The only writer of both.

On the loop. The kernel is written at once, before an answer leaves: that takes 50 us. While the firewall tables are written anew,
answers wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from netcore import limits
from netcore.desired.egress_rules import TimedElement, opening_elements
from netcore.egress.new_names import NewNames
from netcore.egress.openings import Change, NoRoom, Opening, Openings
from netcore.egress.policy import ALLOWED, Policy, Verdict
from netcore.egress.ports import NOTHING, WEB
from netcore.egress.settings import EgressSettings
from netcore.errors import Exhausted, KernelError, NotFound
from netcore.kernel.egress_elements import EgressElements, Move, TrackedFlow
from netcore.look.opened_flows import ADDRESS_ALONE, number_of
from netcore.look.steps import FlowKey
from netcore.model import IPAddress
from resolver.daemon.egress_policy import EgressPolicy
from resolver.daemon.hidden_names import NOTHING_HIDDEN, HiddenNames

log = logging.getLogger(__name__)

OnRefused = Callable[[str, str, str, str | None], None]
"""(sandbox id, name, reason, rule that would allow it)."""


@dataclass(slots=True)
class _SandboxEgress:
    """*sources*: the addresses of its endpoints."""

    states: EgressStates
    openings: Openings
    new_names: NewNames
    sources: tuple[IPAddress, ...]
    generation: int

    @property
    def is_busy(self) -> bool:
        return self.states.is_busy

    def open(self, opened: Sequence[Opening], closed: Sequence[Opening], now: float) -> None:
        # Of an address that was not open nothing is in the kernel, and of one that was nothing of a new name.
        there, fresh = [*_others(self.openings, opened, closed, now)], []
        for opening in opened:
            if self.openings.is_known(opening.name, opening.address):
                there.append(opening)
            elif self.openings.is_known(None, opening.address):
                there.append(Opening("", opening.address, opening.ports, opening.until, opening.unlooked))
                fresh.append(Opening(opening.name, opening.address, NOTHING, opening.until))
            else:
                fresh.append(opening)
        self.states.elements.write(self.timed(there, now), self.timed(closed, now), self.timed(fresh, now))
        self.openings.apply(Change(tuple(opened), tuple(closed)), now)

    def timed(self, openings: Sequence[Opening], now: float) -> list[TimedElement]:
        return [timed for source in self.sources for opening in openings for timed in opening_elements(source, opening, now)]

    async def open_later(self, opened: Sequence[Opening]) -> None:
        await self.states.until_free()
        now = self.states.clock()
        # The rules may be others by now.
        allowed = [one for one in opened if one.ports == self.openings.policy.ports(one.name, one.address)]
        try:
            closed = self.openings.room_for(allowed, now)
        except NoRoom:
            live = await asyncio.to_thread(self.states.elements.live, self.sources)
            await self.states.until_free()
            try:
                closed = self.openings.room_for(allowed, self.states.clock(), live)
            except NoRoom:
                name = self.openings.policy.sandbox
                reason = f"its egress rules have opened {len(self.openings)} addresses, and all have connections"
                raise Exhausted("sandbox", name, because=reason) from None
        self.open(allowed, closed, self.states.clock())


def _others(openings: Openings, opened: Sequence[Opening], closed: Sequence[Opening], now: float) -> Iterator[Opening]:
    """Yield what other names have the addresses of *opened* and *closed* open for, and longer: one element stands for all of them."""
    gone: dict[IPAddress, set[str]] = {}
    for opening in closed:
        gone.setdefault(opening.address, set()).add(opening.name)
    touched = dict.fromkeys(opening.address for opening in (*opened, *closed))
    for address in touched:
        new = [one for one in opened if one.address == address]
        for other in openings.longest(address, gone.get(address, ())):
            is_covered = any(one.until >= other.until and (one.ports, one.unlooked) == (other.ports, other.unlooked) for one in new)
            if other.until > now and not is_covered:
                yield other


def _everything(openings: Openings, now: float) -> Iterator[Opening]:
    """Yield all that is open: the ports of each address once, however many names it has, and each of these without ports."""
    for address in openings.addresses():
        yield from (opening for opening in openings.longest(address) if opening.until > now)
    for opening in openings:
        if opening.until > now:
            yield Opening(opening.name, opening.address, NOTHING, opening.until)


class EgressStates:
    """See the module. *elements*: the kernel's part. *clock*: seconds. *on_refused*: is told of refused questions; set before use."""

    def __init__(self, settings: EgressSettings, elements: EgressElements, clock: Callable[[], float]) -> None:
        self.settings = settings
        self.elements = elements
        self.clock = clock
        self.on_refused: OnRefused = lambda _sandbox, _name, _reason, _lacks: None
        self.name_number: Callable[[FlowKey], int | None] = lambda _: None
        """Of the name that a connection was opened for (`look.opened_flows`); set before use."""
        self.target_of: Callable[[str, str], str | None] = lambda _sandbox, _name: None
        """(sandbox id, name) → the name outside that an alias of ours leads to; set before use."""
        self._sandboxes: dict[str, _SandboxEgress] = {}
        self._owners: dict[IPAddress, str] = {}
        self._before: dict[IPAddress, dict[IPAddress, dict[str, float]]] = {}
        """What an earlier daemon had open: by source and address, for each name until when."""
        self._moves: list[Move] = []
        self._is_together = False
        self._free = asyncio.Event()
        self._free.set()

    def configure(self, settings: EgressSettings) -> None:
        """Follow other *settings*; the views of all sandboxes are made anew after that."""
        self.settings = settings
        for known in self._sandboxes.values():
            known.openings.hold = settings.hold
            known.new_names = NewNames(settings.new_names)

    # --- views --------------------------------------------------------------------------------------------------

    def policy(
        self,
        identity: str,
        policy: Policy,
        generation: int,
        sources: Sequence[IPAddress],
        hidden: HiddenNames = NOTHING_HIDDEN,
    ) -> EgressPolicy:
        """Return the policy for the view of a sandbox: *policy* holds from now on, for what it sends from *sources*.

        What *policy* does not allow any more is closed when this returns. *generation*: the mark of what the firewall allows by it.
        """
        now = self.clock()
        known = self._sandboxes.get(identity)
        if known is None:
            known = _SandboxEgress(self, Openings(policy, self.settings.hold), NewNames(self.settings.new_names), (), generation)
            # What was recalled of these is in the kernel.
            known.sources = self._recall(known, sources, now)
        before, sources_before = known.openings, known.sources
        openings, changed, closed = before.under(policy, now)
        gone = [address for address in sources_before if address not in sources]
        fresh = [address for address in sources if address not in sources_before]
        timed = [one for source in sources_before for opening in closed for one in opening_elements(source, opening, now)]
        timed += [one for source in gone for opening in before for one in opening_elements(source, opening, now)]
        live = [opening for opening in openings if opening.until > now]
        touched = {opening.address for opening in (*changed, *closed)}
        kept = [opening for opening in live if opening.address in touched]
        opened = [one for source in sources if source not in fresh for opening in kept for one in opening_elements(source, opening, now)]
        opened += [one for source in fresh for opening in live for one in opening_elements(source, opening, now)]
        if timed or opened:
            self.elements.write(opened, timed)
        if known.generation != generation and sources_before:
            # What a name has opened is taken up by no rule: each connection was looked at when it began.
            names_count = len(before) or before.policy.looks_at_all or policy.looks_at_all
            may_go_on = partial(self._may_go_on, before, policy) if names_count else None
            self._moves.append(Move(sources_before, known.generation, generation, may_go_on))
            if not self._is_together:
                self._move()
        known.generation = generation
        known.openings, known.sources = openings, tuple(sources)
        for source in gone:
            self._owners.pop(source, None)
        self._owners.update(dict.fromkeys(sources, identity))
        self._sandboxes[identity] = known
        return EgressPolicy(openings, known.new_names, known, self.clock, lambda *refused: self.on_refused(identity, *refused), hidden)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Several sandboxes get other policies: their connections are looked at once for all, at the end."""
        self._is_together = True
        try:
            yield
        finally:
            self._is_together = False
            self._move()

    def _move(self) -> None:
        moves, self._moves = self._moves, []
        if moves:
            self.elements.move_flows(moves)

    def _may_go_on(self, before: Openings, policy: Policy, flow: TrackedFlow) -> bool:
        number = self.name_number(FlowKey(flow.source, flow.source_port, flow.address, flow.port)) if flow.protocol == "tcp" else None
        target = flow.address, flow.protocol, flow.port
        if number is None or number == ADDRESS_ALONE:
            return before.may_go_on(policy, *target, None, any_name=number is not None)
        return before.may_go_on(policy, *target, lambda name: number_of(name) == number)

    def forget(self, identity: str) -> None:
        """A sandbox has no rules any more, or is gone: what it had open is closed."""
        known = self._sandboxes.pop(identity, None)
        for source in known.sources if known is not None else ():
            self._owners.pop(source, None)
        if known is not None and len(known.openings):
            try:
                self.elements.write((), known.timed([*known.openings], self.clock()))
            except KernelError as error:
                # They run out by themselves, and only a sandbox with rules is judged by them.
                log.warning("addresses opened for a sandbox that is gone were not closed reason=%s", error)

    def owner_of(self, source: IPAddress) -> str | None:
        """Return the id of the sandbox with rules that sends from *source*."""
        return self._owners.get(source)

    def openings_of(self, identity: str) -> Openings | None:
        """Return the openings of a sandbox with rules."""
        known = self._sandboxes.get(identity)
        return known.openings if known is not None else None

    def generation_of(self, identity: str) -> int | None:
        """Return the generation of the rules of a sandbox that has some."""
        known = self._sandboxes.get(identity)
        return known.generation if known is not None else None

    def allows_first_data(self, identity: str, name: str | None, address: IPAddress, port: int, *, goes_on: bool) -> Verdict:
        """Return whether a TCP connection may go on whose first data ask for *name*, None: they are neither TLS nor HTTP.

        Then its address alone counts, but at the ports of both it must be a rule about addresses that allows it. *goes_on*: the same
        was allowed before, perhaps by other rules.
        """
        verdict = self.allows(identity, name, address, "tcp", port, goes_on=goes_on)
        openings = self.openings_of(identity)
        if verdict.allowed or name is not None or port in WEB or openings is None:
            return verdict
        late = self.clock() - limits.FIRST_DATA_PATIENCE
        if any(opening.ports.has("tcp", port) for opening in openings.of_address(address) if goes_on or opening.until > late):
            return ALLOWED
        return verdict

    def allows(self, identity: str, name: str | None, address: IPAddress, protocol: str, port: int, *, goes_on: bool = False) -> Verdict:
        """Return whether a sandbox may send to *address*, if *name* is what it calls the server; NotFound if it has no rules.

        *goes_on*: it was allowed to when it began.
        """
        openings = self.openings_of(identity)
        if openings is None:
            raise NotFound("egress rules", identity)
        verdict = openings.allows(name, address, protocol, port, self.clock(), goes_on=goes_on)
        target = self.target_of(identity, name) if name is not None and not verdict.allowed else None
        if name is None or target is None:
            return verdict
        return openings.allows_alias(name, target, address, protocol, port, self.clock(), goes_on=goes_on)

    # --- a start, and tables that are written anew --------------------------------------------------------------

    def read_back(self) -> None:
        """Take what the kernel has open from an earlier daemon: it counts for the sandboxes that have these addresses."""
        now = self.clock()
        for asked in self.elements.asked():
            until = now + asked.left
            self._before.setdefault(asked.source, {}).setdefault(asked.address, {})[asked.name] = until

    def _recall(self, known: _SandboxEgress, sources: Sequence[IPAddress], now: float) -> tuple[IPAddress, ...]:
        """Take what was read back of *sources*; return those of which there was something."""
        left = [source for source in sources if source in self._before]
        for source in left:
            found = self._before.pop(source)
            for address, names in found.items():
                known.openings.recall(address, {name: until for name, until in names.items() if until > now}, now)
            for name in dict.fromkeys(name for names in found.values() for name in names):
                known.openings.asked(name, now)
        return tuple(left)

    @property
    def is_busy(self) -> bool:
        """Whether the tables are being written anew."""
        return not self._free.is_set()

    async def until_free(self) -> None:
        """Wait until something can be opened."""
        await self._free.wait()

    @contextmanager
    def rewriting(self) -> Iterator[Sequence[TimedElement]]:
        """See `NamePublisher.rewriting`."""
        now = self.clock()
        was_free = self._free.is_set()
        self._free.clear()
        try:
            yield [timed for known in self._sandboxes.values() for timed in known.timed([*_everything(known.openings, now)], now)]
        finally:
            if was_free:
                self._free.set()

    def due(self) -> list[tuple[str, str, int]]:
        """Return (sandbox id, name, family) of what is to be asked again, so that it stays open."""
        now = self.clock()
        return [(identity, *one) for identity, known in self._sandboxes.items() for one in known.openings.due(now)]

    def close(self) -> None:
        """Stop; what is open stays open for its time."""
        self.elements.close_socket()

    def sizes(self) -> Mapping[str, int]:
        """Return sandbox id → addresses that are open for it."""
        return {identity: len(known.openings) for identity, known in self._sandboxes.items()}
