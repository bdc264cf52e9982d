"""The commands of services: each held by a process of its own, so that it outlives `berth up -d` and is restarted by its policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resolver.cli import entering, monitor
from resolver.cli.client import Refused
from resolver.cli.compose.project import Service
from resolver.cli.entering import EnterFailed
from resolver.cli.environment import inherited
from resolver.cli.foreground import warn_of_withheld


class NotExecutable(Refused):
    """The command of a service exists and can't be executed, or not in its working directory."""


def start(service: Service, sandbox: Mapping[str, Any], process: Mapping[str, Any]) -> int:
    """Start the command of *service* and return the pid of the process that holds it. *process*: with the caller's variables."""
    warn_of_withheld(sandbox)
    try:
        return monitor.start(sandbox, process)
    except EnterFailed as error:
        code, reason = entering.failure(str(error))
        kind = NotExecutable if code == entering.NOT_EXECUTABLE else Refused
        raise kind(f"service {service.name}: {reason}") from error


def body_with_variables(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the *body* of a request that makes a sandbox, its `process` with the caller's variables."""
    if "process" not in body:
        return dict(body)
    user = body.get("isolation", {}).get("user", "")
    return {**body, "process": {**body["process"], "environment": inherited(user=user), "remove": False}}
