"""What a policy says about addresses without any name: prefixes and ports, for the firewall. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network

from netcore.egress import special
from netcore.egress.layer import AboutAddresses
from netcore.egress.policy import Policy
from netcore.egress.ports import Ports
from netcore.egress.rules import Prefix, Wide
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
    allowed, denied = _of_addresses(tuple((layer.allowed_addresses, layer.denied_addresses) for layer in policy.layers))
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
    return Boxes(allowed=allowed, denied=denied, networks=tuple(networks), host=host)


@lru_cache(1024)
def _of_addresses(layers: tuple[tuple[AboutAddresses, AboutAddresses], ...]) -> tuple[tuple[Box, ...], tuple[Box, ...]]:
    """Return what layers with these rules, allowing and denying ones, allow and deny: many sandboxes have the same."""
    first, *others = (_boxes(allowed) for allowed, _ in layers)
    for boxes_of_layer in others:
        first = [box for one in first for other in boxes_of_layer for box in _cut(one, other)]
    return tuple(dict.fromkeys(first)), tuple(dict.fromkeys(box for _, denied in layers for box in _boxes(denied)))


def _boxes(about: AboutAddresses) -> list[Box]:
    found = []
    for rule in about.rules:
        match rule.target:
            case Prefix(network):
                found.append(Box(network, rule.ports))
            case Wide() as wide:
                found.append(Box(wide, rule.ports))
            case _:
                pass
    return found


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
