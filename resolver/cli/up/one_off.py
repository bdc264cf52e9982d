"""`berth compose run`: one more sandbox of a service, for one command, with what the service depends on up."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from resolver.cli import entering
from resolver.cli.client import CONFIG_LABEL, DEPENDS_LABEL, ONE_OFF_LABEL, SERVICE_LABEL, Refused, call, sandboxes_path, segment
from resolver.cli.compose.project import Project, Service
from resolver.cli.environment import Variables, inherited
from resolver.cli.run import run_detached, run_in_foreground
from resolver.cli.starting import prepare_to_start
from resolver.cli.up.egress_rules import with_project_files
from resolver.cli.up.follow import stop_and_remove
from resolver.cli.up.options import Options
from resolver.cli.up.plan import UpPlan, environment, plan_up, process_of
from resolver.cli.up.project_file import Selection, load_project
from resolver.cli.up.project_lock import ProjectLock
from resolver.cli.up.reconcile import Asked, Spared, orphans
from resolver.cli.up.session import Session
from resolver.cli.words import nearest_or_all

_OWN = ("ip", "ip6", "link_local_ips", "mac_address")
"""What of an endpoint the replicas of the service have for themselves."""


@dataclass(frozen=True, kw_only=True)
class OneOff:
    """What is asked for. *name*: of the sandbox, None: made up. *ports*: publish those of the service; *publish*: and these.

    *aliases*: it has the service's names too. *variables*: go over those of the service. *alone*: nothing else is started.
    *quiet*: do not print the name of what is detached. *user*: in place of the service's; *isolation*: lists that go behind its own.
    """

    service: str
    command: tuple[str, ...]
    name: str | None = None
    detach: bool = False
    remove: bool = False
    alone: bool = False
    ports: bool = False
    aliases: bool = False
    publish: tuple[str, ...] = ()
    labels: Mapping[str, str]
    variables: Mapping[str, str]
    entrypoint: tuple[str, ...] | None = None
    directory: str | None = None
    quiet: bool = False
    remove_orphans: bool = False
    user: str | None = None
    isolation: Mapping[str, Sequence[str]] = field(default_factory=dict)


def run_one_off(selection: Selection, asked: OneOff) -> int:
    """Run one command in a sandbox like those of a service; return its exit code, or 0 if it was detached."""
    loaded = load_project(replace(selection, profiles=(*selection.profiles, "*")))
    project = with_project_files(loaded.project)
    service = next((one for one in project.services if one.name == asked.service), None)
    if service is None:
        raise Refused(f"no such service: {asked.service}{nearest_or_all(asked.service, [one.name for one in project.services])}")
    command = _command(service, asked)
    prepare_to_start()
    # As `up` plans it, for one replica whatever its scale.
    services = tuple(replace(one, replicas=1) if one is service else one for one in project.services)
    plan = plan_up(replace(project, services=services), pid=os.getpid())
    directory = Path(project.directory)
    with ProjectLock(project.name):
        _ensure_networks(plan)
    if not asked.alone:
        _ensure_dependencies(project, plan, service, loaded.known)
    if asked.remove_orphans:
        stop_and_remove(orphans(plan, call("GET", sandboxes_path(stopped=True)), loaded.known), None, call)
    (own,) = (one for one in plan.services if one.service.name == service.name)
    session = Session(replace(plan, services=(own,)), call, Options(detach=True), loaded.known)
    (with_hosts,) = session.with_linked_hosts(own, own.bodies)
    body = {**_body(project, with_hosts, asked), "owner_pid": os.getpid()}
    explicit = {**environment(service), **asked.variables}
    caller = inherited(user=body.get("isolation", {}).get("user", ""))
    where = entering.WorkingDirectory(str(directory / (asked.directory or service.working_dir or "")), required=True)
    if not asked.detach:
        return run_in_foreground(body, command, Variables(caller, explicit), where)
    process = {**process_of(service, project.directory), "environment": caller}
    told = {"command": command, "explicit": explicit, "directory": where.path, "restart": "no", "remove": asked.remove}
    with contextlib.redirect_stdout(io.StringIO()) if asked.quiet else contextlib.nullcontext():
        return run_detached(body, {**process, **told})


def _command(service: Service, asked: OneOff) -> list[str]:
    entrypoint = service.entrypoint if asked.entrypoint is None else asked.entrypoint
    command = [*entrypoint, *asked.command] if asked.command or asked.entrypoint is not None else [*service.command]
    if not command:
        raise Refused(f"service {service.name} has no command of its own; write one: `berth compose run {service.name} COMMAND`")
    return command


def _body(project: Project, body: Mapping[str, Any], asked: OneOff) -> dict[str, Any]:
    networks = [{key: value for key, value in endpoint.items() if key not in _OWN} for endpoint in body["networks"]]
    labels = {**body["labels"], **asked.labels, ONE_OFF_LABEL: asked.service}
    # It is no replica: `exec` and names of the service do not mean it.
    for name in (SERVICE_LABEL, CONFIG_LABEL, DEPENDS_LABEL):
        labels.pop(name, None)
    isolation = dict(body.get("isolation", {}))
    isolation |= {name: [*isolation.get(name, ()), *more] for name, more in asked.isolation.items() if more}
    isolation |= {} if asked.user is None else {"user": asked.user}
    published = [*(body.get("publish", ()) if asked.ports else ()), *asked.publish]
    return {
        **{key: value for key, value in body.items() if key not in ("publish", "owner_pid", "process")},
        **({"publish": published} if published else {}),
        **({"isolation": isolation} if isolation else {}),
        "name": asked.name or project.sandbox_name(asked.service, "run", os.urandom(6).hex()),
        "labels": labels,
        "networks": networks if asked.aliases else [{key: value for key, value in one.items() if key != "aliases"} for one in networks],
    }


def _ensure_networks(plan: UpPlan) -> None:
    for body in plan.networks:
        try:
            call("GET", f"/v1/networks/{segment(body['name'])}", autostart=True)
        except Refused as error:
            if error.kind != "not-found":
                raise
            call("POST", "/v1/networks", body)


def _ensure_dependencies(project: Project, plan: UpPlan, service: Service, known: frozenset[str]) -> None:
    """Start what *service* depends on, directly or not, unless it runs; nothing of it is removed, and no replica added."""
    needed = tuple(sorted(_needed(project, service.name)))
    if needed:
        asked = Asked(services=needed, spared=Spared.EVERYTHING)
        Session(plan, call, Options(detach=True, shows=False, asked=asked), known).run()


def _needed(project: Project, name: str) -> set[str]:
    services = {service.name: service for service in project.services}
    found: set[str] = set()
    left = [name]
    while left:
        for dependency in services[left.pop()].depends_on:
            if dependency.service in services and dependency.service not in found:
                found.add(dependency.service)
                left.append(dependency.service)
    return found - {name}
