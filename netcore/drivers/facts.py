"""What drivers must know of the host. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from netcore.model import IPAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a driver must know of the host. *uplinks*: links that traffic leaves by. *firewall*: we program ours.

    *of_one_family*: family of those uplinks that only IPv4 or only IPv6 leaves by.

    *vtep*: the address that other hosts send VXLAN to, where there are others. *sysctls*: path → value as it is now, of
    what forwarding on uplinks depends on (see `uplinks.sysctl_paths`).
    """

    uplinks: tuple[str, ...]
    ipv6: bool = True
    force_forwarding: bool = True
    firewall: bool = True
    vtep: IPAddress | None = None
    sysctls: Mapping[str, str] = field(default_factory=dict)
    of_one_family: Mapping[str, int] = field(default_factory=dict)

    def uplinks_of(self, family: int) -> tuple[str, ...]:
        """Return the links that traffic of *family* leaves by."""
        return tuple(ifname for ifname in self.uplinks if self.of_one_family.get(ifname, family) == family)
