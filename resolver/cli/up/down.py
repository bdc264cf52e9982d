"""`berth down`: removes everything of a project."""

from __future__ import annotations

import os

from resolver.cli.client import PROJECT_LABEL, Refused, call
from resolver.cli.output import complain, counted
from resolver.cli.sandbox_calls import Call, delete
from resolver.cli.up.follow import stop_and_remove
from resolver.cli.up.project_file import Selection, read_project


def down(selection: Selection, timeout: float | None = None) -> int:
    """Remove everything of the project that *selection* names, or of that in its files. *timeout*: see `stop_and_remove`."""
    name = _name(selection)
    sandboxes, networks = remove_project(name, timeout, call)
    if not sandboxes and not networks:
        complain(f"project {name} is not up, so there is nothing to remove; `berth compose ls` lists those that are")
        return 0
    print(f"project {name} is down: removed {counted(sandboxes, 'sandbox')} and {counted(networks, 'network')}")
    return 0


def _name(selection: Selection) -> str:
    if selection.project_name and not selection.files:
        return selection.project_name
    try:
        return read_project(selection, with_env_files=False)[0].name
    except Refused:
        name = os.environ.get("COMPOSE_PROJECT_NAME")
        if selection.files or not name:
            raise
        return name


def remove_project(name: str, timeout: float | None, call: Call) -> tuple[int, int]:
    """Stop and remove the sandboxes, then the networks of project *name*; return how many of each."""
    everything = call("GET", "/v1/sandboxes?all=1", autostart=True)
    sandboxes = [sandbox for sandbox in everything if sandbox["labels"].get(PROJECT_LABEL) == name]
    networks = [network for network in call("GET", "/v1/networks") if network["labels"].get(PROJECT_LABEL) == name]
    stop_and_remove(sandboxes, timeout, call)
    for network in networks:
        delete(f"/v1/networks/{network['id']}", call)
    return len(sandboxes), len(networks)
