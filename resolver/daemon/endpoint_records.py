"""The records that endpoints of a network have in its zone. Pure."""

from __future__ import annotations

from netcore.health import Health
from netcore.model import Endpoint, Network, RemoteEndpoint, Sandbox
from netcore.plan.endpoint_names import label_of, named_services, names_of, served_ports
from resolver.zone.build import records
from resolver.zone.zone import Record


def of_endpoint(sandbox: Sandbox, endpoint: Endpoint, network: Network) -> tuple[Record, ...]:
    """Return the records of an endpoint of *sandbox* here."""
    return records(
        endpoint=f"{endpoint.origin}/{sandbox.id}/{endpoint.ifname}",
        network=label_of(network),
        endpoint_names=names_of(sandbox, endpoint, network),
        addresses=endpoint.addresses(),
        ports=served_ports(sandbox),
        services=named_services(sandbox),
        unhealthy=sandbox.health is Health.UNHEALTHY or sandbox.waits,
    )


def of_remote(network: Network, remote: RemoteEndpoint | None) -> tuple[Record, ...]:
    """Return those of an endpoint on another host, None: it is gone."""
    if remote is None:
        return ()
    return records(
        endpoint=f"remote/{remote.id}",
        network=label_of(network),
        endpoint_names=remote.names,
        addresses=remote.addresses,
        ports=remote.ports,
        services=remote.services,
        unhealthy=remote.unhealthy,
    )
