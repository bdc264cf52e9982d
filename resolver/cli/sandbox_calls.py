"""Calls of the API about a sandbox whose command a client starts: `register` it, and `delete` what may be gone already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from resolver.cli.client import Refused

Call = Callable[..., Any]
"""`resolver.cli.client.call`, or what stands in for it in a test."""


def register(sandbox: dict[str, Any], pid: int, call: Call, *, is_owner: bool) -> None:
    """Tell the daemon that the process *pid* was started in *sandbox*. *is_owner*: the sandbox goes when the process ends."""
    call("PATCH", f"/v1/sandboxes/{sandbox['id']}", {"leader_pid": pid, "owner_pid": pid} if is_owner else {"leader_pid": pid})


def delete(path: str, call: Call) -> list[str]:
    """Delete what is at *path*, which may be gone already; return warnings."""
    try:
        warnings: list[str] = call("DELETE", path)["warnings"]
    except Refused as error:
        if error.kind != "not-found":
            raise
        return []
    return warnings
