"""Other programs' firewalls: which of their chains drop what we forward, and which rule prevents it. Pure.

An accept in our table does not overrule a drop in another one. Where another firewall has a documented place for others'
rules, we add one rule there, which accepts what carries `firewall.MARK`. Elsewhere we name the chain and the missing rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from netcore.desired.firewall import MARK

COMMENT = "berth"
DOCKER_USER = "DOCKER-USER"
_FORWARD_HOOK, _INPUT_HOOK = 2, 1
_MARK = f"{MARK:#x}/{MARK:#x}"


@dataclass(frozen=True, slots=True)
class Chain:
    """A base chain of any table, as nftables reports it, or as iptables-legacy does (*legacy*)."""

    family: str
    table: str
    name: str
    hook: int
    drops: bool
    legacy: bool = False


@dataclass(frozen=True, slots=True)
class DockerRule:
    """The one rule in DOCKER-USER. *program*: iptables or ip6tables, in the variant that Docker uses."""

    program: str

    def arguments(self, verb: str) -> list[str]:
        """Return the arguments that check (-C), insert (-I) or delete (-D) the rule."""
        return [verb, DOCKER_USER, "-m", "mark", "--mark", _MARK, "-m", "comment", "--comment", COMMENT, "-j", "ACCEPT"]


@dataclass(frozen=True, slots=True)
class FirewalldZone:
    """A bridge in firewalld's zone `trusted`: firewalld accepts what comes from there."""

    bridge: str


@dataclass(frozen=True, slots=True)
class Missing:
    """A chain that drops our packets, and the rule that only its owner can add."""

    chain: str
    rule: str

    def __str__(self) -> str:
        return f"{self.chain} drops what berth forwards; add: {self.rule}"


Measure = DockerRule | FirewalldZone | Missing


@dataclass(frozen=True, slots=True)
class Seen:
    """What other firewalls hold. *docker_user*: programs whose tables have a chain DOCKER-USER. *firewalld*: whether it runs.

    *in_place*: which of our rules are there already.
    """

    chains: tuple[Chain, ...] = ()
    docker_user: tuple[str, ...] = ()
    firewalld: bool = False
    in_place: frozenset[Measure] = frozenset()


def measures(seen: Seen, bridges: Iterable[str]) -> tuple[Measure, ...]:
    """Return what lets traffic of *bridges* pass the firewalls."""
    programs, names = seen.docker_user, tuple(bridges)
    result: list[Measure] = [DockerRule(program) for program in programs]
    if seen.firewalld:
        result += [FirewalldZone(bridge) for bridge in names]
    for chain in seen.chains:
        if chain.table == "berth" or not chain.drops or (chain.table == "firewalld" and seen.firewalld):
            continue
        program = "ip6tables" if chain.family == "ip6" else "iptables"
        served = program in programs or f"{program}-legacy" in programs
        if chain.hook == _FORWARD_HOOK and not (served and chain.table == "filter" and chain.name == "FORWARD"):
            result.append(Missing(_describe(chain), _forward_rule(chain)))
        if chain.hook == _INPUT_HOOK and names:
            result.append(Missing(_describe(chain), _input_rule(chain, names)))
    return tuple(result)


def _describe(chain: Chain) -> str:
    return f"chain {chain.name} of table {chain.family} {chain.table} (policy drop)"


def _is_iptables(chain: Chain) -> bool:
    return chain.legacy or (chain.family in ("ip", "ip6") and chain.table == "filter" and chain.name.isupper())


def _program(chain: Chain) -> str:
    return ("ip6tables" if chain.family == "ip6" else "iptables") + ("-legacy" if chain.legacy else "")


def _forward_rule(chain: Chain) -> str:
    if _is_iptables(chain):
        return f"{_program(chain)} -I {chain.name} -m mark --mark {_MARK} -j ACCEPT"
    return f"nft insert rule {chain.family} {chain.table} {chain.name} meta mark and {MARK:#x} == {MARK:#x} accept"


def _input_rule(chain: Chain, bridges: tuple[str, ...]) -> str:
    """Return the rule for queries to the resolver at the gateway address; 127.0.0.11 needs none."""
    if _is_iptables(chain):
        return " ; ".join(f"{_program(chain)} -I {chain.name} -i {name} -p udp --dport 53 -j ACCEPT" for name in bridges)
    names = ", ".join(f'"{name}"' for name in bridges)
    return (
        f"nft insert rule {chain.family} {chain.table} {chain.name}"
        f" iifname '{{ {names} }}' meta l4proto '{{ tcp, udp }}' th dport 53 accept"
    )


def needed_without_firewall(
    bridge: str, subnet: str, *, internal: bool, host_access: tuple[tuple[str, int], ...] | None = None
) -> tuple[str, ...]:
    """Return what a host with `firewall = "none"` must do itself for a network, as sentences and nft commands.

    *host_access*: the ports (protocol, number) of the host that it may reach; None: all.
    """
    closed: tuple[str, ...] = ()
    if host_access is not None:
        ports = "".join(f", {protocol}/{number}" for protocol, number in host_access)
        closed = (f"drop what comes to this host from {bridge}, but for replies, ICMP, port 53 of the gateway{ports}",)
    if internal:
        return (f"drop forwarding from and to {bridge}", *closed)
    family = "ip6" if ":" in subnet else "ip"
    return (
        *closed,
        f"accept forwarding from {bridge}, and established traffic to it",
        f"nft add rule {family} nat postrouting {family} saddr {subnet} oifname != {bridge} masquerade",
    )
