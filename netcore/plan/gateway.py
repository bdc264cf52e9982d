"""Which endpoint gives a sandbox its default gateway, and in which order endpoints are asked. Pure.

Rules GW-1..GW-8 of docker-behaviour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import assert_never

from netcore.model import BridgeOptions, Endpoint, IPAddress, Network, NetworkId, ParentOptions, PluginOptions


@dataclass(frozen=True, slots=True)
class Hop:
    """Where the default route leads: to the neighbour *address*, or with None just to the link (ipvlan l3, IV-2)."""

    address: IPAddress | None


def default_hop(network: Network, endpoint: Endpoint, family: int) -> Hop | None:
    """Return where the default route of *family* over *endpoint* leads; None where its network gives none (GW-6, BR-8)."""
    if isinstance(network.driver_options, PluginOptions):
        answer = endpoint.answer
        told = None if answer is None or network.internal else answer.gateway4 if family == 4 else answer.gateway6
        return Hop(told) if told is not None else None
    own = endpoint.ipv4 if family == 4 else endpoint.ipv6
    pool = network.pool_of(own.ip) if own is not None else None
    if network.internal or pool is None:
        return None
    match network.driver_options:
        case BridgeOptions():
            address = dict(pool.auxiliary).get(f"DefaultGatewayIPv{family}", pool.gateway)
        case ParentOptions(mode="l3" | "l3s"):
            return Hop(None)
        case ParentOptions():
            address = pool.gateway
        case other:
            assert_never(other)
    return Hop(address) if address is not None else None


def _is_candidate(network: Network, endpoint: Endpoint, family: int) -> bool:
    """Return whether traffic of *family* to the outside may be meant to leave by *endpoint*.

    A macvlan or ipvlan network without a gateway is: how to get on is known to the sandbox, not to us (GW-7).
    """
    if isinstance(network.driver_options, ParentOptions):
        return not network.internal and (endpoint.ipv4 if family == 4 else endpoint.ipv6) is not None
    return default_hop(network, endpoint, family) is not None


def ordered(endpoints: Iterable[Endpoint], networks: Mapping[NetworkId, Network]) -> tuple[Endpoint, ...]:
    """Return *endpoints* by gateway priority: higher first, then not internal, more gateways, network name (GW-2).

    The gateway bridge comes behind all of the same priority.
    """

    def rank(endpoint: Endpoint) -> tuple[int, bool, bool, int, bytes]:
        network = networks[endpoint.network_id]
        gateways = sum(default_hop(network, endpoint, family) is not None for family in (4, 6))
        return (-endpoint.gateway_priority, network.is_gateway_bridge, network.internal, -gateways, network.name.encode())

    return tuple(sorted(endpoints, key=rank))


def gateway_endpoints(endpoints: Iterable[Endpoint], networks: Mapping[NetworkId, Network]) -> tuple[Endpoint | None, Endpoint | None]:
    """Return the endpoints that give the IPv4 and the IPv6 default route; each family is chosen alone (GW-1)."""
    order = ordered(endpoints, networks)
    ipv4 = next((item for item in order if _is_candidate(networks[item.network_id], item, 4)), None)
    ipv6 = next((item for item in order if _is_candidate(networks[item.network_id], item, 6)), None)
    return ipv4, ipv6


def has_external_access(endpoints: Iterable[Endpoint], networks: Mapping[NetworkId, Network]) -> bool:
    """Return whether a sandbox may reach beyond its networks, and so ask the host's nameservers (DNS-69)."""
    return gateway_endpoints(endpoints, networks) != (None, None)


def needs_gateway_bridge(endpoints: Iterable[Endpoint], networks: Mapping[NetworkId, Network]) -> bool:
    """Return whether a sandbox must get its way outside from the gateway bridge (GW-9).

    So it is with an endpoint on a plugin's network that leaves this to us, while no other network has a gateway and no
    endpoint a default route of its own.
    """
    others = [item for item in endpoints if not networks[item.network_id].is_gateway_bridge]
    wanting = [item for item in others if item.answer is not None and item.answer.wants_gateway and not networks[item.network_id].internal]
    has_route = any(not route.destination.prefixlen for item in others for route in item.routes)
    return bool(wanting) and not has_route and gateway_endpoints(others, networks)[0] is None
