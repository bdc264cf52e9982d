"""Where things are on this host and what is allowed; from the daemon's configuration."""

from __future__ import annotations

from dataclasses import dataclass

from netcore.egress.settings import NO_SETTINGS, EgressSettings
from netcore.model import IPAddress, IPNetwork
from netcore.plan import ipam


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """*pools4*, *pools6*: (block, prefix length of the subnets cut from it). *uplinks*: more links that lead outside.

    *vtep*: the address that other hosts send VXLAN to, None on a host that is alone. *resolver_at_gateways*: see `Facts`.
    *etc_netns_directory*: see `NamedPaths`. *edge*: path of the socket of the process that is outside of a nest (`netcore.edge`), "" for a
    daemon that is the host's own.
    """

    run_directory: str
    netns_directory: str = "/run/netns"
    etc_netns_directory: str = "/etc/netns"
    pools4: tuple[tuple[IPNetwork, int], ...] = ipam.DEFAULT_POOLS4
    pools6: tuple[tuple[IPNetwork, int], ...] = ()
    firewall: bool = True
    uplinks: tuple[str, ...] = ()
    vtep: IPAddress | None = None
    resolver_at_gateways: bool = True
    egress: EgressSettings = NO_SETTINGS
    edge: str = ""
