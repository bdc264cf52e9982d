"""What a policy says about addresses without any name: prefixes and ports, for the firewall. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from netcore.egress import special
from netcore.egress.layer import Layer
from netcore.egress.policy import Policy
from netcore.egress.ports import Ports
from netcore.egress.rules import Prefix, Rule, Wide
from netcore.model import IPNetwork

Addresses = IPNetwork | Wide
"""A prefix, or Wide.PUBLIC or Wide.ALL."""


@dataclass(frozen=True, slots=True)
class Box:
    """Addresses outside, and their ports."""

    addresses: Addresses
    ports: Ports


@dataclass(frozen=True, slots=True, kw_only=True)
class Boxes:
    """What is known of a policy before anything is asked. *networks*: (name, ports) of networks that the sandbox is on."""

    allowed: tuple[Box, ...]
    denied: tuple[Box, ...]
    networks: tuple[tuple[str, Ports], ...]
    host: Ports


def boxes(policy: Policy) -> Boxes:
    """Return what the firewall must hold of *policy*."""
    first, *others = policy.layers
    allowed = _allowed(first)
    for layer in others:
        allowed = [box for one in allowed for other in _allowed(layer) for box in _cut(one, other)]
    networks = []
    for network in (known for known in policy.around.networks if known.attached):
        ports = first.network_ports(network)
        for layer in others:
            ports &= layer.network_ports(network)
        if ports:
            networks.append((network.name, ports))
    host = first.host_ports()
    for layer in others:
        host &= layer.host_ports()
    return Boxes(
        allowed=tuple(dict.fromkeys(allowed)),
        denied=tuple(dict.fromkeys(Box(addresses, rule.ports) for layer in policy.layers for addresses, rule in _about(layer.denied))),
        networks=tuple(networks),
        host=host,
    )


def _allowed(layer: Layer) -> list[Box]:
    return [Box(addresses, rule.ports) for addresses, rule in _about(layer.allowed)]


def _about(rules: Sequence[Rule]) -> Iterator[tuple[Addresses, Rule]]:
    for rule in rules:
        match rule.target:
            case Prefix(network):
                yield network, rule
            case Wide.ALL | Wide.PUBLIC as wide:
                yield wide, rule
            case _:
                pass


def _cut(one: Box, other: Box) -> Iterator[Box]:
    ports = one.ports & other.ports
    if ports:
        for addresses in _common(one.addresses, other.addresses):
            yield Box(addresses, ports)


def _common(one: Addresses, other: Addresses) -> list[Addresses]:
    if one is Wide.ALL or one == other:
        return [other]
    if other is Wide.ALL:
        return [one]
    if isinstance(one, Wide):
        return [*public_parts(other)] if not isinstance(other, Wide) else [one]
    if isinstance(other, Wide):
        return [*public_parts(one)]
    if one.version != other.version:
        return []
    if one.subnet_of(other):  # type: ignore[arg-type]  # Of one family both.
        return [one]
    return [other] if other.subnet_of(one) else []  # type: ignore[arg-type]


def public_parts(network: IPNetwork) -> list[IPNetwork]:
    """Return what of *network* a rule `public` is about."""
    if isinstance(network, IPv4Network):
        return [*_without(network, special.NOT_PUBLIC4)]
    return [*_without(network, special.NOT_PUBLIC6)]


def _without(network: IPNetwork, gone: Sequence[IPv4Network | IPv6Network]) -> list[IPNetwork]:
    parts: list[IPNetwork] = [network]
    for hole in gone:
        kept: list[IPNetwork] = []
        for part in parts:
            if part.subnet_of(hole):  # type: ignore[arg-type]
                continue
            kept += part.address_exclude(hole) if hole.subnet_of(part) else [part]  # type: ignore[arg-type]
        parts = kept
    return parts
