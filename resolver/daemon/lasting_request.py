"""What a sandbox that lasts is made by when it is made again: as it was asked for, with the addresses and ports that it had. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from netcore.model import Endpoint, EndpointRequest, Network, NetworkId, PortMapping, PortRequest, Sandbox, SandboxRequest, Stack

_WITH_OWN_MACS = ("bridge", "overlay", "macvlan")
"""Drivers whose endpoints may be given a MAC."""


def as_it_is(
    request: SandboxRequest, sandbox: Sandbox, endpoints: Sequence[Endpoint], networks: Mapping[NetworkId, Network]
) -> SandboxRequest:
    """Return *request* with what *sandbox* has by now: its id, name, networks, addresses, MACs and published ports."""
    asked = {one.network: one for one in request.networks}
    known = {name for network in networks.values() for name in (network.name, network.id)}
    return replace(
        request,
        name=sandbox.name,
        netns=None,
        owner=None,
        leader=None,
        again=(sandbox.id, sandbox.created),
        # In a mode, such as none, there are no endpoints, and it is asked for as a network.
        networks=(
            *(_endpoint(asked, endpoint, networks[endpoint.network_id]) for endpoint in endpoints),
            # Set aside, and with it the endpoint.
            *(one for one in request.networks if one.network not in known),
        )
        if sandbox.stack is Stack.OWN
        else request.networks,
        publish=tuple(_published(sandbox)),
        publish_all=False,
    )


def _endpoint(asked: Mapping[str, EndpointRequest], endpoint: Endpoint, network: Network) -> EndpointRequest:
    wanted = next((asked[key] for key in (network.name, network.id) if key in asked), None) or EndpointRequest(
        network=network.name,
        aliases=endpoint.aliases,
        services=endpoint.services,
        links=endpoint.links,
        gateway_priority=endpoint.gateway_priority,
    )
    if network.is_default_bridge:
        # There the user can't choose (IP-25), and what is free is taken.
        return replace(wanted, network=network.name)
    return replace(
        wanted,
        network=network.name,
        ipv4=endpoint.ipv4.ip if endpoint.ipv4 is not None else None,
        ipv6=endpoint.ipv6.ip if endpoint.ipv6 is not None else None,
        mac=endpoint.mac if network.driver in _WITH_OWN_MACS else wanted.mac,
    )


def _published(sandbox: Sandbox) -> Iterable[str]:
    """Yield what is published as `-p` has it, each with its port on the host."""
    left = list(sandbox.ports)
    for request in sandbox.port_requests:
        of_request = [mapping for mapping in left if _is_of(mapping, request)]
        left = [mapping for mapping in left if mapping not in of_request]
        if request.host_first or not of_request:
            yield request.text
            continue
        for host_port, port in sorted({(mapping.host_port, mapping.sandbox_port) for mapping in of_request}):
            yield _text(request.host_address, host_port, port, request.protocol, request.names)
    for protocol, host_port, port in sorted({(mapping.protocol, mapping.host_port, mapping.sandbox_port) for mapping in left}):
        # Of --publish-all.
        yield _text(None, host_port, port, protocol, ())


def _is_of(mapping: PortMapping, request: PortRequest) -> bool:
    return (
        mapping.protocol == request.protocol
        and request.sandbox_first <= mapping.sandbox_port <= request.sandbox_last
        and (request.host_address is None or mapping.host_address == request.host_address)
    )


def _text(address: object, host_port: int, port: int, protocol: str, names: Sequence[str]) -> str:
    where = "" if address is None else f"[{address}]:" if ":" in str(address) else f"{address}:"
    return f"{','.join(names)}{'=' if names else ''}{where}{host_port}:{port}/{protocol}"
