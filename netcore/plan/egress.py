"""Which egress rules a sandbox has, and whether it can have any. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from netcore import drivers
from netcore.desired.egress_rules import GENERATIONS, EgressFilter
from netcore.egress import boxes, read, sets
from netcore.egress.layer import Layer
from netcore.egress.policy import Policy
from netcore.egress.rules import Rule
from netcore.egress.sets import RuleSets
from netcore.egress.settings import EgressSettings
from netcore.egress.surroundings import KnownNetwork, Surroundings
from netcore.errors import InvalidRequest
from netcore.model import BridgeOptions, Endpoint, IPAddress, Network, NetworkId, Sandbox, Stack

_HARMLESS_LINKS = frozenset(
    ("lo", "tunl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "sit0", "ip6tnl0", "ip6gre0"),
)
"""Links that the kernel makes with a namespace: what tunnels send leaves by other links."""


def checked(texts: Iterable[str], settings: EgressSettings) -> tuple[str, ...]:
    """Return *texts* as rules are stored: each once, as it prints; InvalidRequest names every mistake."""
    rules = read.rules(texts)
    if not rules:
        raise InvalidRequest("egress", "no rule is given; for no way out but own networks write none")
    sets.check(rules, settings.sets)
    return tuple(map(str, rules))


def changed(now: tuple[str, ...] | None, add: Sequence[str], remove: Sequence[str]) -> tuple[str, ...]:
    """Return the rules *now* without those of *remove* and with those of *add*; InvalidRequest for one that is not there to remove."""
    rules = {str(rule): None for rule in read.rules(now or ())}
    for rule in read.rules(remove):
        if str(rule) not in rules:
            raise InvalidRequest(
                f"egress rule {str(rule)!r}", f"is not among the rules of the sandbox: {', '.join(rules) or 'it has none'}"
            )
        del rules[str(rule)]
    rules |= {str(rule): None for rule in read.rules(add)}
    if not rules:
        raise InvalidRequest("egress", "no rule would be left; for no way out but own networks write none")
    return tuple(rules)


def layer(texts: Sequence[str], settings: EgressSettings, title: str) -> Layer:
    """Return the layer of *texts*, with the rules of the lists that they name."""
    return _LAYERS.of(tuple(texts), lambda: read.rules(texts), settings.sets).titled(title)


class _Layers:
    """Layers by what they are made of: many sandboxes have the same rules, and they are asked for again and again."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, int], tuple[object, Layer]] = {}

    def of(self, key: object, rules: Callable[[], Iterable[Rule]], lists: RuleSets, kept: object = None) -> Layer:
        """Return the layer of *rules*, with those of *lists* that they name. *kept*: what *key* is the id of."""
        whole = key, id(lists)
        known = self._known.get(whole)
        if known is None:
            while len(self._known) >= _MOST_LAYERS:
                del self._known[next(iter(self._known))]
            # What an id is of must live as long as the id is known.
            known = self._known[whole] = (lists, kept), Layer(sets.expanded(rules(), lists), "")
        return known[1]


_MOST_LAYERS = 1024
_LAYERS = _Layers()


def _configured(rules: tuple[Rule, ...], settings: EgressSettings, title: str) -> Layer:
    return _LAYERS.of(id(rules), lambda: rules, settings.sets, rules).titled(title)


def layers_of(sandbox: Sandbox, networks: Iterable[Network], settings: EgressSettings) -> tuple[Layer, ...]:
    """Return the layers of rules that *sandbox* has on *networks*; none: it is not confined."""
    made: list[Layer] = []
    if sandbox.egress is not None:
        made.append(layer(sandbox.egress, settings, f"sandbox {sandbox.name}"))
    else:
        made += [layer(network.egress, settings, f"network {network.name}") for network in networks if network.egress is not None]
        if not made and settings.default is not None:
            made.append(_configured(settings.default, settings, "the default of this host"))
    if settings.ceiling is not None:
        made.append(_configured(settings.ceiling, settings, "the ceiling of this host"))
    return tuple(made)


def policy_of(
    sandbox: Sandbox,
    endpoints: Sequence[Endpoint],
    networks: Mapping[NetworkId, Network],
    settings: EgressSettings,
    addresses: Collection[IPAddress] = (),
) -> Policy | None:
    """Return what *sandbox* with *endpoints* may reach; None: everything. *addresses*: the host's own, but for those at gateways."""
    if sandbox.stack is not Stack.OWN:
        return None
    attached = {endpoint.network_id for endpoint in endpoints}
    layers = layers_of(sandbox, (networks[network_id] for network_id in attached if network_id in networks), settings)
    if not layers:
        return None
    known = tuple(known_network(network, attached=network.id in attached) for network in networks.values())
    gateways = (interface.ip for network in networks.values() for interface in drivers.of(network).host_addresses(network))
    around = Surroundings(networks=known, addresses=frozenset((*addresses, *gateways)), nat64=settings.nat64)
    return Policy(sandbox.name, layers, around)


def firewall_part(policy: Policy, sandbox: Sandbox) -> EgressFilter:
    """Return what the firewall must hold of *policy*. Its generation is another one for other rules, and the same for the same."""
    rules = "\n".join(layer.text for layer in policy.layers)
    digest = hashlib.sha256(f"{sandbox.id}\n{rules}".encode()).digest()
    attached = tuple((known.name, known.subnets) for known in policy.around.networks if known.attached)
    generation = int.from_bytes(digest[:4], "big") % GENERATIONS
    return EgressFilter(
        boxes=boxes.boxes(policy),
        generation=generation,
        subnets=attached,
        looks_at_all=policy.looks_at_all,
        learns=policy.learns,
    )


def check_possible(
    sandbox: Sandbox, networks: Iterable[Network], settings: EgressSettings, *, firewall: bool, foreign: Collection[str] = ()
) -> None:
    """Raise InvalidRequest if *sandbox* has rules on *networks* that can't be kept there. *foreign*: links in its namespace, not ours."""
    attached = [*networks]
    if sandbox.stack is not Stack.OWN:
        limited = "ceiling" if settings.ceiling is not None else "default" if settings.default is not None else None
        if sandbox.stack is Stack.HOST and limited is not None:
            raise InvalidRequest("network", f"this host has a {limited} for egress rules, which can't be kept with network mode host")
        if sandbox.egress is not None:
            modes = {Stack.NONE: "none has no network", Stack.HOST: "host has the host's own", Stack.SHARED: "container:.. has another's"}
            raise InvalidRequest("egress", f"network mode {modes[sandbox.stack]}, so rules for it can't be kept")
        return
    if not layers_of(sandbox, attached, settings):
        return
    subject = f"sandbox {sandbox.name} has egress rules"
    if not firewall:
        raise InvalidRequest("egress", f"{subject}, and berth writes no firewall here (firewall = none)")
    if sandbox.forwards:
        raise InvalidRequest("egress", f"{subject}, and as a router (--forward) it would send in the name of others")
    for network in attached:
        reason = why_not_on(network)
        if reason is not None:
            raise InvalidRequest("egress", f"{subject}, and network {network.name} {reason}")
    found = sorted(foreign_links(foreign, ()))
    if found:
        raise InvalidRequest("egress", f"{subject}, and its namespace has links that berth did not make: {', '.join(found)}; remove them")


def foreign_links(names: Collection[str], ours: Collection[str]) -> set[str]:
    """Return which of the links called *names*, in the namespace of a sandbox, may be a way out that is not one of *ours*."""
    return set(names) - set(ours) - _HARMLESS_LINKS


def not_kept(sandboxes: Iterable[tuple[Sandbox, Iterable[Network]]], settings: EgressSettings, *, firewall: bool) -> Iterator[str]:
    """Yield a warning for each sandbox whose rules can't be kept: they came with the configuration, and it was there before."""
    for sandbox, networks in sandboxes:
        try:
            check_possible(sandbox, networks, settings, firewall=firewall)
        except InvalidRequest as error:
            yield f"sandbox {sandbox.name} is not confined: {error.reason}; remove it, or take it off the network"


def why_not_on(network: Network) -> str | None:
    """Return why sandboxes with rules can't be on *network*, None if they can."""
    options = network.driver_options
    if not isinstance(options, BridgeOptions):
        return f"is of driver {network.driver}, whose packets do not pass the host's firewall"
    if options.reuse_bridge:
        return f"is on the bridge {options.bridge_name} of the host's own, where others may send"
    if options.allow_unknown_ports:
        return "lets ports send that berth did not make (unknown_ports=allow)"
    return None


def known_networks(networks: Iterable[Network], policy: Policy) -> tuple[Network, ...]:
    """Return those of *networks*, on which the sandbox is, that its rules let it reach anything on: it may know their names."""
    opened = {name for name, _ in boxes.boxes(policy).networks}
    return tuple(network for network in networks if network.name in opened)


def may_know_names(policy: Policy, network: Network) -> bool:
    """Return whether the sandbox, which is not on *network*, may know the names of what is there, if that network shows them."""
    return policy.may_know("names", known_network(network, attached=False)).allowed


def known_network(network: Network, *, attached: bool) -> KnownNetwork:
    """Return *network* as rules know it. *attached*: the sandbox is on it."""
    return KnownNetwork(name=network.name, subnets=tuple(pool.subnet for pool in network.pools), attached=attached)
