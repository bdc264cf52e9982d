"""`berth down`: removes everything of a project."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from resolver.cli.client import PROJECT_LABEL, Refused, call
from resolver.cli.output import counted
from resolver.cli.sandbox_calls import Call, delete
from resolver.cli.up.project_file import Selection, read_project

_AT_ONCE = 16


def down(selection: Selection, *, timeout: float | None = None) -> int:
    """Stop and remove everything of the project that *selection* names, or of that in its files.

    *timeout*: seconds between a service's stop signal and KILL, None: its own.
    """
    name = _name(selection)
    sandboxes, networks = remove_project(name, call, timeout)
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


def remove_project(name: str, call: Call, timeout: float | None) -> tuple[int, int]:
    """Stop and remove the sandboxes, then remove the networks of project *name*; return how many of each."""
    sandboxes = [sandbox for sandbox in call("GET", "/v1/sandboxes?all=1", autostart=True) if sandbox["labels"].get(PROJECT_LABEL) == name]
    networks = [network for network in call("GET", "/v1/networks") if network["labels"].get(PROJECT_LABEL) == name]
    if not sandboxes and not networks:
        raise Refused(f"project {name} is not up; `berth compose ls` lists those that are")
    with ThreadPoolExecutor(_AT_ONCE) as workers:
        list(workers.map(partial(_remove, call, timeout), sandboxes))
    for network in networks:
        delete(f"/v1/networks/{network['id']}", call)
    return len(sandboxes), len(networks)


def _remove(call: Call, timeout: float | None, sandbox: Mapping[str, Any]) -> None:
    path = f"/v1/sandboxes/{sandbox['id']}"
    run = sandbox.get("run")
    if run is not None and run["state"] != "exited":
        # It may be gone by now; what else keeps it from being stopped keeps it from being removed too.
        with contextlib.suppress(Refused):
            call("POST", f"{path}/stop", {"timeout": timeout}, patience=None)
    delete(path, call)
