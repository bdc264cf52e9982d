"""Which networks a run will be on at its next start, and how that changes while it runs and while it is stopped. Pure."""

from __future__ import annotations

from dataclasses import replace

from netcore.errors import Conflict, NotFound
from netcore.model import EndpointRequest, Network
from netcore.plan import ipam, modes
from netcore.plan.endpoint import check_endpoint_request
from resolver.daemon.automatic_networks import DEFAULT_NETWORK
from resolver.daemon.runs import Run


def networks_of(run: Run) -> tuple[EndpointRequest, ...]:
    """Return what it will be connected to: what was asked for, or `default`."""
    return run.request.networks or ((EndpointRequest(network=DEFAULT_NETWORK.name),) if run.on_default else ())


def with_endpoint(run: Run, endpoint: EndpointRequest) -> Run:
    """Return *run* with one more endpoint."""
    return replace(run, request=replace(run.request, networks=(*networks_of(run), endpoint)))


def without_endpoint(run: Run, network: str) -> Run:
    """Return *run* without the endpoint on the network called *network*."""
    left = tuple(endpoint for endpoint in networks_of(run) if endpoint.network != network)
    return replace(run, request=replace(run.request, networks=left), on_default=run.on_default and bool(left))


def connected(run: Run, endpoint: EndpointRequest, network: Network) -> Run:
    """Return *run*, which is stopped, with an endpoint on *network*; Conflict or InvalidRequest if it can't have that.

    Whether its addresses are free is seen at the start.
    """
    modes.check_stack(run.name, modes.asked(run.request)[0])
    if any(one.network == network.name for one in networks_of(run)):
        raise Conflict("sandbox", run.name, f"is already attached to network {network.name}")
    check_endpoint_request(endpoint, network)
    for address in (endpoint.ipv4, endpoint.ipv6):
        # Without pools a plugin knows its subnets.
        if address is not None and network.pools:
            ipam.containing(network, address)
    return with_endpoint(run, replace(endpoint, network=network.name))


def disconnected(run: Run, network: str) -> Run:
    """Return *run*, which is stopped, without its endpoint on the network called *network*; NotFound if it has none."""
    if all(one.network != network for one in networks_of(run)):
        raise NotFound("endpoint", f"sandbox {run.name} is not connected to network {network}")
    return without_endpoint(run, network)
