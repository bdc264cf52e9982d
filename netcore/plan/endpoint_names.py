"""What an endpoint is called in DNS, and which ports and services have SRV records. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from netcore import limits
from netcore.model import Endpoint, Network, Sandbox
from netcore.parse import service_names
from netcore.parse.names import fits_in_dns
from netcore.parse.ports import parse_exposed


def names_of(sandbox: Sandbox, endpoint: Endpoint, network: Network) -> tuple[str, ...]:
    """Return the names of an endpoint, the one for PTR first (DNS-38); none on networks without names (DNS-41).

    A sandbox whose name does not fit in DNS has its other names only. One that has ended, but for its network stack, has none.
    """
    if not network.has_names or sandbox.ended:
        return ()
    services = [name for service in endpoint.services for name in (service, f"tasks.{service}")]
    own = [sandbox.name] if fits_in_dns(sandbox.name) else []
    return tuple(dict.fromkeys([*own, *endpoint.aliases, sandbox.short_id, sandbox.hostname, *services]))


def label_of(network: Network) -> str:
    """Return what *network* is called in DNS: its name, or its short id if that does not fit."""
    return network.name if fits_in_dns(network.name) else network.id[:12]


def served_ports(sandbox: Sandbox) -> tuple[tuple[int, str], ...]:
    """Return the (port, protocol) pairs that *sandbox* exposes or publishes, which have SRV records."""
    return tuple(dict.fromkeys((port, protocol) for port, protocol, _ in _ports(sandbox)))[: limits.SERVICE_PORTS]


def named_services(sandbox: Sandbox) -> tuple[tuple[str, str, int], ...]:
    """Return (name, protocol, port) for each name that one of the `served_ports` has: those given, else the well-known one."""
    served = dict.fromkeys(served_ports(sandbox), ())
    given: dict[tuple[int, str], tuple[str, ...]] = {**served}
    for port, protocol, names in _ports(sandbox):
        if (port, protocol) in given:
            given[port, protocol] = (*given[port, protocol], *names)
    result: dict[tuple[str, str, int], None] = {}
    for (port, protocol), names in given.items():
        known = service_names.well_known(port, protocol)
        for name in names or ([known] if known is not None else []):
            result[name, protocol, port] = None
    return tuple(result)


def _ports(sandbox: Sandbox) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Yield (port, protocol, names) of every port of every request, the published ones first."""
    for request in (*sandbox.port_requests, *map(parse_exposed, sandbox.exposed)):
        for port in range(request.sandbox_first, request.sandbox_last + 1):
            yield port, request.protocol, request.names
