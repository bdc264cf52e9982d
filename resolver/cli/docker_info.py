"""What `docker info` says of a daemon and its host, for templates: the fields that have a meaning here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

_RUNNING = ("running", "adopted", "restarting", "created")
"""States of sandboxes that are not stopped."""


def fields(report: Mapping[str, Any], states: Sequence[str]) -> dict[str, Any]:
    """Return Docker's fields, and those of the admin API by their own names. *report*: its status; *states*: of all sandboxes."""
    host = os.uname()
    running = sum(state in _RUNNING for state in states)
    return {
        **report,
        "Name": host.nodename,
        "ServerVersion": report["version"],
        "Containers": len(states),
        "ContainersRunning": running,
        "ContainersPaused": 0,
        "ContainersStopped": len(states) - running,
        "Images": 0,
        "KernelVersion": host.release,
        "OperatingSystem": _operating_system(),
        "OSType": "linux",
        "Architecture": host.machine,
        "NCPU": os.cpu_count() or 1,
        "MemTotal": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "Warnings": list(report["warnings"]),
    }


def _operating_system() -> str:
    import platform

    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"
