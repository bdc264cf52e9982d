"""What the host's routes and rules mean: which links lead outside, and which subnets a new network must leave alone. Pure.

Every table counts that a rule sends packets to: VPNs put their routes into one of their own (wg-quick: table 51820 and
the rule `not fwmark`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Network, IPv6Network

from netcore.model import IPAddress, IPInterface, IPNetwork
from netcore.parse.addresses import alone

MAIN_TABLE, DEFAULT_TABLE, LOCAL_TABLE = 254, 253, 255

_IGNORED = (IPv6Network("fe80::/10"), IPv6Network("ff00::/8"), IPv4Network("224.0.0.0/4"))
"""Link-local and multicast: every link has them, and no network of ours is chosen there."""

_HALF = 0.5


class RouteKind(Enum):
    """What happens to a packet that takes a route."""

    SENT = "sent"
    LOCAL = "delivered to this host"
    REFUSED = "refused (blackhole, unreachable, prohibit, throw; or a rule that does so)"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRoute:
    """One route of the host; one with several next hops is several of these. *link*: its index, 0 for none."""

    table: int
    kind: RouteKind
    destination: IPNetwork
    link: int
    gateway: IPAddress | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLinkInfo:
    """What counts of a link here. *is_tunnel*: it has no neighbours, so a route over it needs no gateway (tun, WireGuard, PPP)."""

    name: str
    mtu: int
    is_tunnel: bool


@dataclass(frozen=True, slots=True)
class OnLink:
    """A subnet whose addresses are on a link of the host itself."""

    subnet: IPNetwork
    ifname: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRoutes:
    """See `classify`.

    *uplinks4*, *uplinks6*: links that IPv4 and IPv6 traffic leaves by, those with a default route first. *egress_mtu*: the
    lowest MTU of links with a default route, None without one. *on_link*: subnets of links. *own*: addresses of the host.
    *gateways*: (address, link) of next hops. *distant*: destinations behind a next hop. *refused*: those that the host refuses.
    """

    uplinks4: tuple[str, ...] = ()
    uplinks6: tuple[str, ...] = ()
    egress_mtu: int | None = None
    on_link: tuple[OnLink, ...] = ()
    own: tuple[tuple[IPAddress, str], ...] = ()
    gateways: tuple[tuple[IPAddress, str], ...] = ()
    distant: tuple[tuple[IPNetwork, str], ...] = ()
    refused: tuple[IPNetwork, ...] = ()

    @property
    def uplinks(self) -> tuple[str, ...]:
        """Links that traffic of either family leaves by."""
        return tuple(dict.fromkeys((*self.uplinks4, *self.uplinks6)))

    def forbidden(self) -> list[IPNetwork]:
        """Return what no pool may overlap: with it, the host would lose its way to what is there now."""
        return [
            *(one.subnet for one in self.on_link),
            *(alone(address) for address, _ in (*self.own, *self.gateways)),
        ]

    def unwelcome(self) -> Avoided:
        """Return what a pool stays away from while there is another one."""
        return Avoided(distant=tuple(destination for destination, _ in self.distant), refused=self.refused)


@dataclass(frozen=True, slots=True, kw_only=True)
class Avoided:
    """Destinations of routes that a pool had better not take, see `HostRoutes`."""

    distant: tuple[IPNetwork, ...] = ()
    refused: tuple[IPNetwork, ...] = ()

    def forbidden(self, prefix_length: int) -> list[IPNetwork]:
        """Return what no subnet of *prefix_length* may overlap: of two equal routes the one that was there first wins."""
        return [destination for destination in self.refused if destination.prefixlen >= prefix_length]

    def unwelcome(self, prefix_length: int) -> list[IPNetwork]:
        """Return what a subnet of *prefix_length* avoids while there is another one: a part of it would be lost."""
        return [*self.refused, *(destination for destination in self.distant if destination.prefixlen >= prefix_length)]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostView:
    """What the kernel says of the host. *links*: by index. *addresses*: (index of the link, address). *tables*: those that rules name."""

    links: Mapping[int, HostLinkInfo] = field(default_factory=dict)
    addresses: Sequence[tuple[int, IPInterface]] = ()
    routes: Sequence[HostRoute] = ()
    tables: Collection[int] = (MAIN_TABLE, DEFAULT_TABLE)


def classify(view: HostView, ours: Collection[str]) -> HostRoutes:
    """Return what the routes of the host mean. *ours*: names of links that exist for our networks; they do not count."""
    links = {index: link for index, link in view.links.items() if link.name not in ours}
    addresses = [(index, address) for index, address in view.addresses if index in links and not is_ignored(address.network)]
    routes = [route for route in view.routes if route.table in view.tables or route.kind is RouteKind.LOCAL]
    sent = [route for route in routes if route.kind is RouteKind.SENT and route.link in links]
    connected = dict.fromkeys((index, address.network) for index, address in addresses)
    defaults = dict.fromkeys([*(route for route in sent if not route.destination.prefixlen), *_disguised_defaults(sent)])
    others = [route for route in sent if route not in defaults and not is_ignored(route.destination)]
    leaving = [route for route in others if _leaves(route, links[route.link], connected)]
    on_link = dict.fromkeys(
        [
            *connected,
            *((route.link, route.destination) for route in others if not _leaves(route, links[route.link], connected)),
            *((route.link, route.destination) for route in routes if route.kind is RouteKind.LOCAL and route.link in links),
        ]
    )
    uplinks = {
        family: tuple(dict.fromkeys(links[route.link].name for route in (*defaults, *leaving) if route.destination.version == family))
        for family in (4, 6)
    }
    mtus = [links[route.link].mtu for route in defaults]
    return HostRoutes(
        uplinks4=uplinks[4],
        uplinks6=uplinks[6],
        egress_mtu=min(mtus) if mtus else None,
        on_link=tuple(OnLink(subnet, links[index].name) for index, subnet in on_link if not is_ignored(subnet)),
        own=tuple((address.ip, links[index].name) for index, address in addresses),
        gateways=tuple(
            dict.fromkeys(
                (route.gateway, links[route.link].name)
                for route in sent
                if route.gateway is not None and not is_ignored(alone(route.gateway))
            )
        ),
        distant=tuple(dict.fromkeys((route.destination, links[route.link].name) for route in leaving)),
        refused=tuple(
            dict.fromkeys(route.destination for route in routes if route.kind is RouteKind.REFUSED and route.destination.prefixlen)
        ),
    )


def is_ignored(subnet: IPNetwork) -> bool:
    """Return whether *subnet* is link-local or multicast: every link has routes there, which say nothing."""
    return any(subnet.version == ignored.version and ignored.supernet_of(subnet) for ignored in _IGNORED)  # type: ignore[arg-type]


def _leaves(route: HostRoute, link: HostLinkInfo, connected: Collection[tuple[int, IPNetwork]]) -> bool:
    """Return whether what takes *route* leaves for somewhere behind the link, rather than for a neighbour on it."""
    return route.gateway is not None or (link.is_tunnel and (route.link, route.destination) not in connected)


def _disguised_defaults(routes: Iterable[HostRoute]) -> list[HostRoute]:
    """Return the routes that together are a default route, or half of one (OpenVPN's def1: 0.0.0.0/1 and 128.0.0.0/1)."""
    alike: dict[tuple[int, int, int, IPAddress | None], list[HostRoute]] = {}
    for route in routes:
        if route.destination.prefixlen:
            alike.setdefault((route.destination.version, route.table, route.link, route.gateway), []).append(route)
    return [
        route for together in alike.values() if sum(2.0**-route.destination.prefixlen for route in together) >= _HALF for route in together
    ]


def refusal(subnet: IPNetwork, routes: HostRoutes, ours: Collection[str] = ()) -> str | None:
    """Return why the host can't have a bridge with *subnet*, None if it can. *ours*: links whose own subnet it may be."""
    for one in routes.on_link:
        if one.ifname in routes.uplinks and one.ifname not in ours and _overlap(one.subnet, subnet):
            return f"overlaps {one.subnet}, the subnet of this host's link {one.ifname}; choose another subnet"
    for address, ifname in routes.own:
        if ifname not in ours and address in subnet:
            return f"covers {address}, this host's own address on link {ifname}; choose another subnet"
    for address, ifname in routes.gateways:
        if ifname not in ours and address in subnet:
            return f"covers {address}, a router that this host uses on link {ifname}; choose another subnet"
    return None


def warning(subnet: IPNetwork, routes: HostRoutes) -> str | None:
    """Return what goes wrong beside the host's routes once a bridge has *subnet*, None if nothing does."""
    for destination, ifname in routes.distant:
        if _overlap(destination, subnet):
            hidden = destination.prefixlen <= subnet.prefixlen
            effect = f"this host no longer reaches {subnet} there" if hidden else f"{destination} is not reached on the network"
            return f"subnet {subnet} overlaps this host's route to {destination} by link {ifname}: {effect}"
    for destination in routes.refused:
        if _overlap(destination, subnet) and destination.prefixlen >= subnet.prefixlen:
            reason = "which a route or rule of this host refuses (blackhole, unreachable, prohibit, throw)"
            return f"subnet {subnet} overlaps {destination}, {reason}"
    return None


def _overlap(one: IPNetwork, other: IPNetwork) -> bool:
    return one.version == other.version and one.overlaps(other)
