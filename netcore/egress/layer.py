"""What one list of egress rules says of names and of addresses. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from enum import Enum

from netcore.egress import special
from netcore.egress.ports import NOTHING, Ports
from netcore.egress.rules import Below, Name, OwnNetwork, Prefix, Rule, Wide
from netcore.egress.surroundings import HOST, KnownNetwork, Surroundings
from netcore.model import IPAddress

SHARED_NETWORK = "default"
"""The network of everybody who names none, so `none` does not open it."""


class Outcome(Enum):
    """What a layer says of a name."""

    ALLOWED = "allowed"
    ABOVE = "a name below it is allowed"
    DENIED = "denied by a rule"
    UNKNOWN = "no rule allows it"


class Basis(Enum):
    """Which rules are meant that allow something."""

    ANY = "all"
    UNLOOKED = "those about addresses, and those about names that say +address"
    UNLOOKED_NAME = "those about names that say +address"


@dataclass(frozen=True, slots=True, kw_only=True)
class AtAddress:
    """What a layer says of one address. *fixed*: of an address of this host that is all, whatever its name.

    *reason*: why no name opens it, None if one may. *allowed*, *denied*: by rules about addresses.
    """

    fixed: Ports | None = None
    reason: str | None = None
    allowed: Ports = NOTHING
    denied: Ports = NOTHING

    def ports(self, about: Sequence[Rule], basis: Basis = Basis.ANY) -> Ports:
        """Return what is allowed by which a sandbox means a name. *about*: the layer's rules about that name."""
        if self.fixed is not None:
            return self.fixed
        made = self.allowed if basis is not Basis.UNLOOKED_NAME else NOTHING
        may_open = self.reason is None or self.reason == special.IS_PRIVATE
        for rule in about if may_open else ():
            if not rule.deny and (self.reason is None or rule.private) and (basis is Basis.ANY or rule.by_address):
                made |= rule.ports
        return made - _union(rule for rule in about if rule.deny) - self.denied


class AboutAddresses:
    """Rules about addresses, found by the lengths of their prefixes: of which there are few, however many rules there are."""

    __slots__ = ("_by_prefix", "_wide", "rules")

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rule for rule in rules if isinstance(rule.target, Prefix) or rule.target in (Wide.ALL, Wide.PUBLIC))
        self._wide: list[Rule] = []
        self._by_prefix: dict[tuple[int, int], dict[int, list[Rule]]] = {}
        for rule in self.rules:
            match rule.target:
                case Prefix(network):
                    shift = network.max_prefixlen - network.prefixlen
                    known = self._by_prefix.setdefault((network.version, shift), {})
                    known.setdefault(int(network.network_address) >> shift, []).append(rule)
                case _:
                    self._wide.append(rule)

    def holding(self, address: IPAddress) -> Iterator[Rule]:
        """Yield those that are about *address*, which is outside."""
        number = int(address)
        for (version, shift), known in self._by_prefix.items():
            if version == address.version:
                yield from known.get(number >> shift, ())
        for rule in self._wide:
            if rule.target is Wide.ALL or special.is_public(address):
                yield rule


class Layer:
    """One list of rules, without names of lists. *title*: whose rules they are, for sentences."""

    __slots__ = (
        "_above",
        "_allowed_here",
        "_below",
        "_denied_here",
        "_names",
        "allowed",
        "allowed_addresses",
        "asks_everything",
        "denied",
        "denied_addresses",
        "has_names",
        "learns",
        "rules",
        "text",
        "title",
    )

    def __init__(self, rules: Iterable[Rule], title: str) -> None:
        self.rules = tuple(rules)
        self.title = title
        self.allowed = tuple(rule for rule in self.rules if not rule.deny)
        self.learns = any(rule.target is Wide.LEARN for rule in self.allowed)
        if self.learns:
            self.allowed += (Rule(target=Wide.ALL), Rule(target=Wide.HOST))
        self.denied = tuple(rule for rule in self.rules if rule.deny)
        self.allowed_addresses, self.denied_addresses = AboutAddresses(self.allowed), AboutAddresses(self.denied)
        self._allowed_here, self._denied_here = _here(self.allowed), _here(self.denied)
        self._names: dict[str, list[Rule]] = {}
        self._below: dict[str, list[Rule]] = {}
        self._above: set[str] = set()
        for rule in self.rules:
            match rule.target:
                case Name(name):
                    self._names.setdefault(name, []).append(rule)
                    self._note_above(name, rule)
                case Below(domain):
                    self._below.setdefault(domain, []).append(rule)
                    self._note_above(f"*.{domain}", rule)
                case _:
                    pass
        self.text = ";".join(map(str, self.rules))
        self.has_names = any(isinstance(rule.target, Name | Below) for rule in self.allowed)
        self.asks_everything = any(rule.target in (Wide.ALL, Wide.PUBLIC) for rule in self.allowed)

    def titled(self, title: str) -> Layer:
        """Return the same rules as somebody else's."""
        made = copy(self)
        made.title = title
        return made

    def _note_above(self, name: str, rule: Rule) -> None:
        while not rule.deny and name:
            name = name.partition(".")[2]
            self._above.add(name)

    def matching(self, name: str) -> list[Rule]:
        """Return the rules about *name*, those of the name itself first, then those of the nearest domain."""
        found = [*self._names.get(name, ())]
        if self._below:
            _, _, domain = name.partition(".")
            while domain:
                found += self._below.get(domain, ())
                _, _, domain = domain.partition(".")
        return found

    def outcome(self, name: str) -> tuple[Outcome, Rule | None]:
        """Return what it says of asking *name*, and the rule that decides."""
        matching = self.matching(name)
        refusing = next((rule for rule in matching if rule.deny and rule.is_whole), None) or self._denies_all()
        if refusing is not None:
            return Outcome.DENIED, refusing
        allowing = next((rule for rule in matching if not rule.deny), None)
        if allowing is not None or self.asks_everything:
            return Outcome.ALLOWED, allowing
        return (Outcome.ABOVE if name in self._above else Outcome.UNKNOWN), None

    def _denies_all(self) -> Rule | None:
        return next((rule for rule in self.denied if rule.target is Wide.ALL and rule.is_whole), None)

    def at(self, address: IPAddress, around: Surroundings) -> AtAddress:
        """Return what it says of *address*, whatever name that has."""
        place = around.place(address)
        if place is HOST:
            return AtAddress(fixed=self.host_ports())
        if isinstance(place, KnownNetwork):
            return AtAddress(fixed=self.network_ports(place) if place.attached else NOTHING)
        allowed, denied = _union(self.allowed_addresses.holding(address)), NOTHING
        if self.denied:
            forms = (address, *special.carried(address, around.nat64))
            denied = _union(rule for form in forms for rule in self.denied_addresses.holding(form))
        return AtAddress(reason=around.why_closed(address), allowed=allowed, denied=denied)

    def network_ports(self, network: KnownNetwork) -> Ports:
        """Return what it allows on a network of this host: packets only if the sandbox is on it, but its names else too."""

        def is_about(rule: Rule) -> bool:
            match rule.target:
                case OwnNetwork(name):
                    return name == network.name
                case Wide.NONE:
                    return network.attached and network.name != SHARED_NETWORK
                case target:
                    return target is Wide.ALL

        return _union(filter(is_about, self._allowed_here)) - _union(filter(is_about, self._denied_here))

    def host_ports(self) -> Ports:
        """Return what it allows of the host's services."""
        allowed = _union(rule for rule in self._allowed_here if rule.target is Wide.HOST)
        return allowed - _union(rule for rule in self._denied_here if rule.target in (Wide.HOST, Wide.ALL))


def _here(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Return those of *rules* that may be about this host and its networks."""
    return tuple(rule for rule in rules if isinstance(rule.target, OwnNetwork | Wide))


def _union(rules: Iterable[Rule]) -> Ports:
    made = NOTHING
    for rule in rules:
        made |= rule.ports
    return made


def is_about_address(rule: Rule, address: IPAddress) -> bool:
    """Return whether a rule about addresses is about *address*, which is outside."""
    match rule.target:
        case Prefix(network):
            return network.version == address.version and address in network
        case Wide.ALL:
            return True
        case Wide.PUBLIC:
            return special.is_public(address)
        case _:
            return False
