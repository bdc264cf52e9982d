"""Removing a sandbox: its processes first, then all that the daemon made for it."""

from __future__ import annotations

import os
import selectors
import signal
from collections.abc import Callable
from typing import Any

from resolver.cli import enter
from resolver.cli.client import Refused

_KILL_WAIT = 2.0
Call = Callable[..., Any]
"""`resolver.cli.client.call`, or what stands in for it in a test."""


def remove_sandbox(sandbox: dict[str, Any], call: Call) -> list[str]:
    """End the processes of *sandbox* that berth started, then remove it; return warnings."""
    leader = enter.leader(sandbox)
    if leader is not None:
        signal.pidfd_send_signal(leader, signal.SIGTERM)
        with selectors.DefaultSelector() as selector:
            selector.register(leader, selectors.EVENT_READ)
            if not selector.select(_KILL_WAIT):
                signal.pidfd_send_signal(leader, signal.SIGKILL)
        os.close(leader)
    return delete(f"/v1/sandboxes/{sandbox['id']}", call)


def delete(path: str, call: Call) -> list[str]:
    """Delete what is at *path*, which may be gone already; return warnings."""
    try:
        warnings: list[str] = call("DELETE", path)["warnings"]
    except Refused as error:
        if error.kind != "not-found":
            raise
        return []
    return warnings
