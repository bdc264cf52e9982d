"""A whole Compose file: its name, services and networks, what refers to what, and everything that is wrong with it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from resolver.cli.compose.networks import read_networks
from resolver.cli.compose.project import ComposeError, NetworkSpec, Project, Service
from resolver.cli.compose.services import read_service
from resolver.cli.compose.values import Values
from resolver.cli.compose.yaml12 import Located, YamlError, load

TOP_KEYS = {"version", "name", "services", "networks"}
IGNORED_TOP_KEYS = {"volumes", "configs", "secrets", "include", "models"}


def project_name(given: str | None, environment: Mapping[str, str], in_file: str | None, directory: str) -> str:
    """Return the project's name, chosen and normalized as Compose does: option, variable, file, directory."""
    chosen = given or environment.get("COMPOSE_PROJECT_NAME") or in_file or directory.rstrip("/").rpartition("/")[2]
    name = re.sub(r"[^a-z0-9_-]", "", chosen.lower()).lstrip("_-")
    return name or "default"


def parse(
    text: str,
    path: str,
    *,
    directory: str,
    environment: Mapping[str, str],
    project: str | None = None,
    profiles: tuple[str, ...] = (),
    substitute: Callable[[str, int], str] = lambda value, _: value,
) -> Project:
    """Return the project in *text*; ComposeError names everything that is wrong, with lines."""
    try:
        raw = load(text, substitute)
    except YamlError as error:
        raise ComposeError(path, [(error.line, error.reason)]) from error
    values = Values()
    document = values.mapping(raw, 1, "the file")
    values.check_keys(document, TOP_KEYS, "", IGNORED_TOP_KEYS)
    name = project_name(project, environment, values.text(document, "name"), directory)
    raw_services = values.mapping(document.get("services"), document.lines.get("services", 1), "services")
    services = []
    for key, value in raw_services.items():
        line = raw_services.lines[key]
        service = read_service(values, key, values.mapping(value, line, f"services.{key}"), line)
        if not service.profiles or set(service.profiles) & set(profiles) or "*" in profiles:
            services.append(service)
    raw_networks = values.mapping(document.get("networks"), document.lines.get("networks", 1), "networks")
    networks = _with_default(read_networks(values, raw_networks, name), services, name)
    _check_references(values, services, networks, raw_services)
    if not services:
        values.problem(document.lines.get("services", 1), "there is no service to start; is a --profile missing?")
    if values.problems:
        raise ComposeError(path, values.problems)
    used = _used_networks(services)
    return Project(
        name=name,
        services=tuple(_in_order(services)),
        networks=tuple(network for network in networks if network.key in used),
        notes=values.notes(),
    )


def _used_networks(services: Sequence[Service]) -> set[str]:
    return {network.network for service in services for network in service.networks}


def _with_default(networks: list[NetworkSpec], services: Sequence[Service], project: str) -> list[NetworkSpec]:
    """Return *networks* with the network `default`, if it is used and the file does not describe it."""
    if "default" not in _used_networks(services) or any(network.key == "default" for network in networks):
        return networks
    return [*networks, NetworkSpec(key="default", name=f"{project}_default", body={"driver": "bridge"})]


def _check_references(values: Values, services: Sequence[Service], networks: Sequence[NetworkSpec], raw: Located) -> None:
    """Note what services refer to and is not there. *raw*: all services, those of profiles that were not chosen too."""
    known = {network.key for network in networks}
    by_name = {service.name: service for service in services}
    for service in services:
        line = raw.lines[service.name]
        for network in service.networks:
            if network.network not in known:
                values.problem(line, f"services.{service.name} uses network {network.network}, which is not in networks")
        for dependency in service.depends_on:
            if dependency not in raw:
                values.problem(line, f"services.{service.name} depends on {dependency}, which is not a service")
        for link in service.links:
            if link.partition(":")[0] not in by_name:
                values.problem(line, f"services.{service.name} links {link}, which is not a service")
        if _depends_on_itself(service, by_name):
            values.problem(line, f"services.{service.name} depends on itself through depends_on")


def _depends_on_itself(service: Service, by_name: Mapping[str, Service]) -> bool:
    seen: set[str] = set()
    waiting = list(service.depends_on)
    while waiting:
        name = waiting.pop()
        if name == service.name:
            return True
        if name in by_name and name not in seen:
            seen.add(name)
            waiting += by_name[name].depends_on
    return False


def _in_order(services: Sequence[Service]) -> list[Service]:
    """Return *services* with each one after those that it depends on."""
    by_name = {service.name: service for service in services}
    result: list[Service] = []

    def visit(service: Service) -> None:
        if service in result:
            return
        for name in service.depends_on:
            if name in by_name:
                visit(by_name[name])
        result.append(service)

    for service in services:
        visit(service)
    return result
