"""What `berth up` does, decided before it does it: the requests in their order, and how a project ends. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from resolver.cli.client import PROJECT_LABEL, SERVICE_LABEL
from resolver.cli.compose.project import Project, Service, ServiceNetwork, field_of
from resolver.cli.output import port_texts
from resolver.cli.sandbox_options import OPTIONS, Kind, Scope

_SANDBOX_OPTIONS = tuple(
    option for option in OPTIONS if option.scope is Scope.SANDBOX and option.compose and option.kind is not Kind.NETWORKS
)
_ENDPOINT_OPTIONS = tuple(
    option for option in OPTIONS if option.scope is Scope.ENDPOINT and option.compose and option.kind is not Kind.LINKS
)


@dataclass(frozen=True, kw_only=True)
class ServicePlan:
    """A service, and the bodies of `POST /v1/sandboxes` of its replicas."""

    service: Service
    bodies: tuple[Mapping[str, Any], ...]


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
    return UpPlan(
        project=project.name,
        external=tuple(network.name for network in project.networks if network.external),
        networks=tuple(
            {**network.body, "name": network.name, "labels": {**network.body.get("labels", {}), PROJECT_LABEL: project.name}, **owner}
            for network in project.networks
            if not network.external
        ),
        services=tuple(
            ServicePlan(
                service=service,
                bodies=tuple(
                    {**_sandbox_body(project, service, number), **({"owner_pid": pid} if service.command else owner)}
                    for number in range(1, service.replicas + 1)
                ),
            )
            for service in project.services
        ),
    )


def _sandbox_body(project: Project, service: Service, number: int) -> dict[str, Any]:
    given = {option.field: getattr(service, field_of(option)) for option in _SANDBOX_OPTIONS}
    return {
        **{name: value for name, value in given.items() if value},
        "name": service.container_name or f"{project.name}-{service.name}-{number}",
        "networks": _endpoints(project, service),
        "labels": {**service.labels, PROJECT_LABEL: project.name, SERVICE_LABEL: service.name},
    }


def _endpoints(project: Project, service: Service) -> list[dict[str, Any]]:
    if service.network_mode:
        kind, _, target = service.network_mode.partition(":")
        return [{"network": f"container:{_first_sandbox(project, target)}" if kind == "service" else service.network_mode}]
    names = {network.key: network.name for network in project.networks}
    links = {alias: _first_sandbox(project, target) for target, alias in map(_link, service.links)}
    return [_endpoint(network, names[network.network], service.name, links) for network in service.networks]


def _endpoint(network: ServiceNetwork, name: str, service: str, links: Mapping[str, str]) -> dict[str, Any]:
    given = {option.field: getattr(network, field_of(option)) for option in _ENDPOINT_OPTIONS}
    body: dict[str, Any] = {key: value for key, value in given.items() if value}
    body |= {"network": name, "aliases": [service, *network.aliases]}
    return {**body, "links": links} if links else body


def _first_sandbox(project: Project, name: str) -> str:
    """Return the name of the first sandbox of the service *name*."""
    service = next(service for service in project.services if service.name == name)
    return service.container_name or f"{project.name}-{name}-1"


def _link(text: str) -> tuple[str, str]:
    target, _, alias = text.partition(":")
    return target, alias or target


def environment(service: Service, files: Sequence[Mapping[str, str]], caller: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that the file gives a service: those of its `env_file`s, then its `environment`.

    A variable without a value has that of the *caller*, and is left out if the caller has none.
    """
    variables = {name: value for file in files for name, value in file.items()}
    for name, value in service.environment.items():
        if value is not None:
            variables[name] = value
        elif name in caller:
            variables[name] = caller[name]
    return variables


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


def ending(requests: int, deadline: float | None, now: float) -> Ending:
    """Return what to do after so many *requests* to stop. *deadline*: when the services' grace ends, None before they were stopped.

    The first request stops each service with its own signal; a second one, or the end of the grace, kills them.
    """
    if requests > 1 or (deadline is not None and now > deadline):
        return Ending.KILL
    return Ending.STOP if requests and deadline is None else Ending.NOTHING


def exit_code(codes: Sequence[int | None], *, stopped: bool) -> int:
    """Return the exit code of `berth up`: the first failure of a service; 0 if the user stopped them."""
    return 0 if stopped else next((code for code in codes if code), 0)
