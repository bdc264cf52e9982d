"""Which sandboxes the names of a command mean: sandboxes, or with a project its services."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from resolver.cli.changed import Changed
from resolver.cli.client import SERVICE_LABEL, Refused, call, find_sandbox, missing_service, sandboxes_path, service_members
from resolver.cli.commands.options import each


def meant(
    names: tuple[str, ...],
    project: str | None,
    *,
    or_all: bool = False,
    stopped: bool = False,
    index: int | None = None,
    one_offs: bool = False,
) -> list[dict[str, Any]]:
    """Return the sandboxes that *names* mean, in *project* if there is one; without names all of the project, or with *or_all* all.

    With a project each name is that of a service, and means all of its replicas. *stopped*: those that are stopped too. *index*: only this
    replica of each service. *one_offs*: without names, what `berth compose run` has made too.
    """
    path = sandboxes_path(stopped=stopped)
    if project is not None:
        from resolver.cli.projects import is_one_off, of_project

        members = of_project(call("GET", path), project)
        found = [member for name in names for member in service_members(members, name, project)]
        for name in names:
            if not service_members(members, name, project):
                raise missing_service(name, project)
        everyone = [member for member in members if one_offs or not is_one_off(member)]
        return _replica(found if names else everyone, members, project, index)
    if names:
        return [find_sandbox(name, stopped=stopped) for name in names]
    if or_all:
        everything: list[dict[str, Any]] = call("GET", path)
        return everything
    raise click.UsageError("SANDBOX is missing", click.get_current_context())


def _replica(found: list[dict[str, Any]], members: list[dict[str, Any]], project: str, index: int | None) -> list[dict[str, Any]]:
    """Return those of *found* that are replica *index* of their service, or all. *members*: of the *project*."""
    if index is None:
        return found
    replicas = {
        service: service_members(members, service, project) for service in {one["labels"].get(SERVICE_LABEL) for one in found} if service
    }
    chosen = [all_of_it[index - 1] for all_of_it in replicas.values() if len(all_of_it) >= index]
    if found and not chosen:
        raise Refused(f"--index {index}: there is no such replica", "not-found")
    return [one for one in found if one in chosen]


def for_each(
    names: tuple[str, ...],
    project: str | None,
    action: Callable[[dict[str, Any]], None],
    changed: Changed,
    *,
    stopped: bool = True,
    shared_first: bool = False,
    one_offs: bool = False,
) -> int:
    """Do *action* for every sandbox that is meant, tell its name as it was given, and return 1 if one failed. See `meant`.

    *shared_first*: of a project, those whose network stacks others share before these.
    """
    if names and project is None:

        def one(given: str) -> None:
            (sandbox,) = meant((given,), None, stopped=stopped)
            action(sandbox)
            changed.tell(given, id=sandbox["id"])

        return each(names, one)
    found = meant(names, project, stopped=stopped, one_offs=one_offs)
    if shared_first:
        found = sorted(found, key=lambda sandbox: bool(sandbox["shared_with"]))
    members = {sandbox["name"]: sandbox for sandbox in found}
    if not names:
        # What runs in a service with an image was not started by berth; only who names one is told so.
        members = {name: sandbox for name, sandbox in members.items() if _has_command(sandbox)}

    def member(name: str) -> None:
        if not _has_command(members[name]):
            service = members[name]["labels"].get(SERVICE_LABEL)
            raise Refused(f"{name}: service {service} has no `command` in the file, so nothing of it was started by berth")
        action(members[name])
        changed.tell(name, id=members[name]["id"])

    return each(tuple(members), member)


def _has_command(sandbox: dict[str, Any]) -> bool:
    return sandbox.get("run") is not None or sandbox["leader"] is not None
