"""`berth down`: removes everything of a project."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from resolver.cli.client import SERVICE_LABEL, Refused, call, sandboxes_path
from resolver.cli.compose.sources import Steps
from resolver.cli.output import complain, counted, print_json, print_steps
from resolver.cli.projects import of_project
from resolver.cli.sandbox_calls import delete
from resolver.cli.up.follow import stop_and_remove
from resolver.cli.up.project_file import Selection, read_project, services_of
from resolver.cli.up.project_lock import ProjectLock
from resolver.cli.words import nearest_or_all

if TYPE_CHECKING:
    from resolver.cli.sandbox_calls import Call


def down(
    selection: Selection, services: tuple[str, ...] = (), timeout: float | None = None, *, dry_run: bool = False, is_json: bool = False
) -> int:
    """Remove everything of the project that *selection* names, or of that in its files. *timeout*: see `stop_and_remove`.

    *services*: only the sandboxes of these, and the networks with the last one. *dry_run*: print it only.
    *is_json*: print the names of what was removed, or would be, as JSON.
    """
    name = _name(selection)
    sandboxes, networks = _what_goes(name, services, lambda: services_of(selection))
    if not sandboxes and not networks:
        what = f"{', '.join(services)} of project {name}" if services else f"project {name}"
        complain(f"{what} is not up, so there is nothing to remove; `berth compose ls` lists those that are")
        if is_json:
            print_steps([], is_json=True) if dry_run else print_json({"sandboxes": [], "networks": []})
        return 0
    if dry_run:
        steps = [f"{view['name']} is removed" for view in sandboxes] + [f"network {view['name']} is removed" for view in networks]
        print_steps(steps, is_json=is_json)
        return 0
    gone = remove_project(name, timeout, call, lambda: _what_goes(name, services, lambda: services_of(selection)))
    if is_json:
        print_json({kind: [view["name"] for view in views] for kind, views in zip(("sandboxes", "networks"), gone, strict=True)})
        return 0
    what = f"{', '.join(services)} of project {name} {'are' if len(services) > 1 else 'is'} down" if services else f"project {name} is down"
    print(f"{what}: removed {counted(len(gone[0]), 'sandbox')} and {counted(len(gone[1]), 'network')}")
    return 0


def _name(selection: Selection) -> str:
    if selection.project_name and not selection.files:
        return selection.project_name
    try:
        return read_project(selection, Steps(reads_env_files=False))[0].name
    except Refused:
        name = os.environ.get("COMPOSE_PROJECT_NAME")
        if selection.files or not name:
            raise
        return name


Views = list[dict[str, Any]]


def _what_goes(name: str, services: tuple[str, ...], known: Callable[[], Collection[str]]) -> tuple[Views, Views]:
    """Return the sandboxes and the networks of project *name* that go; Refused for one of *services* that is nowhere."""
    everything = of_project(call("GET", sandboxes_path(stopped=True)), name)
    networks = of_project(call("GET", "/v1/networks"), name)
    if not services:
        return everything, networks
    there = {sandbox["labels"].get(SERVICE_LABEL) for sandbox in everything}
    for service in services:
        if service not in there and service not in (names := sorted({*known(), *filter(None, there)})):
            raise Refused(f"there is no service {service} in project {name}{nearest_or_all(service, names)}")
    sandboxes = [sandbox for sandbox in everything if sandbox["labels"].get(SERVICE_LABEL) in services]
    return sandboxes, networks if len(sandboxes) == len(everything) else []


def remove_project(
    name: str, timeout: float | None, call: Call, find: Callable[[], tuple[Views, Views]] | None = None
) -> tuple[Views, Views]:
    """Stop and remove the sandboxes, then the networks of project *name*; return both. *find*: what goes, not all."""
    with ProjectLock(name):
        sandboxes, networks = _what_goes(name, (), tuple) if find is None else find()
        stop_and_remove(sandboxes, timeout, call)
        kept = _kept(call("GET", sandboxes_path(stopped=True)), networks) if networks else {}
        for name, users in kept.items():
            who = f"{', '.join(users)} {'share' if len(users) > 1 else 'shares'}"
            complain(
                f"warning: network {name} stays: {who} the network stack of what is removed; remove {', '.join(users)} and then {name}"
            )
        going = [network for network in networks if network["name"] not in kept]
        for network in going:
            delete(f"/v1/networks/{network['id']}", call)
    return sandboxes, going


def _kept(sandboxes: Views, networks: Views) -> dict[str, list[str]]:
    """Return network → sandboxes that share a network stack on it, of which nothing else is left."""
    found: dict[str, list[str]] = {}
    for left in sandboxes:
        users = [one["name"] for one in sandboxes if one.get("shared_with") == left["name"]] if left.get("ended") else []
        for name in [network["name"] for network in networks if users and network["name"] in left["networks"]]:
            found.setdefault(name, []).extend(users)
    return found
