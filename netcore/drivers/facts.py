"""What drivers must know of the host: to say which objects must exist, and to check a new network. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from netcore.model import IPAddress, IPNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What decides which objects must exist. *uplinks*: links with a default route. *firewall*: we program ours.

    *accept_ra*: links that learn their IPv6 default route from router advertisements. *vtep*: the address that other hosts
    send VXLAN to; None on a host that is alone.
    """

    uplinks: tuple[str, ...]
    ipv6: bool = True
    force_forwarding: bool = True
    accept_ra: tuple[str, ...] = ()
    firewall: bool = True
    vtep: IPAddress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingLink:
    """A link that the host has. *kind*: as rtnetlink names it, "" for hardware. *master*: kind of the link that it is a port of."""

    kind: str
    mtu: int
    master: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostConstraints:
    """What a new network must respect: pools to take from, subnets in use, MTU, and links of the host that are not ours.

    *pools4*, *pools6*: (block, prefix length of the subnets cut from it). *reserved*: subnets of the host that the pools berth
    chooses must not overlap. *links*: by name. *now*: seconds since the epoch. *tunnel_overhead*: octets of the outer IP, UDP
    and VXLAN headers and of the inner Ethernet header (RFC 7348 section 5).
    """

    pools4: Sequence[tuple[IPNetwork, int]]
    pools6: Sequence[tuple[IPNetwork, int]]
    reserved: Sequence[IPNetwork]
    egress_mtu: int
    links: Mapping[str, ExistingLink]
    ipv6: bool
    now: float
    tunnel_overhead: int = 50
