"""What one sandbox may reach: layers of rules that must all allow. Decides on names and on flows; knows no state. Pure.

Who wants to know asks here: the resolver, whoever reads the name in a ClientHello or a Host header, `berth egress test`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from netcore.egress import special
from netcore.egress.layer import Basis, Layer, Outcome, is_about_address
from netcore.egress.ports import EVERYTHING, FIRST, LAST, PROTOCOLS, Ports
from netcore.egress.rules import Below, Name, OwnNetwork, Rule, Wide
from netcore.egress.surroundings import HOST, KnownNetwork, Place, Surroundings
from netcore.model import IPAddress

_WITHOUT_LOOK = EVERYTHING - Ports.of("tcp", (FIRST, LAST))


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


class Policy:
    """See the module. *sandbox*: its name. *layers*: at least one."""

    __slots__ = ("around", "layers", "looks_at_all", "sandbox")

    def __init__(self, sandbox: str, layers: Sequence[Layer], around: Surroundings) -> None:
        self.sandbox = sandbox
        self.layers = tuple(layers)
        self.around = around
        self.looks_at_all = any(isinstance(rule.target, Name | Below) for layer in self.layers for rule in layer.denied)
        """Whether names are denied that addresses are open for: then every connection is looked at."""

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

    def may_know(self, name: str, network: KnownNetwork) -> Verdict:
        """Return whether it may know *name* on a network of this host: if it may reach anything there, or could if it were on it."""
        ports = EVERYTHING
        for layer in self.layers:
            opened = layer.network_ports(network)
            ports &= opened
            if not opened or not ports:
                denying = next((rule for rule in layer.denied if rule.target in (Wide.ALL, OwnNetwork(network.name))), None)
                return self._refused(f"ask for {name} on network {network.name}", layer, denying, f"network:{network.name}")
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
        made = EVERYTHING
        for layer in self.layers:
            made &= layer.at(address, self.around).ports(layer.matching(name) if name is not None else ())
        return made

    def unlooked(self, name: str, address: IPAddress) -> Ports:
        """Return those ports of *address*, open for *name*, at which the address alone counts: TLS and HTTP are over TCP."""
        ((_, unlooked),) = self.open_for([name], address)
        return unlooked

    def open_for(self, names: Iterable[str], address: IPAddress) -> list[tuple[Ports, Ports]]:
        """Return `ports` and `unlooked` of *address* for each of *names*: of one address that costs little more than of one name."""
        basis = Basis.UNLOOKED_NAME if self.looks_at_all else Basis.UNLOOKED
        parts = [layer.at(address, self.around) for layer in self.layers]
        known: dict[tuple[tuple[int, ...], ...], tuple[Ports, Ports]] = {}
        made = []
        for name in names:
            about = [layer.matching(name) for layer in self.layers]
            # Most names are opened by the same rules.
            key = tuple(tuple(map(id, rules)) for rules in about)
            if key not in known:
                ports = without_look = EVERYTHING
                for part, rules in zip(parts, about, strict=True):
                    ports &= part.ports(rules)
                    without_look &= part.ports(rules, basis) | _WITHOUT_LOOK
                known[key] = ports, ports & without_look
            made.append(known[key])
        return made

    def decides_as(self, other: Policy) -> bool:
        """Return whether *other* says the same of every name and address."""
        mine, theirs = self.around, other.around
        return [layer.rules for layer in self.layers] == [layer.rules for layer in other.layers] and (
            (mine.networks, mine.addresses, mine.nat64) == (theirs.networks, theirs.addresses, theirs.nat64)
        )

    @property
    def learns(self) -> bool:
        """Whether it is recorded what the sandbox uses."""
        return any(layer.learns for layer in self.layers)

    def allows(self, flow: Flow) -> Verdict:
        """Return whether it may send to this address, if *flow.name* is what it was answered for."""
        for layer in self.layers:
            about = layer.matching(flow.name) if flow.name is not None else ()
            if not layer.at(flow.address, self.around).ports(about).has(flow.protocol, flow.port):
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
    return is_about_address(rule, flow.address)
