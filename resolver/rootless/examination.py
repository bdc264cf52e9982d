"""What `berth doctor` says of an ordinary user's host: whether a nest can be made, found out by making one, and what works in part.

It is found outside, before the command enters the nest, and kept in this module for the command, which is a fork of this process.
"""

from __future__ import annotations

import os
from typing import Any

from resolver.rootless import nest, refusals
from resolver.rootless.errors import NoNest

found: list[dict[str, Any]] = []
"""As `GET /v1/doctor` has findings. Those whose object is `note` are no problem."""

_PING = "/proc/sys/net/ipv4/ping_group_range"
_PORTS = "/proc/sys/net/ipv4/ip_unprivileged_port_start"


def examine() -> None:
    """Fill `found`; blocking, for a few milliseconds."""
    found.clear()
    try:
        one_id = nest.try_one()
    except NoNest as error:
        _add("host", "user namespaces", f"can't be used: {error}", _remedy())
        return
    if one_id:
        _add("note", "ids", f"are not mapped, so sandboxes have one user, root: {one_id}", "map some, if a command needs other users")
    first, last = _numbers(_PING)
    if not first <= os.getegid() <= last:
        remedy = 'sudo sysctl -w net.ipv4.ping_group_range="0 2147483647"'
        _add("note", "ping", "is not answered in sandboxes: net.ipv4.ping_group_range leaves this user's group out", f"`{remedy}`")
    (start,) = _numbers(_PORTS)
    if start > 1:
        _add(
            "note", "ports", f"below {start} can't be published: they are below net.ipv4.ip_unprivileged_port_start",
            "publish higher ones, or `sudo sysctl -w net.ipv4.ip_unprivileged_port_start=80`",
        )  # fmt: skip


def _remedy() -> str:
    if nest.switches().get(refusals.SWITCHES[2]) != "1":
        return "see docs/rootless.md"
    profile = refusals.apparmor_profile(os.path.realpath(nest.program()))
    return f"put this into /etc/apparmor.d/berth, and load it with `sudo apparmor_parser -r /etc/apparmor.d/berth`:\n{profile}"


def _add(kind: str, name: str, problem: str, remedy: str) -> None:
    finding = {"object": kind, "name": name, "problem": problem, "remedy": remedy, "treatments": [], "mended": False, "error": None}
    found.append(finding)


def _numbers(path: str) -> list[int]:
    with open(path) as file:
        return [int(word) for word in file.read().split()]
