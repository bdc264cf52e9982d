"""Egress rules of a project: those of files come in place of what names them before the project is planned, so a change of them counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from resolver.cli.compose.project import Project
from resolver.cli.egress_files import with_files


def with_project_files(project: Project) -> Project:
    """Return *project* with the rules of files, which are beside its file, in place of what names them."""

    def expanded(rules: Iterable[str]) -> tuple[str, ...]:
        return tuple(with_files(rules, project.directory))

    services = tuple(replace(service, egress=expanded(service.egress)) for service in project.services)
    networks = tuple(
        replace(network, body={**network.body, "egress": [*expanded(network.body["egress"])]}) if "egress" in network.body else network
        for network in project.networks
    )
    return replace(project, services=services, networks=networks)
