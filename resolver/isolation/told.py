"""What the daemon tells of the isolation of a sandbox; what one of an earlier version does not tell has its default. Pure."""

from __future__ import annotations

from resolver.isolation.rights import WITH_RULES
from resolver.light import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_DEFAULT: dict[str, Any] = {
    "cap_add": (), "cap_drop": (), "privileged": False, "security_options": (), "user": "", "groups": (), "read_only": False, "tmpfs": (),
    "volumes": (), "confine": "", "memory": 0, "cpus": 0.0, "pids": 0, "ulimits": (), "shm_size": 0, "timeout": 0.0,
}  # fmt: skip


def isolation_of(sandbox: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `isolation` of *sandbox*, as the admin API has it."""
    return {**_DEFAULT, **sandbox.get("isolation", {})}


def withheld_of(sandbox: Mapping[str, Any]) -> Sequence[str]:
    """Return the capabilities that no command in *sandbox* has."""
    # An earlier version hid directories only where there are egress rules.
    withheld: Sequence[str] = sandbox.get("withheld", WITH_RULES if sandbox.get("hides") else ())
    return withheld
