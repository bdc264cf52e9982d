"""What `berth up` does, decided before it does it: the requests in their order, and how a project ends. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from resolver.cli.client import PROJECT_LABEL, SERVICE_LABEL, Refused
from resolver.cli.compose.project import Project, Service, ServiceNetwork, field_of
from resolver.cli.output import port_texts
from resolver.cli.sandbox_options import OPTIONS, Kind, Scope, link_option

_SANDBOX_OPTIONS = tuple(
    option for option in OPTIONS if option.scope is Scope.SANDBOX and option.compose and option.kind is not Kind.NETWORKS
)
_ENDPOINT_OPTIONS = tuple(
    option for option in OPTIONS if option.scope is Scope.ENDPOINT and option.compose and option.kind is not Kind.LINKS
)
# Docker's predefined network, which is what the network mode `default` means on Linux.
_DEFAULT_BRIDGE = ("bridge", "default")
# A longer name can't be asked for (RFC 1035 section 2.3.4), but a service may have it.
_LABEL_LENGTH = 63

MOST_REPLICAS = 10_000
"""Of one service; no host runs as many sandboxes."""


@dataclass(frozen=True, kw_only=True)
class ServicePlan:
    """A service, and the bodies of `POST /v1/sandboxes` of its replicas.

    *linked_hosts*: (name, sandbox) of lines that their hosts files get, as soon as the addresses are known: on the network `bridge`
    nobody has a name in DNS.
    """

    service: Service
    bodies: tuple[Mapping[str, Any], ...]
    linked_hosts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class UpPlan:
    """What brings a project up, in this order.

    *external*: networks that must exist; *networks*: bodies of `POST /v1/networks`; *services*: the replicas of a service are
    created together, each service after those that it depends on.
    """

    project: str
    external: tuple[str, ...]
    networks: tuple[Mapping[str, Any], ...]
    services: tuple[ServicePlan, ...]


def plan_up(project: Project, *, pid: int, detach: bool) -> UpPlan:
    """Return what brings *project* up. *pid*: the process that owns what is made, so that it all goes with that process.

    Detached, networks stay until `berth down`, and a sandbox belongs to *pid* only until its own process has started.
    """
    owner = {} if detach else {"owner_pid": pid}
    for service in project.services:
        if service.replicas > MOST_REPLICAS:
            raise Refused(f"service {service.name}: {service.replicas} replicas are more than the {MOST_REPLICAS} that a host may have")
    sandboxes = {service.name: service.container_name or f"{project.name}-{service.name}-1" for service in project.services}
    modes = [service.network_mode for service in project.services if _is_named_network(service.network_mode)]
    return UpPlan(
        project=project.name,
        external=tuple(dict.fromkeys([*(network.name for network in project.networks if network.external), *filter(None, modes)])),
        networks=tuple(
            {**network.body, "name": network.name, "labels": {**network.body.get("labels", {}), PROJECT_LABEL: project.name}, **owner}
            for network in project.networks
            if not network.external
        ),
        services=tuple(
            ServicePlan(
                service=service,
                bodies=tuple(
                    {**_sandbox_body(project, service, number, sandboxes), **({"owner_pid": pid} if service.command else owner)}
                    for number in range(1, service.replicas + 1)
                ),
                linked_hosts=_linked_hosts(service, sandboxes),
            )
            for service in project.services
        ),
    )


def _sandbox_body(project: Project, service: Service, number: int, sandboxes: Mapping[str, str]) -> dict[str, Any]:
    given = {option.field: getattr(service, field_of(option)) for option in _SANDBOX_OPTIONS}
    return {
        **{name: value for name, value in given.items() if value},
        "name": service.container_name or f"{project.name}-{service.name}-{number}",
        "networks": _endpoints(project, service, sandboxes),
        "labels": {**service.labels, PROJECT_LABEL: project.name, SERVICE_LABEL: service.name},
    }


def _endpoints(project: Project, service: Service, sandboxes: Mapping[str, str]) -> list[dict[str, Any]]:
    links = _links(service, sandboxes)
    mode = service.network_mode
    if mode is None:
        names = {network.key: network.name for network in project.networks}
        return [_endpoint(network, names[network.network], service.name, links) for network in service.networks]
    if mode.startswith("service:"):
        return [{"network": f"container:{sandboxes[mode.removeprefix('service:')]}"}]
    if mode in _DEFAULT_BRIDGE:
        return [{"network": "bridge"}]
    return [{"network": mode, **({"links": links} if links else {})}]


def _links(service: Service, sandboxes: Mapping[str, str]) -> dict[str, str]:
    """Return alias → sandbox of the links of *service*, those to other projects' sandboxes too."""
    own = {alias: sandboxes[target] for alias, target in map(link_option, service.links)}
    return own | dict(map(link_option, service.external_links))


def _linked_hosts(service: Service, sandboxes: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return (name, sandbox) of what a service on the network `bridge` links."""
    if service.network_mode not in _DEFAULT_BRIDGE:
        return ()
    # As with Compose the replica and the sandbox have their names too.
    more = {name: sandboxes[target] for _, target in map(link_option, service.links) for name in (f"{target}-1", sandboxes[target])}
    return tuple((_links(service, sandboxes) | more).items())


def _is_named_network(mode: str | None) -> bool:
    return mode is not None and mode not in ("host", "none", *_DEFAULT_BRIDGE) and not mode.startswith(("service:", "container:"))


def _endpoint(network: ServiceNetwork, name: str, service: str, links: Mapping[str, str]) -> dict[str, Any]:
    given = {option.field: getattr(network, field_of(option)) for option in _ENDPOINT_OPTIONS}
    body: dict[str, Any] = {key: value for key, value in given.items() if value}
    own = [service] if all(len(label) <= _LABEL_LENGTH for label in service.split(".")) else []
    body |= {"network": name, "aliases": [*own, *network.aliases]}
    return {**body, "links": links} if links else body


def environment(service: Service) -> dict[str, str]:
    """Return the variables that the project gives a service; one that has no value anywhere is left out."""
    return {name: value for name, value in service.environment.items() if value is not None}


def table(sandboxes: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return what came up as rows: name, network, addresses and ports, a row for each endpoint."""
    rows: list[tuple[str, ...]] = [("NAME", "NETWORK", "ADDRESSES", "PORTS")]
    for sandbox in sandboxes:
        for i, endpoint in enumerate(sandbox["endpoints"]):
            addresses = " ".join(address.partition("/")[0] for address in endpoint["addresses"])
            rows.append((sandbox["name"] if i == 0 else "", endpoint["network"], addresses, " ".join(port_texts(endpoint["ports"]))))
    return rows


class Ending(Enum):
    """What is to be done about services that still run."""

    NOTHING = "nothing"
    STOP = "stop"
    KILL = "kill"


def ending(requests: int, *, stopped: bool) -> Ending:
    """Return what to do after so many *requests* to stop. *stopped*: the services were sent their signals already.

    The first request stops each service with its own signal; a second one kills them.
    """
    if requests > 1:
        return Ending.KILL
    return Ending.STOP if requests and not stopped else Ending.NOTHING


def exit_code(codes: Sequence[int | None], *, stopped: bool) -> int:
    """Return the exit code of `berth up`: the first failure of a service; 0 if the user stopped them."""
    return 0 if stopped else next((code for code in codes if code), 0)
