"""Processes: when one started, a descriptor that becomes readable when it ends; and the id of this boot."""

from __future__ import annotations

import os
from pathlib import Path

from netcore.errors import NotFound


def boot_id() -> str:
    """Return the id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int:
    """Return when *pid* started, in clock ticks since boot; NotFound if there is no such process."""
    return int(_stat(pid)[19])


def parent(pid: int) -> int:
    """Return the pid of the process that started *pid*; NotFound if there is no such process."""
    return int(_stat(pid)[1])


def program(pid: int) -> str:
    """Return the name of the program that *pid* runs, at most 15 characters; "" if it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def uid(pid: int) -> int:
    """Return the user whose process *pid* is: root's if it has more rights than its user (proc(5)). NotFound if it is gone."""
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except (FileNotFoundError, ProcessLookupError) as error:
        raise NotFound("process", str(pid)) from error


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on (proc(5))."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError) as error:
        raise NotFound("process", str(pid)) from error
    # The second field is the program's name in parentheses and may hold anything.
    return text.rpartition(")")[2].split()


def open_pidfd(pid: int, started: int | None = None) -> int:
    """Return a descriptor that becomes readable when *pid* ends; NotFound if it is gone or, by its start time, another process."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError as error:
        raise NotFound("process", str(pid)) from error
    try:
        if started is not None and start_time(pid) != started:
            raise NotFound("process", str(pid))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
