"""What `berth up` does, decided before it does it: the requests in their order, and how a project ends. Pure."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from resolver.cli.client import CONFIG_LABEL, DEPENDS_LABEL, PROJECT_LABEL, SERVICE_LABEL, Refused
from resolver.cli.compose.project import HealthCheck, Project, Restart, RestartWhen, Service, ServiceNetwork, field_of
from resolver.cli.output import port_texts
from resolver.cli.sandbox_fields import network_mode
from resolver.cli.sandbox_options import OPTIONS, Kind, Scope, link_option
from resolver.cli.words import nearest_or_all
from resolver.signal_names import WHAT_IS_ONE, signal_number

_SANDBOX_OPTIONS = tuple(
    option for option in OPTIONS if option.scope is Scope.SANDBOX and option.compose and option.kind is not Kind.NETWORKS
)
_ISOLATION_OPTIONS = tuple(option for option in OPTIONS if option.scope is Scope.ISOLATION and option.compose)
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


def plan_up(project: Project, *, pid: int, scale: Mapping[str, int] | None = None) -> UpPlan:
    """Return what brings *project* up. *pid*: the process with which a sandbox goes until its own process has started.

    *scale*: how many replicas a service has, in place of what the file says.
    """
    check_signals(project.services)
    scaled = [_scaled(service, scale or {}) for service in project.services]
    for name in scale or ():
        if name not in {service.name for service in scaled}:
            raise Refused(f"--scale {name}: there is no such service{nearest_or_all(name, [service.name for service in scaled])}")
    sandboxes = {service.name: service.container_name or project.sandbox_name(service.name, "1") for service in scaled}
    modes = [service.network_mode for service in scaled if _is_named_network(service.network_mode)]
    return UpPlan(
        project=project.name,
        external=tuple(dict.fromkeys([*(network.name for network in project.networks if network.external), *filter(None, modes)])),
        networks=tuple(
            _with_hash(
                {**_named(network.body, project), "name": network.name}, {**network.body.get("labels", {}), PROJECT_LABEL: project.name}
            )
            for network in project.networks
            if not network.external
        ),
        services=tuple(
            ServicePlan(
                service=service,
                bodies=tuple(
                    _sandbox_body(project, service, number, sandboxes) | ({"owner_pid": pid} if service.command else {})
                    for number in range(1, service.replicas + 1)
                ),
                linked_hosts=_linked_hosts(service, sandboxes),
            )
            for service in scaled
        ),
    )


def _scaled(service: Service, scale: Mapping[str, int]) -> Service:
    replicas = scale.get(service.name, service.replicas)
    if replicas > MOST_REPLICAS:
        raise Refused(f"service {service.name}: {replicas} replicas are more than the {MOST_REPLICAS} that a host may have")
    if replicas > 1 and service.container_name:
        text = f"it has the container_name {service.container_name}, so it can have one replica only, not {replicas}"
        raise Refused(f"service {service.name}: {text}")
    return replace(service, replicas=replicas)


def _with_hash(body: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    """Return *body* with *labels* and one more, which is another one if anything is, but what a service depends on."""
    hashed = {**body, "labels": {name: text for name, text in labels.items() if name != DEPENDS_LABEL}}
    text = json.dumps(hashed, sort_keys=True)
    return {**body, "labels": {**labels, CONFIG_LABEL: hashlib.sha256(text.encode()).hexdigest()}}


_NETWORK_RULE = re.compile(r"((?:deny:)?network:)([^:/,]+)(.*)", re.IGNORECASE | re.DOTALL)


def _named(body: Mapping[str, Any], project: Project) -> dict[str, Any]:
    """Return *body* with the names of networks in its egress rules in place of their keys in the file."""
    if "egress" not in body:
        return {**body}
    names = {network.key: network.name for network in project.networks}
    parts = [part.strip() for text in body["egress"] for part in text.split(",")]
    found = [(part, _NETWORK_RULE.fullmatch(part)) for part in parts]
    rules = [part if match is None else f"{match[1]}{names.get(match[2], match[2])}{match[3]}" for part, match in found]
    return {**body, "egress": rules}


def _sandbox_body(project: Project, service: Service, number: int, sandboxes: Mapping[str, str]) -> dict[str, Any]:
    given = {option.field: getattr(service, field_of(option)) for option in _SANDBOX_OPTIONS}
    process = {"process": process_of(service, project.directory)} if service.command else {}
    health = {"health_check": _health_body(service.health)} if service.command and service.health else {}
    asked = {option.field: getattr(service, field_of(option)) for option in _ISOLATION_OPTIONS} if service.command else {}
    isolation = {name: list(value) if isinstance(value, tuple) else value for name, value in asked.items() if value}
    depends = ",".join(f"{one.service}:{one.condition.value}:{str(one.restart).lower()}" for one in service.depends_on)
    own = {PROJECT_LABEL: project.name, SERVICE_LABEL: service.name, **({DEPENDS_LABEL: depends} if depends else {})}
    body = {
        **_named({name: value for name, value in given.items() if value}, project),
        "name": service.container_name or project.sandbox_name(service.name, str(number)),
        "networks": _endpoints(project, service, sandboxes),
        **process,
        **health,
        **({"isolation": isolation} if isolation else {}),
    }
    return _with_hash(body, {**service.labels, **own})


def process_of(service: Service, directory: str) -> dict[str, Any]:
    """Return the `process` of the body of `POST /v1/sandboxes`, without the caller's variables. *directory*: of the project."""
    return {
        "command": list(service.command),
        "explicit": environment(service),
        "directory": posixpath.join(directory, service.working_dir or ""),
        "directory_required": True,
        "stop_signal": service.stop_signal.removeprefix("SIG"),
        "stop_timeout": service.stop_grace,
        "restart": _restart_text(service.restart),
    }


def check_signals(services: Iterable[Service]) -> None:
    """Raise Refused for a service whose `stop_signal` is none."""
    for service in services:
        if signal_number(service.stop_signal) is None:
            raise Refused(f"service {service.name}: invalid stop_signal: {service.stop_signal!r} is no signal; {WHAT_IS_ONE}")


def _health_body(check: HealthCheck) -> dict[str, Any]:
    return {
        "test": ["CMD-SHELL" if check.in_shell else "CMD", *check.command],
        "interval": check.interval,
        "timeout": check.timeout,
        "retries": check.retries,
        "start_period": check.start_period,
        "start_interval": check.start_interval,
    }


def _restart_text(restart: Restart) -> str:
    limited = restart.when is RestartWhen.ON_FAILURE and restart.attempts
    return f"{restart.when.value}:{restart.attempts}" if limited else restart.when.value


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
    """Return what came up as rows: name, network, addresses and ports, a row for each endpoint, one for what has none of its own."""
    rows: list[tuple[str, ...]] = [("NAME", "NETWORK", "ADDRESSES", "PORTS")]
    for sandbox in sandboxes:
        if not sandbox["endpoints"]:
            rows.append((sandbox["name"], network_mode(sandbox) or "", "", ""))
        for i, endpoint in enumerate(sandbox["endpoints"]):
            addresses = " ".join(address.partition("/")[0] for address in endpoint["addresses"])
            rows.append((sandbox["name"] if i == 0 else "", endpoint["network"], addresses, " ".join(port_texts(endpoint["ports"]))))
    return rows


class Ending(Enum):
    """What is to be done about services that still run."""

    NOTHING = "nothing"
    STOP = "stop"
    KILL = "kill"


def ending(requests: int, answered: int) -> Ending:
    """Return what to do after so many *requests* to stop, of which so many were *answered*.

    The first request stops each service with its own signal, and kills it when its grace has passed; a second one kills all.
    """
    if requests <= answered:
        return Ending.NOTHING
    return Ending.STOP if answered == 0 and requests == 1 else Ending.KILL


def exit_code(codes: Sequence[int | None], *, stopped: bool) -> int:
    """Return the exit code of `berth up`: the first failure of a service; 0 if the user stopped them."""
    return 0 if stopped else next((code for code in codes if code), 0)
