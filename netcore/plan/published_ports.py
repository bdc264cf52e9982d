"""Which ports a sandbox publishes, by which of its endpoints, and what NAT can't carry. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from netcore.model import BridgeOptions, Endpoint, GatewayMode, IPAddress, Network, NetworkId, PortMapping, PortRequest, Sandbox
from netcore.parse import ports
from netcore.plan import gateway, port_allocation

IGNORED = "published ports are ignored: no bridge network of the sandbox gives its default gateway"


def assign_ports(
    endpoints: Sequence[Endpoint], networks: Mapping[NetworkId, Network], mappings: Sequence[PortMapping]
) -> tuple[Endpoint, ...]:
    """Return *endpoints* with each family's mappings on that family's gateway endpoint (docker-behaviour GW-8).

    Where a family has none, the other family's gateway endpoint gets them, to be carried by a proxy; and so is what is
    published on ::1.
    """
    bare = [replace(item, ports=()) for item in endpoints]
    chosen = gateway.gateway_endpoints(bare, networks)
    placed: dict[str, list[PortMapping]] = {}
    for mapping in mappings:
        own, other = chosen if mapping.family == 4 else chosen[::-1]
        target = own or other
        if target is not None and isinstance(networks[target.network_id].driver_options, BridgeOptions):
            address = mapping.host_address
            proxied = own is None or (mapping.family == 6 and address is not None and address.is_loopback)
            placed.setdefault(target.network_id, []).append(mapping if mapping.proxied == proxied else replace(mapping, proxied=proxied))
    return tuple(replace(item, ports=tuple(placed.get(item.network_id, ()))) for item in bare)


@dataclass(frozen=True, slots=True)
class Relayed:
    """Where what comes to a host port is carried. *only_loopback*: for the host's own ::1 alone, NAT carries the rest."""

    address: IPAddress
    port: int
    only_loopback: bool


def proxies(endpoints: Iterable[Endpoint]) -> dict[PortMapping, Relayed]:
    """Return all that must not be left to NAT alone. What is published on every IPv6 address is among it, for ::1."""
    result: dict[PortMapping, Relayed] = {}
    for endpoint in endpoints:
        for mapping in endpoint.ports:
            if not mapping.host_port or not (mapping.proxied or (mapping.family == 6 and mapping.host_address is None)):
                continue
            same, other = (endpoint.ipv4, endpoint.ipv6) if mapping.family == 4 else (endpoint.ipv6, endpoint.ipv4)
            interface = same or other
            if interface is not None:
                plain = mapping if not mapping.proxied else replace(mapping, proxied=False)
                result[plain] = Relayed(interface.ip, mapping.sandbox_port, only_loopback=not mapping.proxied)
    return result


def is_prisoner(networks: Iterable[Network], address: IPAddress, link: str) -> bool:
    """Return whether who has *address* is on an internal network; *link*: the host's link it is on, "" if that is not known."""
    internal = [item for item in networks if item.internal and isinstance(item.driver_options, BridgeOptions)]
    if link:
        return any(item.bridge.bridge_name == link for item in internal)
    return any(item.pool_of(address) is not None for item in internal)


def plan_ports(
    sandbox: Sandbox,
    endpoints: Sequence[Endpoint],
    networks: Mapping[NetworkId, Network],
    *,
    taken: Iterable[tuple[str, PortMapping]],
    find_busy: port_allocation.FindBusy,
    ephemeral: tuple[int, int],
    start: int,
    host_ipv6: bool,
) -> tuple[PortMapping, ...]:
    """Return the mappings of *sandbox*: those it has, and new ones for families of the host that it had none in."""
    bare = [replace(endpoint, ports=()) for endpoint in endpoints]
    requests = [*sandbox.port_requests, *_exposed(sandbox)]
    have = {item.family for item in sandbox.ports}
    by_nat, routed, binding = _families(bare, networks)
    made = list(sandbox.ports)
    for family in [item for item in routed if item not in have]:
        made += [
            PortMapping(family=family, protocol=item.protocol, host_address=None, host_port=0, sandbox_port=port)
            for item in requests
            for port in range(item.sandbox_first, item.sandbox_last + 1)
        ]
    # A family without a gateway network is carried by a proxy to the other one.
    families = [item for item in (4, 6) if by_nat and item not in routed and item not in have and (item == 4 or host_ipv6)]
    if families and requests:
        wanted = [item for item in requests if item.host_address is None or item.host_address.version in families or not have]
        made += port_allocation.allocate_ports(
            wanted,
            families=tuple(families),
            default_binding=list(dict.fromkeys(binding)),
            taken=taken,
            find_busy=find_busy,
            ephemeral=ephemeral,
            start=start,
        )
    return tuple(made)


def _families(endpoints: Sequence[Endpoint], networks: Mapping[NetworkId, Network]) -> tuple[list[int], list[int], list[IPAddress]]:
    """Return the families that are published by NAT and those routed to directly, and the addresses to bind by default."""
    by_nat: list[int] = []
    routed: list[int] = []
    binding: list[IPAddress] = []
    for family, endpoint in zip((4, 6), gateway.gateway_endpoints(endpoints, networks), strict=True):
        parsed = networks[endpoint.network_id].driver_options if endpoint is not None else None
        if not isinstance(parsed, BridgeOptions):
            # What leaves by a slice of a parent never meets the host's NAT (MV-6).
            continue
        mode = parsed.gateway_mode_ipv4 if family == 4 else parsed.gateway_mode_ipv6
        (routed if mode is GatewayMode.ROUTED else by_nat).append(family)
        binding += parsed.host_binding
    return by_nat, routed, binding


def _exposed(sandbox: Sandbox) -> list[PortRequest]:
    """Return a request for an ephemeral host port for each exposed port, with `--publish-all` (CL-27)."""
    if not sandbox.publish_all:
        return []
    published = {(item.protocol, item.sandbox_first) for item in sandbox.port_requests}
    parsed = [ports.parse_port(text) for text in sandbox.exposed]
    return [item for item in parsed if (item.protocol, item.sandbox_first) not in published]
