"""What drivers must know of the host. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from netcore.model import IPAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a driver must know of the host. *uplinks*: links with a default route. *firewall*: we program ours.

    *vtep*: the address that other hosts send VXLAN to, where there are others.
    """

    uplinks: tuple[str, ...]
    ipv6: bool = True
    force_forwarding: bool = True
    accept_ra: tuple[str, ...] = ()
    firewall: bool = True
    vtep: IPAddress | None = None
