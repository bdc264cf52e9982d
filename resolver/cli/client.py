"""The client of the admin API: one request, one connection. Standard library only.

What `berth run` does not usually need is imported where it is used: each such module would cost it 3 ms.
"""

from __future__ import annotations

import time

from resolver.cli.connection import PATIENCE, NoDaemon, Refused, Unanswered, connect, exchange, run_directory, send, socket_path
from resolver.light import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# What a connection is made of is to be had here too.
__all__ = [
    "CONFIG_LABEL", "DEPENDS_LABEL", "ONE_OFF_LABEL", "PROJECT_LABEL", "SERVICE_LABEL", "NoDaemon", "Refused", "Unanswered", "call",
    "connect", "exchange", "find_sandbox", "missing_service", "run_directory", "sandboxes_path", "segment", "send", "service_members",
    "socket_path",
]  # fmt: skip

_STOPPING_PAUSE = 0.02
"""Seconds between looks whether a daemon that stops has gone, or another one is there."""
_REPEATS = 3
"""How often a question is asked again whose answer was cut off."""
PROJECT_LABEL, SERVICE_LABEL = "berth.project", "berth.service"
"""Labels of what `berth up` makes."""
CONFIG_LABEL, DEPENDS_LABEL = "berth.config-hash", "berth.depends-on"
"""Labels of what `berth up` makes: what it was made by, and `SERVICE:CONDITION:RESTART` of what it depends on, with commas."""
ONE_OFF_LABEL = "berth.one-off"
"""Label of what `berth compose run` makes: the service that it is like. It has no SERVICE_LABEL, as it is no replica."""


def call(
    method: str,
    path: str,
    body: Any = None,
    *,
    autostart: bool | None = None,
    patience: float | None = PATIENCE,
    meanwhile: Callable[[], None] | None = None,
) -> Any:
    """Return the decoded response of one request; raises Refused with the daemon's message.

    *autostart*: if no daemon answers, start one that ends by itself. None: as `resolver.cli.without_daemon` says of the request.
    *patience*: seconds to wait for the answer, None: without end. *meanwhile*: done while the daemon works on it, if need be again.

    A daemon that stops refuses changes, and does nothing of them: they are asked of the next one. A question whose answer was cut off
    is asked again; a change is not, since it may have been done.
    """
    end, cut_off = time.monotonic() + PATIENCE, 0
    while True:
        try:
            sock = connect(socket_path(), reads_only=method == "GET" or path == "/v1/resolve")
        except NoDaemon as missing:
            if autostart is False or time.monotonic() > end:
                raise
            from resolver.cli import without_daemon

            if not autostart and not without_daemon.starts_one(method, path):
                return without_daemon.answer(path, missing)
            without_daemon.start_daemon()
            continue
        try:
            sock.settimeout(patience)
            return exchange(sock, method, path, body, meanwhile)
        except Unanswered:
            cut_off += 1
            if method != "GET" or cut_off > _REPEATS:
                raise
            time.sleep(_STOPPING_PAUSE)
        except Refused as error:
            if error.kind != "stopping" or time.monotonic() > end:
                raise
            time.sleep(_STOPPING_PAUSE)
        finally:
            sock.close()


def sandboxes_path(*, stopped: bool) -> str:
    """Return the path of all sandboxes that run, or with *stopped* of all there are."""
    return "/v1/sandboxes?all=1" if stopped else "/v1/sandboxes"


def segment(text: str) -> str:
    """Return *text* as one segment of a path."""
    if text.isascii() and text.replace("-", "").replace("_", "").replace(".", "").isalnum():
        # As most names are.
        return text
    from urllib.parse import quote

    return quote(text, safe="")


def find_sandbox(
    name: str,
    *,
    autostart: bool | None = None,
    project: str | None = None,
    index: int = 1,
    stopped: bool = False,
    meanwhile: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Return the sandbox with this name or id, or replica *index* of the service *name* of a project that is up.

    *project*: only a service of this one is meant. A service of several projects is ambiguous. *autostart*, *meanwhile*: see `call`.
    *stopped*: a replica that is stopped will do. A name or an id means a sandbox that is stopped, too.
    """
    not_found: Refused | None = None
    if project is None and index == 1:
        try:
            sandbox: dict[str, Any] = call("GET", f"/v1/sandboxes/{segment(name)}", autostart=autostart, meanwhile=meanwhile)
        except Refused as error:
            if error.kind != "not-found":
                raise
            not_found = error
        else:
            return sandbox
    everything = call("GET", sandboxes_path(stopped=stopped), autostart=autostart)
    members = service_members(everything, name, project)
    if not members:
        reason = not_found or missing_service(name, project)
        hint = _service_hint(everything, name, project) if reason.kind == "not-found" else ""
        raise Refused(f"{reason}{hint}", reason.kind) from not_found
    projects = {member["labels"].get(PROJECT_LABEL) for member in members}
    if len(projects) > 1:
        raise Refused(f"{name} is ambiguous: it can be {', '.join(member['name'] for member in members)}") from not_found
    if index > len(members):
        raise Refused(f"service {name} has {len(members)} replicas, and no number {index}", "not-found")
    return members[index - 1]


def missing_service(name: str, project: str | None) -> Refused:
    """Return what to say of a service of which nothing runs: that it is stopped, or that there is none."""
    where = f" of project {project}" if project else ""
    if service_members(call("GET", sandboxes_path(stopped=True)), name, project):
        return Refused(f"service {name}{where} is stopped; `berth compose start {name}` starts it", "conflict")
    return Refused(f"there is no service {name}" + (f" in project {project}" if project else ""), "not-found")


def _service_hint(sandboxes: list[dict[str, Any]], name: str, project: str | None) -> str:
    """Return the service that may have been meant, as the end of a sentence; "" if none is like *name*."""
    from resolver.cli.words import nearest

    services = {sandbox["labels"].get(SERVICE_LABEL) for sandbox in sandboxes if project in (None, sandbox["labels"].get(PROJECT_LABEL))}
    return nearest(name, services - {None})


def service_members(sandboxes: list[dict[str, Any]], service: str, project: str | None) -> list[dict[str, Any]]:
    """Return the replicas of *service* among *sandboxes*, of *project* or of any, the first one first."""
    members = [
        sandbox
        for sandbox in sandboxes
        if sandbox["labels"].get(SERVICE_LABEL) == service and project in (None, sandbox["labels"].get(PROJECT_LABEL))
    ]
    return sorted(members, key=lambda member: (len(member["name"]), member["name"]))
