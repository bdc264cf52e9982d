"""Which addresses answers have opened for one sandbox, for which names and until when. Pure: who calls tells the time.

An address stays open for the answer's TTL, and at least for the policy's hold, because programs keep addresses longer than they may.
What is given is half the hold longer than needed, so that the same answer, given again and again, changes something seldom.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from netcore import limits
from netcore.egress.policy import Flow, Policy, Verdict
from netcore.egress.ports import NOTHING, Ports
from netcore.model import IPAddress


@dataclass(frozen=True, slots=True)
class Opening:
    """*address* is open at *ports* for *name*, until a time on the caller's clock. *unlooked*: at which the address alone counts."""

    name: str
    address: IPAddress
    ports: Ports
    until: float
    unlooked: Ports = NOTHING


@dataclass(slots=True)
class _Address:
    """*names*: each with its opening. *used*: when an answer last had the address. *longest*: ports, and those unlooked, → until when."""

    names: dict[str, Opening] = field(default_factory=dict)
    used: float = 0.0
    longest: dict[tuple[Ports, Ports], float] = field(default_factory=dict)

    def until(self) -> float:
        return max(self.longest.values(), default=0.0)

    def put(self, opening: Opening) -> None:
        before = self.names.get(opening.name)
        self.names[opening.name] = opening
        ports = opening.ports, opening.unlooked
        if before is not None and ((before.ports, before.unlooked) != ports or before.until > opening.until):
            self._count_again()
        else:
            self.longest[ports] = max(self.longest.get(ports, 0.0), opening.until)

    def remove(self, name: str) -> None:
        if self.names.pop(name, None) is not None:
            self._count_again()

    def _count_again(self) -> None:
        self.longest = {}
        for opening in self.names.values():
            ports = opening.ports, opening.unlooked
            self.longest[ports] = max(self.longest.get(ports, 0.0), opening.until)


@dataclass(frozen=True, slots=True)
class Change:
    """What must be in the kernel before an answer leaves: *opened*, and *closed* to make room."""

    opened: tuple[Opening, ...]
    closed: tuple[Opening, ...] = ()


class NoRoom(Exception):
    """Every address within the bound has live connections, or nobody has said which do."""


class Openings:
    """See the module. *hold*: seconds. *bound*: addresses at most. *bound_of_names*: names of addresses at most, all together."""

    def __init__(
        self, policy: Policy, hold: float, bound: int = limits.EGRESS_ADDRESSES, bound_of_names: int = limits.EGRESS_NAMES
    ) -> None:
        self.policy = policy
        self.hold = hold
        self._bound = bound
        self._bound_of_names = bound_of_names
        self._named: dict[tuple[str, IPAddress], None] = {}
        """Each name with each of its addresses, the one whose answer is the oldest first."""
        self._addresses: dict[IPAddress, _Address] = {}
        self._targets: dict[str, tuple[str, float]] = {}
        self._aliases: dict[str, str] = {}
        """Alias of ours → the name outside that it led to when a connection was last allowed by it."""
        self._asked: dict[str, float] = {}
        self._answered: dict[IPAddress, dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._addresses)

    def addresses(self) -> Iterator[IPAddress]:
        """Yield the addresses that are, or were, open for a name."""
        yield from self._addresses

    def __iter__(self) -> Iterator[Opening]:
        for known in self._addresses.values():
            yield from known.names.values()

    def is_known(self, name: str | None, address: IPAddress) -> bool:
        """Return whether *address* is, or was, open for *name*; None: for any."""
        known = self._addresses.get(address)
        return known is not None and (name is None or name in known.names)

    # --- answers ------------------------------------------------------------------------------------------------

    def answered(self, name: str, addresses: Sequence[IPAddress], ttl: float, now: float) -> tuple[Opening, ...]:
        """Return what an answer of *name* needs of the kernel that it does not have for long enough. Nothing is changed."""
        if not self.policy.opens_by_name:
            return ()
        needed = now + max(min(ttl, limits.EGRESS_LONGEST), self.hold)
        given = needed + self.hold / 2
        made = []
        for address in dict.fromkeys(addresses):
            known = self._addresses.get(address)
            opening = known.names.get(name) if known is not None else None
            if opening is not None and opening.until >= needed:
                continue
            ((ports, unlooked),) = self.policy.open_for((name,), address)
            if ports:
                made.append(Opening(name, address, ports, given, unlooked))
        return tuple(made)

    def recall(self, address: IPAddress, names: Mapping[str, float], now: float) -> None:
        """Take back what an earlier daemon had opened *address* for: *names*, each until when. What is not allowed any more is left out."""
        allowed = zip(names.items(), self.policy.open_for(names, address), strict=True)
        opened = [Opening(name, address, ports, until, unlooked) for (name, until), (ports, unlooked) in allowed if ports]
        self.apply(Change(tuple(opened)), now)

    def room_for(self, opened: Sequence[Opening], now: float, live: Collection[IPAddress] | None = None) -> tuple[Opening, ...]:
        """Return what must be closed to make room for *opened*: what has not been used for longest, never what has connections.

        *live*: addresses with connections, None: not known; NoRoom says that it must be, or that all are in use.
        """
        fresh = {opening.address for opening in opened if opening.address not in self._addresses}
        if len(fresh) > self._bound:
            raise NoRoom
        needed = {opening.address for opening in opened}
        return (*self._addresses_for(fresh, needed, now, live), *self._names_for(opened))

    def _names_for(self, opened: Sequence[Opening]) -> Iterator[Opening]:
        """Yield the oldest openings that make room for the names of *opened*: what has a connection goes on without them."""
        new = {(opening.name, opening.address) for opening in opened}
        # Not by a difference of sets, which would walk through all that is known.
        lacking = len(self._named) + sum(key not in self._named for key in new) - self._bound_of_names
        for name, address in self._named:
            if lacking <= 0:
                return
            if (name, address) not in new:
                lacking -= 1
                yield self._addresses[address].names[name]

    def _addresses_for(
        self, fresh: Collection[IPAddress], needed: Collection[IPAddress], now: float, live: Collection[IPAddress] | None
    ) -> tuple[Opening, ...]:
        lacking = len(self._addresses) + len(fresh) - self._bound
        if lacking <= 0:
            return ()
        over = [address for address, known in self._addresses.items() if known.until() <= now and address not in needed]
        victims = over[:lacking]
        if len(victims) < lacking:
            if live is None:
                raise NoRoom
            gone = {*victims, *needed, *live}
            unused = sorted(
                (known.used, number, address) for number, (address, known) in enumerate(self._addresses.items()) if address not in gone
            )
            victims += [address for _, _, address in unused[: lacking - len(victims)]]
            if len(victims) < lacking:
                raise NoRoom
        return tuple(opening for address in victims for opening in self._addresses[address].names.values())

    def apply(self, change: Change, now: float) -> None:
        """Note that *change* is in the kernel."""
        for closed in change.closed:
            self._named.pop((closed.name, closed.address), None)
            known = self._addresses.get(closed.address)
            if known is not None:
                known.remove(closed.name)
                if not known.names:
                    del self._addresses[closed.address]
        for opening in change.opened:
            known = self._addresses.setdefault(opening.address, _Address())
            known.put(opening)
            known.used = now
            self._named.pop((opening.name, opening.address), None)
            self._named[opening.name, opening.address] = None

    def longest(self, address: IPAddress, without: Collection[str] = ()) -> Iterator[Opening]:
        """Yield what *address* is open for by its names together, but for those of *without*: an opening without a name for each kind."""
        known = self._addresses.get(address)
        if known is None:
            return
        if any(name in known.names for name in without):
            left = _Address()
            for opening in known.names.values():
                if opening.name not in without:
                    left.put(opening)
            known = left
        for (ports, unlooked), until in known.longest.items():
            yield Opening("", address, ports, until, unlooked)

    def note_names(self, name: str, addresses: Iterable[IPAddress]) -> None:
        """Note that *name* was answered with *addresses*, whether or not that opens anything."""
        for address in addresses:
            names = self._answered.pop(address, {})
            names[name] = None
            while len(names) > limits.EGRESS_NAMES_LEARNED:
                del names[next(iter(names))]
            self._answered[address] = names
        while len(self._answered) > self._bound:
            del self._answered[next(iter(self._answered))]

    def noted_names(self, address: IPAddress) -> tuple[str, ...]:
        """Return the names that were answered with *address*, as `note_names` has it."""
        return tuple(self._answered.get(address, ()))

    def used(self, addresses: Iterable[IPAddress], now: float) -> None:
        """Note that an answer had *addresses*, which are open long enough."""
        for address in addresses:
            known = self._addresses.get(address)
            if known is not None:
                known.used = now

    def asked(self, name: str, now: float) -> None:
        """Note that the sandbox itself has asked for *name*."""
        if self.policy.asks_exactly(name):
            self._asked.pop(name, None)
            self._asked[name] = now
            if len(self._asked) > limits.EGRESS_RULES:
                del self._asked[next(iter(self._asked))]

    def due(self, now: float) -> list[tuple[str, int]]:
        """Return (name, family) of what is to be asked again, so that it stays open: exact names that the sandbox asked for lately.

        Names below a wildcard are not among them: the sandbox could make them up.
        """
        found: dict[tuple[str, int], float] = {}
        for known in self._addresses.values():
            for name, opening in known.names.items():
                key = name, opening.address.version
                found[key] = max(found.get(key, 0.0), opening.until)
        return [
            (name, family)
            for (name, family), until in found.items()
            if until - now < self.hold * 3 / 4 and now - self._asked.get(name, -limits.EGRESS_ASKED_LATELY) < limits.EGRESS_ASKED_LATELY
        ]

    def lead_to(self, name: str, targets: Iterable[str], ttl: float, now: float) -> None:
        """Note that an answer of *name* leads to *targets* that a client asks for itself (SVCB, RFC 9460 section 3): as *name*, it may."""
        until = now + max(min(ttl, limits.EGRESS_LONGEST), self.hold)
        for target in targets:
            if target != name:
                self._targets.pop(target, None)
                self._targets[target] = (name, until)
        for expired in [target for target, (_, end) in self._targets.items() if end <= now]:
            del self._targets[expired]
        while len(self._targets) > limits.EGRESS_TARGETS:
            del self._targets[next(iter(self._targets))]

    def meant_by(self, target: str, now: float) -> str | None:
        """Return the allowed name that lately led to *target*."""
        name, until = self._targets.get(target, ("", 0.0))
        return name if until > now and self.policy.may_ask(name).allowed else None

    # --- questions ----------------------------------------------------------------------------------------------

    def allows(self, name: str | None, address: IPAddress, protocol: str, port: int, now: float, *, goes_on: bool = False) -> Verdict:
        """Return whether the sandbox may send to *address*: of a *name* only if it was answered with that address, and still counts.

        *goes_on*: it was allowed for that name when it began, so the answer need not count any more.
        """
        verdict = self.policy.allows(Flow(address=address, protocol=protocol, port=port, name=name))
        if not verdict.allowed or name is None:
            return verdict
        if goes_on or self.policy.ports(None, address).has(protocol, port) or self._is_open(name, address, now):
            return verdict
        reason = f"sandbox {self.policy.sandbox} may not reach {address} as {name}: that name was not answered with this address"
        if len(self._named) >= self._bound_of_names or len(self._addresses) >= self._bound:
            reason += (
                f", or that was given up: as many addresses ({len(self._addresses)}) and names of them ({len(self._named)}) are open as may"
                " be; look the name up again"
            )
        return Verdict(allowed=False, reason=reason)

    def allows_alias(
        self, alias: str, target: str, address: IPAddress, protocol: str, port: int, now: float, *, goes_on: bool = False
    ) -> Verdict:
        """Return the same for *alias*, a name of ours that leads to the name *target* outside: rules must allow both.

        So whoever writes aliases lets a sandbox reach nothing that its rules don't name.
        """
        verdict = self.policy.allows(Flow(address=address, protocol=protocol, port=port, name=alias))
        if verdict.allowed:
            verdict = self.allows(target, address, protocol, port, now, goes_on=goes_on)
        if verdict.allowed:
            self._aliases.pop(alias, None)
            self._aliases[alias] = target
            if len(self._aliases) > limits.EGRESS_TARGETS:
                del self._aliases[next(iter(self._aliases))]
        return verdict

    def of_address(self, address: IPAddress) -> tuple[Opening, ...]:
        """Return what is known of *address*."""
        known = self._addresses.get(address)
        return tuple(known.names.values()) if known is not None else ()

    def names_of(self, address: IPAddress, now: float) -> tuple[str, ...]:
        """Return the names that *address* is open for."""
        known = self._addresses.get(address)
        return tuple(name for name, opening in known.names.items() if opening.until > now) if known is not None else ()

    def _is_open(self, name: str, address: IPAddress, now: float) -> bool:
        known = self._addresses.get(address)
        opening = known.names.get(name) if known is not None else None
        # What was begun in time may say a little later what it is for.
        return opening is not None and opening.until + limits.FIRST_DATA_PATIENCE > now

    def may_go_on(
        self, policy: Policy, address: IPAddress, protocol: str, port: int, is_of: Callable[[str], bool] | None, *, any_name: bool = False
    ) -> bool:
        """Return whether *policy* allows a connection to *address* that was begun under this one, perhaps before what is open now.

        *is_of*: whether it was begun for a name, None: nobody knows, so all names that the address has must still be allowed where
        names count. *any_name*: its first data named none, so one of them is enough.
        """
        is_quic = (protocol, port) == ("udp", 443) and policy.looks_at_all
        by_address = not is_quic and policy.ports(None, address).has(protocol, port)
        opened = [opening.name for opening in self.of_address(address) if opening.ports.has(protocol, port)]
        names = [name for name in dict.fromkeys((*opened, *self.noted_names(address))) if is_of is None or is_of(name)]
        still = [policy.ports(name, address).has(protocol, port) and (by_address or policy.may_ask(name).allowed) for name in names]
        if is_of is not None:
            if still:
                return all(still)
            by_alias = next(((alias, target) for alias, target in self._aliases.items() if is_of(alias)), None)
            if by_alias is not None:
                return all(policy.ports(name, address).has(protocol, port) and policy.may_ask(name).allowed for name in by_alias)
            # A name that was never asked for here may be one that is denied.
            return by_address and not policy.looks_at_all
        if any_name or protocol != "tcp":
            return by_address or any(still)
        if any(kept and policy.unlooked(name, address).has(protocol, port) for name, kept in zip(names, still, strict=True)):
            return True
        return all(still) and (by_address or bool(still))

    # --- another policy -----------------------------------------------------------------------------------------

    def under(self, policy: Policy, now: float) -> tuple[Openings, tuple[Opening, ...], tuple[Opening, ...]]:
        """Return what is left of it under another policy, what of that has other ports now, and what is to be closed."""
        if policy.decides_as(self.policy):
            self.policy = policy
            return self, (), ()
        left, changed, closed = Openings(policy, self.hold, self._bound, self._bound_of_names), [], []
        may_ask = {name: policy.may_ask(name).allowed or self.meant_by(name, now) is not None for name in {name for name, _ in self._named}}
        for address, known in self._addresses.items():
            for opening, (ports, unlooked) in zip(known.names.values(), policy.open_for(known.names, address), strict=True):
                if not may_ask[opening.name]:
                    ports = unlooked = NOTHING
                kept = Opening(opening.name, address, ports, opening.until, unlooked if ports else NOTHING)
                if kept != opening and opening.until > now:
                    closed.append(opening)
                if ports:
                    left.apply(Change((kept,)), known.used)
                    if kept != opening and opening.until > now:
                        changed.append(kept)
        left._targets = dict(self._targets)
        left._answered = self._answered
        left._aliases = self._aliases
        for name, at in self._asked.items():
            left.asked(name, at)
        return left, tuple(changed), tuple(closed)
