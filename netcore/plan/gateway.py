"""Which endpoint gives a sandbox its default gateway, and in which order its networks are asked for names. Pure.

Rules GW-1..GW-9 of docs/rules.md. Where a default route leads is the driver's to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netcore import drivers
from netcore.model import Endpoint, IPAddress, Network, NetworkId


def ordered(endpoints: Iterable[Endpoint], networks: Mapping[NetworkId, Network]) -> tuple[Endpoint, ...]:
    """Return *endpoints* by gateway priority: higher first, then not internal, more gateways, network name (GW-2).

    The gateway bridge comes behind all of the same priority.
    """

    def rank(endpoint: Endpoint) -> tuple[int, bool, bool, int, bytes]:
        network = networks[endpoint.network_id]
        driver = drivers.of(network)
        gateways = sum(driver.default_hop(network, endpoint, family) is not None for family in (4, 6))
        return (-endpoint.gateway_priority, network.is_gateway_bridge, network.internal, -gateways, network.name.encode())

    present = tuple(endpoints)
    # One is in order; to rank it would be most of the work.
    return tuple(sorted(present, key=rank)) if len(present) > 1 else present


def gateway_endpoints(endpoints: Iterable[Endpoint], networks: Mapping[NetworkId, Network]) -> tuple[Endpoint | None, Endpoint | None]:
    """Return the endpoints that are the way outside for IPv4 and for IPv6; each family is chosen alone (GW-1)."""
    order = ordered(endpoints, networks)

    def first(family: int) -> Endpoint | None:
        for endpoint in order:
            network = networks[endpoint.network_id]
            if drivers.of(network).may_lead_outside(network, endpoint, family):
                return endpoint
        return None

    return first(4), first(6)


def host_addresses(endpoints: Iterable[Endpoint], networks: Mapping[NetworkId, Network]) -> tuple[IPAddress, ...]:
    """Return what `host-gateway` stands for (HO-12): for each family an address at which the sandbox reaches the host.

    It is the host's on the first network in gateway order where it has one, internal networks included; otherwise the next hop.
    """
    order = ordered(endpoints, networks)
    result = []
    for family, way_out in zip((4, 6), gateway_endpoints(order, networks), strict=True):
        found = next((address for endpoint in order if (address := _host_address(endpoint, networks, family)) is not None), None)
        if found is None and way_out is not None:
            network = networks[way_out.network_id]
            hop = drivers.of(network).default_hop(network, way_out, family)
            found = hop.address if hop is not None else None
        if found is not None:
            result.append(found)
    return tuple(result)


def _host_address(endpoint: Endpoint, networks: Mapping[NetworkId, Network], family: int) -> IPAddress | None:
    network = networks[endpoint.network_id]
    if all(address.version != family for address in endpoint.addresses()):
        return None
    own = drivers.of(network).host_addresses(network)
    return next((interface.ip for interface in own if interface.version == family), None)


def has_external_access(endpoints: Iterable[Endpoint], networks: Mapping[NetworkId, Network]) -> bool:
    """Return whether a sandbox may reach beyond its networks, and so ask the host's name servers (DNS-69)."""
    return gateway_endpoints(endpoints, networks) != (None, None)


def needs_gateway_bridge(endpoints: Iterable[Endpoint], networks: Mapping[NetworkId, Network]) -> bool:
    """Return whether a sandbox must get its way outside from the gateway bridge (GW-9).

    It must if a plugin made one of its endpoints and leaves the gateway to us, while no other network has a gateway and no
    endpoint a default route of its own.
    """
    own = [endpoint for endpoint in endpoints if not networks[endpoint.network_id].is_gateway_bridge]
    is_wanted = any(
        endpoint.answer is not None and endpoint.answer.wants_gateway and not networks[endpoint.network_id].internal for endpoint in own
    )
    has_route = any(not route.destination.prefixlen for endpoint in own for route in endpoint.routes)
    return is_wanted and not has_route and gateway_endpoints(own, networks)[0] is None
