"""What a service waits for before it is started (`depends_on`), and what `--wait` waits for. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from resolver.cli.compose.project import Condition, Dependency, Service

View = Mapping[str, Any]


class Met(Enum):
    """Whether a condition is met."""

    YES = "yes"
    NOT_YET = "not yet"
    NEVER = "never"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """*text*: what is waited for, or why it will not come."""

    met: Met
    text: str = ""


_YES = Verdict(met=Met.YES)


LASTED = 0.5
"""Seconds that a command must have run to count as running: one that fails does so by then. Compose looks after as long."""


def healthy(views: Sequence[View], *, runs: Callable[[View], bool] | None = None) -> Verdict:
    """Return whether all of *views*, the sandboxes of a service, are healthy.

    *runs*: running will do without a health check, if it says that the command has run for a while.
    """
    waiting = ""
    for view in views:
        run, name = view.get("run"), view["name"]
        if run is None:
            # Whoever runs something in it knows whether that is well.
            continue
        if run["state"] == "exited":
            return Verdict(met=Met.NEVER, text=f"{name} has exited ({run['exit_code']})")
        health = view.get("health")
        if health is None:
            if runs is None:
                return Verdict(met=Met.NEVER, text=f"{name} has no health check; give it one, or wait for service_started")
            if run["state"] != "running" or not runs(view):
                waiting = waiting or f"{name} to run"
        elif health == "unhealthy":
            return Verdict(met=Met.NEVER, text=f"{name} is unhealthy")
        elif health != "healthy" or run["state"] != "running":
            waiting = waiting or f"{name} to be healthy"
    return Verdict(met=Met.NOT_YET, text=waiting) if waiting else _YES


def completed(views: Sequence[View]) -> Verdict:
    """Return whether the commands in all of *views* have ended, with exit code 0."""
    waiting = ""
    for view in views:
        run = view.get("run")
        if run is None:
            continue
        if run["state"] != "exited":
            waiting = waiting or f"{view['name']} to complete"
        elif run["exit_code"]:
            return Verdict(met=Met.NEVER, text=f"{view['name']} didn't complete successfully: exit {run['exit_code']}")
    return Verdict(met=Met.NOT_YET, text=waiting) if waiting else _YES


def verdict(dependency: Dependency, views: Sequence[View]) -> Verdict:
    """Return whether what is waited for of a dependency is there. *views*: its sandboxes, none if it has no replicas."""
    match dependency.condition:
        case Condition.STARTED:
            return _YES
        case Condition.HEALTHY:
            return healthy(views)
        case Condition.COMPLETED:
            return completed(views)


def readiness(service: Service, views: Sequence[View], services: Iterable[Service], runs: Callable[[View], bool]) -> Verdict:
    """Return whether *service* is as `--wait` waits for it: running or healthy, or completed if another one depends on that.

    *runs*: see `healthy`.
    """
    is_job = any(one.service == service.name and one.condition is Condition.COMPLETED for other in services for one in other.depends_on)
    return completed(views) if is_job else healthy(views, runs=runs)
