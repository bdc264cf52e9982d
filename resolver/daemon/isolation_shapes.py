"""Isolation between the model and the shapes of the admin API. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from netcore.errors import InvalidRequest
from netcore.isolation import Isolation
from resolver.daemon.schema import IsolationView
from resolver.isolation import bounds, files, rights

LONGEST = 10 * 365 * 24 * 3600.0
"""Seconds that a command may be allowed to run."""


def isolation(body: IsolationView) -> Isolation:
    """Return the isolation that *body* asks for; InvalidRequest says what is wrong with it."""
    _check("cap-add", body.cap_add, rights.number_of)
    _check("cap-drop", body.cap_drop, rights.number_of)
    _check("security-opt", body.security_options, rights.check_security_option)
    _check("tmpfs", body.tmpfs, files.tmpfs_of)
    _check("volume", body.volumes, files.volume_of)
    _check("ulimit", body.ulimits, bounds.limit_of)
    try:
        bounds.check(memory=body.memory, cpus=body.cpus, pids=body.pids)
    except ValueError as error:
        raise InvalidRequest(*error.args) from error
    if body.shm_size < 0:
        raise InvalidRequest("shm-size", f"{body.shm_size} is no size")
    if not math.isfinite(body.timeout) or not 0 <= body.timeout <= LONGEST:
        raise InvalidRequest("timeout", f"{body.timeout:g} is no number of seconds from 0 to {LONGEST:g}")
    if body.confine and body.privileged:
        raise InvalidRequest("privileged", "a command that is confined can't be; leave --confine or --privileged out")
    _check("confine", filter(None, (body.confine,)), files.check_confined)
    for field, texts in (("user", [body.user]), ("group-add", body.groups)):
        if any("\0" in text or "\n" in text for text in texts):
            raise InvalidRequest(field, "it has an octet that no name has")
    return Isolation(
        cap_add=tuple(body.cap_add),
        cap_drop=tuple(body.cap_drop),
        privileged=body.privileged,
        security_options=tuple(body.security_options),
        user=body.user,
        groups=tuple(body.groups),
        read_only=body.read_only,
        tmpfs=tuple(body.tmpfs),
        volumes=tuple(body.volumes),
        confine=body.confine,
        memory=max(body.memory, 0),
        cpus=body.cpus,
        pids=max(body.pids, 0),
        ulimits=tuple(body.ulimits),
        shm_size=body.shm_size,
        timeout=body.timeout,
    )


def _check(field: str, texts: Iterable[str], read: Callable[[str], object]) -> None:
    for text in texts:
        try:
            read(text)
        except ValueError as error:
            raise InvalidRequest(field, str(error)) from error


def view(value: Isolation) -> IsolationView:
    """Return an isolation as the API has it."""
    return IsolationView(
        cap_add=list(value.cap_add),
        cap_drop=list(value.cap_drop),
        privileged=value.privileged,
        security_options=list(value.security_options),
        user=value.user,
        groups=list(value.groups),
        read_only=value.read_only,
        tmpfs=list(value.tmpfs),
        volumes=list(value.volumes),
        confine=value.confine,
        memory=value.memory,
        cpus=value.cpus,
        pids=value.pids,
        ulimits=list(value.ulimits),
        shm_size=value.shm_size,
        timeout=value.timeout,
    )
