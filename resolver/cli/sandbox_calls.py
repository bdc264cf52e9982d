"""Calls of the API about a sandbox whose command a client starts: `register` it, and `delete` what may be gone already."""

from __future__ import annotations

from resolver.cli.client import Refused
from resolver.light import TYPE_CHECKING, signal
from resolver.signal_names import START_NO_MORE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Call = Callable[..., Any]
    """`resolver.cli.client.call`, or what stands in for it in a test."""


def register(sandbox: Mapping[str, Any], pid: int, call: Call, *, owner: int | None = None) -> None:
    """Tell the daemon that the process *pid* was started in *sandbox*. *owner*: the process with which the sandbox ends from now on."""
    call("PATCH", f"/v1/sandboxes/{sandbox['id']}", {"leader_pid": pid} | ({} if owner is None else {"owner_pid": owner}))


def hold_for_a_moment() -> None:
    """Let this process be the owner of sandboxes until their monitors are: what the daemon tells an owner to do is theirs to do."""
    signal.signal(START_NO_MORE, signal.SIG_IGN)


def delete(path: str, call: Call) -> list[str]:
    """Delete what is at *path*, which may be gone already; return warnings."""
    try:
        warnings: list[str] = call("DELETE", path)["warnings"]
    except Refused as error:
        if error.kind != "not-found":
            raise
        return []
    return warnings
