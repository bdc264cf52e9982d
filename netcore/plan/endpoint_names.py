"""What an endpoint is called in DNS, and which ports have SRV records. Pure."""

from __future__ import annotations

from netcore import limits
from netcore.model import Endpoint, Network, Sandbox
from netcore.parse.ports import parse_exposed


def names_of(sandbox: Sandbox, endpoint: Endpoint, network: Network) -> tuple[str, ...]:
    """Return the names of an endpoint, the one for PTR first (DNS-38); none on networks without names (DNS-41)."""
    if not network.has_names:
        return ()
    services = [name for service in endpoint.services for name in (service, f"tasks.{service}")]
    return tuple(dict.fromkeys([sandbox.name, *endpoint.aliases, sandbox.short_id, sandbox.hostname, *services]))


def served_ports(sandbox: Sandbox) -> tuple[tuple[int, str], ...]:
    """Return the (port, protocol) pairs that *sandbox* exposes or publishes, which have SRV records."""
    exposed = [(port, protocol) for first, last, protocol in map(parse_exposed, sandbox.exposed) for port in range(first, last + 1)]
    published = [
        (port, request.protocol) for request in sandbox.port_requests for port in range(request.sandbox_first, request.sandbox_last + 1)
    ]
    return tuple(dict.fromkeys([*published, *exposed]))[: limits.SERVICE_PORTS]
