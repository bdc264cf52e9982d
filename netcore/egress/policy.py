"""What one sandbox may reach: layers of rules that must all allow. Decides on names and on flows; knows no state. Pure.

Who wants to know asks here: the resolver, whoever reads the name in a ClientHello or a Host header, `berth egress test`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv6Network

from netcore.egress import special
from netcore.egress.ports import EVERYTHING, FIRST, LAST, NOTHING, PROTOCOLS, Ports
from netcore.egress.rules import Below, Name, OwnNetwork, Prefix, Rule, Wide
from netcore.model import IPAddress, IPNetwork

SHARED_NETWORK = "default"
"""The network of everybody who names none, so `none` does not open it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownNetwork:
    """A network of this host. *attached*: the sandbox is on it."""

    name: str
    subnets: tuple[IPNetwork, ...]
    attached: bool = False


_WITHOUT_LOOK = EVERYTHING - Ports.of("tcp", (FIRST, LAST))

HOST = "host"
Place = KnownNetwork | str | None
"""Where an address is: on a network of ours, the host itself (HOST), or outside (None)."""


class Surroundings:
    """What is around a sandbox. *addresses*: the host's own, those at gateways included. *nat64*: prefixes that write IPv4 as IPv6."""

    __slots__ = ("_subnets", "addresses", "nat64", "networks")

    def __init__(
        self,
        networks: tuple[KnownNetwork, ...] = (),
        addresses: frozenset[IPAddress] = frozenset(),
        nat64: tuple[IPv6Network, ...] = (),
    ) -> None:
        self.networks = networks
        self.addresses = addresses
        self.nat64 = nat64
        # There may be thousands of networks, and few lengths of prefixes.
        self._subnets: dict[tuple[int, int], dict[int, KnownNetwork]] = {}
        for network in networks:
            for subnet in network.subnets:
                shift = subnet.max_prefixlen - subnet.prefixlen
                self._subnets.setdefault((subnet.version, shift), {})[int(subnet.network_address) >> shift] = network

    def place(self, address: IPAddress) -> Place:
        """Return where *address* is."""
        if address in self.addresses:
            return HOST
        number = int(address)
        for (version, shift), known in self._subnets.items():
            if version == address.version and number >> shift in known:
                return known[number >> shift]
        return None

    def why_closed(self, address: IPAddress) -> str | None:
        """Return what *address* is, if no name may open it; `special.IS_PRIVATE` if only `+private` lets it."""
        places = [self.place(one) for one in (address, *special.carried(address, self.nat64))]
        if any(place is HOST for place in places):
            return "the host's own"
        network = next((place for place in places if isinstance(place, KnownNetwork)), None)
        return f"on network {network.name}" if network is not None else special.closed_to_names(address, self.nat64)


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


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether something is allowed. If not, *reason* is a sentence for the user, and *lacks* the rule that would allow it, if one would."""

    allowed: bool
    reason: str = ""
    lacks: str | None = None


ALLOWED = Verdict(allowed=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A connection, or datagrams, that a sandbox sends. *name*: whose address it is, None: it was not asked for."""

    address: IPAddress
    protocol: str
    port: int
    name: str | None = None

    def __str__(self) -> str:
        target = f"{self.name} ({self.address})" if self.name is not None else str(self.address)
        return f"{target} {self.protocol}{f' port {self.port}' if self.protocol in PROTOCOLS else ''}"


class _AboutAddresses:
    """Rules about addresses, found by the lengths of their prefixes: of which there are few, however many rules there are."""

    __slots__ = ("_by_prefix", "_wide")

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._wide: list[Rule] = []
        self._by_prefix: dict[tuple[int, int], dict[int, list[Rule]]] = {}
        for rule in rules:
            match rule.target:
                case Prefix(network):
                    shift = network.max_prefixlen - network.prefixlen
                    known = self._by_prefix.setdefault((network.version, shift), {})
                    known.setdefault(int(network.network_address) >> shift, []).append(rule)
                case Wide.ALL | Wide.PUBLIC:
                    self._wide.append(rule)
                case _:
                    pass

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
        "_allowed_addresses",
        "_below",
        "_denied_addresses",
        "_names",
        "allowed",
        "asks_everything",
        "denied",
        "has_names",
        "learns",
        "rules",
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
        self._allowed_addresses, self._denied_addresses = _AboutAddresses(self.allowed), _AboutAddresses(self.denied)
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
        self.has_names = any(isinstance(rule.target, Name | Below) for rule in self.allowed)
        self.asks_everything = any(rule.target in (Wide.ALL, Wide.PUBLIC) for rule in self.allowed)

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

    def ports(self, name: str | None, address: IPAddress, around: Surroundings, basis: Basis = Basis.ANY) -> Ports:
        """Return what it allows of *address*, by which it knows the sandbox to mean *name*."""
        place = around.place(address)
        if place is HOST:
            return _union(rule for rule in self.allowed if rule.target is Wide.HOST) - _union(
                rule for rule in self.denied if rule.target in (Wide.HOST, Wide.ALL)
            )
        if isinstance(place, KnownNetwork):
            return self.network_ports(place) if place.attached else NOTHING
        reason = around.why_closed(address)
        matching = self.matching(name) if name is not None else []
        by_name = [rule for rule in matching if not rule.deny and (reason is None or (rule.private and reason == special.IS_PRIVATE))]
        if basis is not Basis.ANY:
            by_name = [rule for rule in by_name if rule.by_address]
        allowed = _union(by_name)
        if basis is not Basis.UNLOOKED_NAME:
            allowed |= _union(self._allowed_addresses.holding(address))
        if not self.denied:
            return allowed
        forms = (address, *special.carried(address, around.nat64))
        denied = (rule for form in forms for rule in self._denied_addresses.holding(form))
        return allowed - _union(rule for rule in matching if rule.deny) - _union(denied)

    def network_ports(self, network: KnownNetwork) -> Ports:
        """Return what it allows on a network that the sandbox is on."""

        def is_about(rule: Rule) -> bool:
            if rule.target is Wide.NONE:
                return network.name != SHARED_NETWORK
            return rule.target is Wide.ALL or rule.target == OwnNetwork(network.name)

        return _union(filter(is_about, self.allowed)) - _union(filter(is_about, self.denied))

    def host_ports(self) -> Ports:
        """Return what it allows of the host's services."""
        allowed = _union(rule for rule in self.allowed if rule.target is Wide.HOST)
        return allowed - _union(rule for rule in self.denied if rule.target in (Wide.HOST, Wide.ALL))


def _union(rules: Iterable[Rule]) -> Ports:
    made = NOTHING
    for rule in rules:
        made |= rule.ports
    return made


def _holds(rule: Rule, address: IPAddress) -> bool:
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


class Policy:
    """See the module. *sandbox*: its name. *layers*: at least one."""

    __slots__ = ("around", "layers", "sandbox")

    def __init__(self, sandbox: str, layers: Sequence[Layer], around: Surroundings) -> None:
        self.sandbox = sandbox
        self.layers = tuple(layers)
        self.around = around

    @property
    def opens_by_name(self) -> bool:
        """Whether an answer can open anything: else all that it reaches is known beforehand."""
        return any(layer.has_names for layer in self.layers)

    @property
    def opens_without_names(self) -> bool:
        """Whether it reaches addresses of names that no rule is about: then it is noted which names these are."""
        return any(layer.asks_everything for layer in self.layers)

    def may_ask(self, name: str) -> Verdict:
        """Return whether anybody may be asked for *name* (lower case, ASCII, no dot at the end)."""
        for layer in self.layers:
            outcome, rule = layer.outcome(name)
            if outcome is not Outcome.ALLOWED:
                return self._refused(f"ask for {name or 'the root'}", layer, rule, name or None)
        return ALLOWED

    def is_above(self, name: str) -> bool:
        """Return whether *name* must exist, because an allowed one may be below it (RFC 8020)."""
        return all(layer.outcome(name)[0] in (Outcome.ABOVE, Outcome.ALLOWED) for layer in self.layers)

    def asks_exactly(self, name: str) -> bool:
        """Return whether a rule allows this very name: so the sandbox can't make it up, and it can be asked again for it."""
        return any(any(rule.target == Name(name) and not rule.deny for rule in layer.matching(name)) for layer in self.layers)

    def is_unbounded(self, name: str) -> bool:
        """Return whether the sandbox may ask for as many names like *name* as it likes: no wildcard rule is what lets it."""
        return self.asks_exactly(name) or all(layer.asks_everything for layer in self.layers)

    def ports(self, name: str | None, address: IPAddress) -> Ports:
        """Return the ports of *address* that it may reach, if it means *name* by it."""
        made = self.layers[0].ports(name, address, self.around)
        for layer in self.layers[1:]:
            made &= layer.ports(name, address, self.around)
        return made

    def unlooked(self, name: str, address: IPAddress) -> Ports:
        """Return those ports of *address*, open for *name*, at which the address alone counts: TLS and HTTP are over TCP."""
        made = self.ports(name, address)
        basis = Basis.UNLOOKED_NAME if self.looks_at_all else Basis.UNLOOKED
        for layer in self.layers:
            made &= layer.ports(name, address, self.around, basis) | _WITHOUT_LOOK
        return made

    @property
    def learns(self) -> bool:
        """Whether it is recorded what the sandbox uses."""
        return any(layer.learns for layer in self.layers)

    @property
    def looks_at_all(self) -> bool:
        """Whether names are denied that addresses are open for: then every connection is looked at."""
        return any(isinstance(rule.target, Name | Below) for layer in self.layers for rule in layer.denied)

    def allows(self, flow: Flow) -> Verdict:
        """Return whether it may send to this address, if *flow.name* is what it was answered for."""
        for layer in self.layers:
            if not layer.ports(flow.name, flow.address, self.around).has(flow.protocol, flow.port):
                return self._flow_refused(flow, layer)
        return ALLOWED

    def _flow_refused(self, flow: Flow, layer: Layer) -> Verdict:
        place = self.around.place(flow.address)
        port = f":{flow.port}" if flow.protocol in PROTOCOLS else ""
        protocol = f"/{flow.protocol}" if flow.protocol not in ("tcp", "icmp", "ipv6-icmp") and port else ""
        matching = layer.matching(flow.name) if flow.name is not None else []
        about = [rule for rule in layer.denied if _is_about(rule, flow, place)]
        denying = next((rule for rule in (*matching, *about) if rule.deny and rule.ports.has(flow.protocol, flow.port)), None)
        if place is HOST:
            return self._refused(f"reach {flow}, which is the host's", layer, denying, f"host{port}{protocol}")
        if isinstance(place, KnownNetwork):
            lacks = f"network:{place.name}" if place.attached else None
            return self._refused(f"reach {flow} on network {place.name}", layer, denying, lacks)
        closed = self.around.why_closed(flow.address) if flow.name is not None else None
        if closed is not None and any(rule.ports.has(flow.protocol, flow.port) for rule in matching if not rule.deny):
            is_private = closed == special.IS_PRIVATE
            lacks = f"{flow.name}+private{port if flow.port not in (80, 443) else ''}{protocol}" if is_private else None
            return self._refused(f"reach {flow}: the address is {closed}", layer, denying, lacks)
        if flow.name is not None:
            return self._refused(f"reach {flow}", layer, denying, f"{flow.name}{port}{protocol}")
        address = f"[{flow.address}]" if flow.address.version == 6 and port else str(flow.address)
        return self._refused(f"reach {flow}", layer, denying, f"{address}{port}{protocol}")

    def _refused(self, what: str, layer: Layer, rule: Rule | None, lacks: str | None) -> Verdict:
        subject = f"sandbox {self.sandbox} may not {what}"
        if rule is not None:
            return Verdict(allowed=False, reason=f"{subject}: the egress rule {rule} of {layer.title} denies it")
        if lacks is None:
            return Verdict(allowed=False, reason=f"{subject}: no egress rule can allow it")
        return Verdict(allowed=False, reason=f"{subject}: no egress rule of {layer.title} allows it; {lacks} would", lacks=lacks)


def _is_about(rule: Rule, flow: Flow, place: Place) -> bool:
    if place is HOST:
        return rule.target in (Wide.HOST, Wide.ALL)
    if isinstance(place, KnownNetwork):
        return rule.target is Wide.ALL or rule.target == OwnNetwork(place.name)
    return _holds(rule, flow.address)
