"""What drivers must know of the host: to say which objects must exist, and to check a new network. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from netcore.drivers.host_routes import HostRoutes
from netcore.egress.settings import NO_SETTINGS, EgressSettings
from netcore.model import IPAddress, IPNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What decides which objects must exist. *uplinks*: links that traffic leaves by. *firewall*: we program ours.

    *vtep*: the address that other hosts send VXLAN to; None on a host that is alone. *of_one_family*: family of those uplinks
    that only IPv4 or only IPv6 leaves by. *sysctls*: path → value as it is now, of what forwarding on uplinks depends on
    (see `uplinks.sysctl_paths`). *resolver_at_gateways*: berth answers DNS queries at the gateway addresses of its networks.
    *local*: what the host takes for its own addresses; None: not known. *egress*: what the configuration says of egress rules.
    *outside*: in the nest of an ordinary user, the addresses of the host itself, which are reached by the uplink.
    """

    uplinks: tuple[str, ...]
    ipv6: bool = True
    force_forwarding: bool = True
    firewall: bool = True
    vtep: IPAddress | None = None
    of_one_family: Mapping[str, int] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)
    resolver_at_gateways: bool = True
    local: tuple[IPNetwork, ...] | None = None
    egress: EgressSettings = NO_SETTINGS
    outside: tuple[IPNetwork, ...] = ()

    def uplinks_of(self, family: int) -> tuple[str, ...]:
        """Return the links that traffic of *family* leaves by."""
        return tuple(ifname for ifname in self.uplinks if self.of_one_family.get(ifname, family) == family)

    def of_sandboxes(self) -> Facts:
        """Return these facts without what the objects of a sandbox don't follow from: the host's uplinks and addresses."""
        return replace(self, uplinks=(), of_one_family={}, sysctls={}, local=None, outside=())


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
    and VXLAN headers and of the inner Ethernet header (RFC 7348 section 5). *routes*: what the host's links and routes forbid.
    *is_nest*: this is the nest of an ordinary user, where the host's own links are not.
    """

    pools4: Sequence[tuple[IPNetwork, int]]
    pools6: Sequence[tuple[IPNetwork, int]]
    reserved: Sequence[IPNetwork]
    egress_mtu: int
    links: Mapping[str, ExistingLink]
    ipv6: bool
    now: float
    tunnel_overhead: int = 50
    routes: HostRoutes = field(default_factory=HostRoutes)
    egress: EgressSettings = NO_SETTINGS
    is_nest: bool = False
