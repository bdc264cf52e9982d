"""Which ports a sandbox publishes, by which of its endpoints, and what NAT can't carry. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from netcore import drivers
from netcore.drivers.facts import Facts
from netcore.model import DNS_PORT, Endpoint, GatewayMode, IPAddress, Network, NetworkId, PortMapping, PortRequest, Sandbox
from netcore.parse import ports
from netcore.plan import gateway, port_allocation

IGNORED = "published ports are ignored: no bridge network of the sandbox gives its default gateway"


def assign_ports(
    endpoints: Sequence[Endpoint], networks: Mapping[NetworkId, Network], mappings: Sequence[PortMapping]
) -> tuple[Endpoint, ...]:
    """Return *endpoints* with each family's mappings on that family's gateway endpoint (rule GW-8).

    Where a family has none, the other family's gateway endpoint gets them, to be carried by a proxy. What is published on
    ::1 is carried by a proxy too.
    """
    bare = [replace(endpoint, ports=()) for endpoint in endpoints]
    ipv4, ipv6 = gateway.gateway_endpoints(bare, networks)
    placed: dict[str, list[PortMapping]] = {}
    for mapping in mappings:
        own, other = (ipv4, ipv6) if mapping.family == 4 else (ipv6, ipv4)
        target, family = (own, mapping.family) if own is not None else (other, 4 if mapping.family == 6 else 6)
        if target is None:
            continue
        network, address = networks[target.network_id], mapping.host_address
        if drivers.of(network).publishing(network, family) is not None:
            proxied = own is None or (mapping.family == 6 and address is not None and address.is_loopback)
            placed.setdefault(network.id, []).append(mapping if mapping.proxied == proxied else replace(mapping, proxied=proxied))
    return tuple(replace(endpoint, ports=tuple(placed.get(endpoint.network_id, ()))) for endpoint in bare)


@dataclass(frozen=True, slots=True)
class Relayed:
    """Where what comes to a host port is carried: *addresses* of the sandbox, of which the next is for what the one before refuses.

    *only_loopback*: for the host's own ::1 alone, NAT carries the rest.
    """

    addresses: tuple[IPAddress, ...]
    port: int
    only_loopback: bool


def proxies(endpoints: Sequence[Endpoint]) -> dict[PortMapping, Relayed]:
    """Return what NAT alone can't carry, and where a proxy must carry it. A port on every IPv6 address is among it, for ::1.

    First comes the client's own family, if the sandbox has it; its server may listen on the other one only.
    """
    result: dict[PortMapping, Relayed] = {}
    for endpoint in endpoints:
        for mapping in endpoint.ports:
            if not mapping.host_port or not (mapping.proxied or (mapping.family == 6 and mapping.host_address is None)):
                continue
            served = [endpoint, *(other for other in endpoints if other is not endpoint and _serves(other, mapping))]
            addresses = [address for each in served for address in each.addresses()]
            same = [address for address in addresses if address.version == mapping.family]
            other = [address for address in addresses if address.version != mapping.family]
            if addresses:
                plain = mapping if not mapping.proxied else replace(mapping, proxied=False)
                result[plain] = Relayed((*same[:1], *other[:1]), mapping.sandbox_port, only_loopback=not mapping.proxied)
    return result


def _serves(endpoint: Endpoint, mapping: PortMapping) -> bool:
    """Return whether *endpoint* publishes the same port of the sandbox as *mapping*, which is another endpoint's."""
    return any((own.protocol, own.sandbox_port) == (mapping.protocol, mapping.sandbox_port) for own in endpoint.ports)


def is_internal_client(networks: Iterable[Network], address: IPAddress, link: str | None) -> bool:
    """Return whether a client with *address* is on an internal network. *link*: the host's link it is on, None if unknown.

    Networks whose packets do not come to the host are left out.
    """
    for network in networks:
        attached = drivers.of(network).host_link(network) if network.internal else None
        if attached is None or not attached.routed:
            continue
        if (attached.name == link) if link else (network.pool_of(address) is not None):
            return True
    return False


def kept_by_resolvers(mappings: Iterable[PortMapping], networks: Iterable[Network], facts: Facts) -> tuple[str, ...]:
    """Return a warning for each mapping at a gateway address whose network does not reach it: berth's resolver answers there."""
    resolvers = {interface.ip: network.name for network in networks for interface in drivers.of(network).host_addresses(network)}
    return tuple(
        f"network {resolvers[mapping.host_address]} does not reach port 53/{mapping.protocol} at {mapping.host_address}, its gateway: "
        "berth's resolver answers there, unless gateway_resolver = false"
        for mapping in mappings
        if facts.resolver_at_gateways and mapping.host_port == DNS_PORT and mapping.host_address in resolvers
        if mapping.protocol in ("tcp", "udp")
    )


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
    present = {mapping.family for mapping in sandbox.ports}
    by_nat, routed, binding = _families(bare, networks)
    result = list(sandbox.ports)
    for family in routed:
        if family not in present:
            result += [
                PortMapping(family=family, protocol=request.protocol, host_address=None, host_port=0, sandbox_port=port)
                for request in requests
                for port in range(request.sandbox_first, request.sandbox_last + 1)
            ]
    # A family without a gateway network is carried by a proxy to the other one.
    families = [family for family in (4, 6) if by_nat and family not in (*routed, *present) and (family == 4 or host_ipv6)]
    if families and requests:
        # Beside mappings that are there already, a request for one address is only for the family of that.
        open_requests = [
            request for request in requests if request.host_address is None or request.host_address.version in families or not present
        ]
        result += port_allocation.allocate_ports(
            open_requests,
            families=tuple(families),
            default_binding=list(dict.fromkeys(binding)),
            taken=taken,
            find_busy=find_busy,
            ephemeral=ephemeral,
            start=start,
        )
    return tuple(result)


def _families(endpoints: Sequence[Endpoint], networks: Mapping[NetworkId, Network]) -> tuple[list[int], list[int], list[IPAddress]]:
    """Return the families that are published by NAT, those that are routed to directly, and the addresses to bind by default."""
    by_nat: list[int] = []
    routed: list[int] = []
    binding: list[IPAddress] = []
    for family, endpoint in zip((4, 6), gateway.gateway_endpoints(endpoints, networks), strict=True):
        if endpoint is None:
            continue
        network = networks[endpoint.network_id]
        publishing = drivers.of(network).publishing(network, family)
        if publishing is not None:
            (routed if publishing.mode is GatewayMode.ROUTED else by_nat).append(family)
            binding += publishing.binding
    return by_nat, routed, binding


def _exposed(sandbox: Sandbox) -> list[PortRequest]:
    """Return a request for an ephemeral host port for each exposed port, with `--publish-all` (CL-27)."""
    if not sandbox.publish_all:
        return []
    published = {(request.protocol, request.sandbox_first) for request in sandbox.port_requests}
    exposed = [ports.parse_port(text) for text in sandbox.exposed]
    return [request for request in exposed if (request.protocol, request.sandbox_first) not in published]
