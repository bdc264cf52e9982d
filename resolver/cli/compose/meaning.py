"""What a reading means to berth: a `Project`. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from resolver.cli.compose.consistency import in_order, used_resources
from resolver.cli.compose.networks import network_of
from resolver.cli.compose.notes import notes_of
from resolver.cli.compose.project import NetworkSpec, Project, Service
from resolver.cli.compose.read import Reading
from resolver.cli.compose.services import service_of
from resolver.cli.compose.tree import ComposeError, Path, Problem


def project_of(reading: Reading, *, separator: str = "-", all_networks: bool = False) -> Project:
    """Return the project; ComposeError with all that berth can't make anything of.

    *separator*: of names; *all_networks*: also those that no service uses.
    """
    problems: list[Problem] = []
    enabled = reading.services
    # What a provider stands for is somewhere else.
    ours = {name: service for name, service in enabled.items() if not service.get("provider")}
    services: dict[str, Service] = {}
    for name, service in ours.items():
        with _noting(problems, reading, ("services", name)):
            services[name] = service_of(name, service, ours)
    used = used_resources(ours).get("networks", set())
    networks: list[NetworkSpec] = []
    for key, network in (reading.model.get("networks") or {}).items():
        if all_networks or key in used:
            with _noting(problems, reading, ("networks", key)):
                networks.append(network_of(key, network))
    if not services and not problems:
        missing = "; is a --profile missing?" if reading.disabled else ""
        problems.append(Problem(None, f"there is no service to start{missing}"))
    if problems:
        raise ComposeError(*problems)
    order = in_order(services, lambda name: [dependency.service for dependency in services[name].depends_on])
    return Project(
        name=reading.name,
        separator=separator,
        directory=reading.sources.directory,
        services=tuple(services[name] for name in order),
        networks=tuple(networks),
        notes=notes_of(reading.model, enabled),
    )


@contextmanager
def _noting(problems: list[Problem], reading: Reading, path: Path) -> Iterator[None]:
    """Turn a ValueError about what is at *path* into one of *problems*."""
    try:
        yield
    except ValueError as error:
        problems.append(Problem(reading.position(path), f"{'.'.join(path)}: {error}"))
