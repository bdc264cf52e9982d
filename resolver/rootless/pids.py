"""Pids that a user types: they are those of where he types them, and in his nest a process has another one."""

from __future__ import annotations

import os

_outside: list[int] = []
"""A descriptor of /proc as it was before the nest was entered, if it was."""


def remember() -> None:
    """Keep what tells the pids of outside, before the nest is entered."""
    _outside.append(os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))


def inside(pid: int) -> int | None:
    """Return the pid in the nest of the process that has *pid* where the command was typed; None if it is not in the nest.

    Spec: proc(5), /proc/PID/status, NSpid: one pid for each PID namespace, from that of the /proc on.
    """
    if not _outside:
        return pid
    try:
        descriptor = os.open(f"{pid}/status", os.O_RDONLY | os.O_CLOEXEC, dir_fd=_outside[-1])
    except OSError:
        return None
    with os.fdopen(descriptor) as file:
        pids = next((line.split()[1:] for line in file if line.startswith("NSpid:")), [])
    return int(pids[1]) if len(pids) > 1 else None
