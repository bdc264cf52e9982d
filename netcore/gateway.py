"""Which endpoint gives a sandbox its default gateway, and in which order endpoints are asked. Pure.

Rules GW-1..GW-6 of docker-behaviour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netcore.model import Endpoint, Network


def ordered(endpoints: Iterable[Endpoint], networks: Mapping[str, Network]) -> tuple[Endpoint, ...]:
    """Return *endpoints* by gateway priority: higher first, then not internal, more gateways, network name (GW-2)."""

    def rank(endpoint: Endpoint) -> tuple[int, bool, int, bytes]:
        network = networks[endpoint.network_id]
        gateways = (network.gateway4() is not None) + (network.gateway6() is not None)
        return (-endpoint.gateway_priority, network.internal, -gateways, network.name.encode())

    return tuple(sorted(endpoints, key=rank))


def gateway_endpoints(endpoints: Iterable[Endpoint], networks: Mapping[str, Network]) -> tuple[Endpoint | None, Endpoint | None]:
    """Return the endpoints that give the IPv4 and the IPv6 default route; each family is chosen alone (GW-1)."""
    order = ordered(endpoints, networks)
    ipv4 = next((item for item in order if item.ipv4 and networks[item.network_id].gateway4()), None)
    ipv6 = next((item for item in order if item.ipv6 and networks[item.network_id].gateway6()), None)
    return ipv4, ipv6


def has_external_access(endpoints: Iterable[Endpoint], networks: Mapping[str, Network]) -> bool:
    """Return whether a sandbox may reach beyond its networks, and so ask the host's nameservers (DNS-69)."""
    return gateway_endpoints(endpoints, networks) != (None, None)
