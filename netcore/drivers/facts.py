"""What drivers must know of the host. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from netcore.model import IPAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a driver must know of the host. *uplinks*: links that traffic leaves by. *firewall*: we program ours.

    *vtep*: the address that other hosts send VXLAN to, where there are others. *sysctls*: path → value as it is now, of
    what forwarding on uplinks depends on (see `uplinks.sysctl_paths`).
    """

    uplinks: tuple[str, ...]
    ipv6: bool = True
    force_forwarding: bool = True
    firewall: bool = True
    vtep: IPAddress | None = None
    sysctls: Mapping[str, str] = field(default_factory=dict)
