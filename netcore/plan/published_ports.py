"""Which ports a sandbox publishes, by which of its endpoints, and what NAT can't carry. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from netcore import drivers
from netcore.drivers.facts import Facts
from netcore.errors import Conflict, InvalidRequest
from netcore.model import (
    DNS_PORT,
    Endpoint,
    GatewayMode,
    IPAddress,
    IPNetwork,
    Network,
    NetworkId,
    PortMapping,
    PortRequest,
    Sandbox,
)
from netcore.parse import ports
from netcore.plan import gateway, port_allocation

_IGNORED = "published ports are ignored: no bridge network of the sandbox gives its default gateway"
_FREED = "its published ports are free for others; it takes them again with the next bridge network that gives its default gateway"


def ignored(name: str) -> str:
    """Return the warning that nothing publishes the ports that the sandbox called *name* asks for."""
    return f"{name}: {_IGNORED}"


def freed(name: str) -> str:
    """Return the warning that nothing publishes the ports of the sandbox called *name* any more."""
    return f"{name}: {_FREED}"


def asks_for_ports(sandbox: Sandbox) -> bool:
    """Return whether *sandbox* is to publish any: `--publish-all` alone publishes nothing where nothing is exposed."""
    return bool(sandbox.port_requests or _exposed(sandbox))


def assign_ports(
    endpoints: Sequence[Endpoint], networks: Mapping[NetworkId, Network], mappings: Sequence[PortMapping]
) -> tuple[Endpoint, ...]:
    """Return *endpoints* with each family's mappings on that family's gateway endpoint (rule GW-8).

    Where a family has none, the other family's gateway endpoint gets them, to be carried by a proxy. What is published on
    ::1 is carried by a proxy too.
    """
    bare = [replace(endpoint, ports=()) if endpoint.ports else endpoint for endpoint in endpoints]
    if not mappings:
        return tuple(bare)
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


def proxies(endpoints: Sequence[Endpoint], *, everything: bool = False) -> dict[PortMapping, Relayed]:
    """Return what NAT alone can't carry, and where a proxy must carry it. A port on every IPv6 address is among it, for ::1.

    *everything*: NAT carries nothing, as in a nest, where no packet for a port of the host comes.
    First comes the client's own family, if the sandbox has it; its server may listen on the other one only.
    """
    result: dict[PortMapping, Relayed] = {}
    for endpoint in endpoints:
        for mapping in endpoint.ports:
            if not mapping.host_port or not (everything or mapping.proxied or (mapping.family == 6 and mapping.host_address is None)):
                continue
            served = [endpoint, *(other for other in endpoints if other is not endpoint and _serves(other, mapping))]
            addresses = [address for each in served for address in each.addresses()]
            same = [address for address in addresses if address.version == mapping.family]
            other = [address for address in addresses if address.version != mapping.family]
            if addresses:
                plain = mapping if not mapping.proxied else replace(mapping, proxied=False)
                result[plain] = Relayed((*same[:1], *other[:1]), mapping.sandbox_port, only_loopback=not (everything or mapping.proxied))
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
    concerned = [mapping for mapping in mappings if mapping.host_port == DNS_PORT and mapping.protocol in ("tcp", "udp")]
    if not facts.resolver_at_gateways or not concerned:
        return ()
    resolvers = {interface.ip: network.name for network in networks for interface in drivers.of(network).host_addresses(network)}
    return tuple(
        f"network {resolvers[mapping.host_address]} does not reach port 53/{mapping.protocol} at {mapping.host_address}, its gateway: "
        "berth's resolver answers there, unless gateway_resolver = false"
        for mapping in concerned
        if mapping.host_address in resolvers
    )


@dataclass(frozen=True, slots=True)
class PortPlan:
    """The ports that a sandbox publishes from now on, and what the user should know of it."""

    mappings: tuple[PortMapping, ...] = ()
    warnings: tuple[str, ...] = ()

    def fresh(self, sandbox: Sandbox) -> list[PortMapping]:
        """Return those that *sandbox* did not have."""
        return [mapping for mapping in self.mappings if mapping not in sandbox.ports]

    def dropped(self, sandbox: Sandbox) -> list[PortMapping]:
        """Return those that *sandbox* had, and has no longer."""
        return [mapping for mapping in sandbox.ports if mapping not in self.mappings]


def lacking_addresses(name: str, mappings: Iterable[PortMapping], local: Iterable[IPNetwork] | None) -> tuple[str, ...]:
    """Return a warning for each host address that the sandbox called *name* publishes ports on, and that the host does not have.

    *local*: the addresses that it has; None: not known.
    """
    if local is None:
        return ()
    known = [*local]
    addresses = dict.fromkeys(mapping.host_address for mapping in mappings if mapping.host_address is not None)
    return tuple(
        f"{name} publishes ports on {address}, which is no address of this host; they are reached once the host has it"
        for address in addresses
        if not any(subnet.version == address.version and address in subnet for subnet in known)
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
    strict: bool = True,
) -> PortPlan:
    """Return the mappings of *sandbox*: those it has, as far as they still apply, and new ones for families that had none.

    Those at addresses that the gateway network does not bind by default give way to others.
    A family that is routed has mappings without a host port; one that nothing publishes has none, and its ports are free.
    *strict*: Conflict if a port is taken. Otherwise the sandbox does without it, with a warning.
    """
    bare = [replace(endpoint, ports=()) for endpoint in endpoints]
    requests = [*sandbox.port_requests, *_exposed(sandbox)]
    by_nat, routed, binding = _families(bare, networks)
    # A family without a gateway network is carried by a proxy to the other one.
    translated = [family for family in (4, 6) if by_nat and family not in routed and (family == 4 or host_ipv6)]
    result = [
        mapping
        for mapping in sandbox.ports
        if (mapping.family in translated and _is_asked_for(mapping, requests, binding) if mapping.host_port else mapping.family in routed)
    ]
    present = {mapping.family for mapping in result}
    warnings: list[str] = []
    for family in routed:
        if family not in present:
            result += [
                PortMapping(family=family, protocol=request.protocol, host_address=None, host_port=0, sandbox_port=port)
                for request in requests
                for port in range(request.sandbox_first, request.sandbox_last + 1)
            ]
            warnings += [_unused(request, family) for request in requests if _names_host_port(request, family)]
    held = [*taken]

    def allocate(some: Sequence[PortRequest], families: Sequence[int]) -> None:
        made = port_allocation.allocate_ports(
            some,
            families=tuple(families),
            default_binding=list(dict.fromkeys(binding)),
            taken=held,
            find_busy=find_busy,
            ephemeral=ephemeral,
            start=start,
        )
        result.extend(made)
        held.extend(("this sandbox", mapping) for mapping in made)

    def allocate_what_is_free(some: Sequence[PortRequest], families: Sequence[int]) -> None:
        for request in some:
            try:
                allocate([request], families)
            except (Conflict, InvalidRequest) as error:
                warnings.append(f"a port is not published until the sandbox is connected again: {error}")

    possible = [request for request in requests if request.host_address is None or request.host_address.version not in routed]
    # What somebody else had when the sandbox came back to it.
    missing = [request for request in possible if present.intersection(translated) and not _is_served(request, result)]
    families = [family for family in translated if family not in present]
    if families:
        # Beside mappings that are there already, a request for one address is only for the family of that.
        wanted = [
            request
            for request in possible
            if request not in missing and (request.host_address is None or request.host_address.version in families or not present)
        ]
        (allocate if strict else allocate_what_is_free)(wanted, families)
    allocate_what_is_free(missing, translated)
    return PortPlan(tuple(result), tuple(dict.fromkeys(warnings)))


def _is_asked_for(mapping: PortMapping, requests: Iterable[PortRequest], binding: Sequence[IPAddress]) -> bool:
    """Return whether one of *requests* still means the host address of *mapping*. *binding*: what those without an address mean."""
    for request in requests:
        if mapping.protocol == request.protocol and request.sandbox_first <= mapping.sandbox_port <= request.sandbox_last:
            addresses = [request.host_address] if request.host_address is not None else binding
            meant = [None if address.is_unspecified else address for address in addresses if address.version == mapping.family]
            if mapping.host_address in (meant if addresses else [None]):
                return True
    return False


def _is_served(request: PortRequest, mappings: Iterable[PortMapping]) -> bool:
    """Return whether one of *mappings* is for *request*, which then has all that it asked for."""
    address = request.host_address
    return any(
        mapping.host_port
        and mapping.protocol == request.protocol
        and request.sandbox_first <= mapping.sandbox_port <= request.sandbox_last
        and (not request.host_first or request.host_first <= mapping.host_port <= request.host_last)
        and (address is None or mapping.host_address == (None if address.is_unspecified else address))
        for mapping in mappings
    )


def _names_host_port(request: PortRequest, family: int) -> bool:
    address = request.host_address
    return (address is not None and address.version == family) or (address is None and request.host_first != 0)


def _unused(request: PortRequest, family: int) -> str:
    return (
        f"publish {request.text}: the host part is not used for IPv{family}, because the network is routed; "
        f"the port is reached at the sandbox's own IPv{family} address"
    )


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
