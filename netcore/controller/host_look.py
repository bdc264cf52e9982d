"""What is known of the host: its links, addresses and routes, as drivers and plans need them.

It is looked at once, and again when something has changed that is not of our own making (see `kernel.host_changes`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

from netcore import drivers
from netcore.controller.settings import Settings
from netcore.controller.state_writer import StateWriter
from netcore.controller.workers import Workers
from netcore.drivers import host_routes, uplinks
from netcore.drivers.facts import ExistingLink, Facts, HostConstraints
from netcore.drivers.host_routes import HostLinkInfo, HostRoutes, HostView, RouteKind
from netcore.egress.settings import EgressSettings
from netcore.errors import NotFound, Unavailable
from netcore.kernel import host, namespace, netns, sysctl
from netcore.kernel.host_changes import EVERY_LINK, HostChanges
from netcore.kernel.rtnl import Link
from netcore.model import IPAddress, IPNetwork, MadeLink, NetnsPath, Network, NetworkId, ParentOptions
from netcore.parse.addresses import alone
from netcore.plan import endpoint as plan_endpoint
from netcore.plan.host_state import SandboxState
from netcore.plan.known_networks import KnownNetworks
from netcore.plan.plans import Lookups

_DEFAULT_MTU = 1500


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look at the host gave."""

    snapshot: host.HostSnapshot
    uplinks: tuple[str, ...]
    of_one_family: dict[str, int]
    sysctls: dict[str, str]
    ipv6: bool
    force_forwarding: bool
    outside: tuple[IPNetwork, ...]


class _Classified(NamedTuple):
    """What the routes of *snapshot* mean while the *links* that they are of, by index, and those of them that are *ours*, are these."""

    snapshot: host.HostSnapshot
    concerned: frozenset[int]
    links: Mapping[int, HostLinkInfo] | None = None
    ours: frozenset[str] = frozenset()
    routes: HostRoutes = HostRoutes()


class HostLook:
    """See the module.

    *reserved*: the host's nameservers, which no new pool may cover; *clock*: seconds since the epoch. *on_addresses* is told the
    addresses of links that are not ours, whenever they have changed. *outside*: of a nest, the addresses of the host itself.
    """

    def __init__(
        self,
        settings: Settings,
        writer: StateWriter,
        workers: Workers,
        *,
        reserved: Callable[[], Sequence[IPAddress]],
        clock: Callable[[], float],
        on_addresses: Callable[[Sequence[IPAddress]], None],
        outside: Callable[[], tuple[IPNetwork, ...]] = tuple,
    ) -> None:
        self._outside = outside
        self._settings = settings
        self._egress = settings.egress
        self._writer = writer
        self._workers = workers
        self._reserved = reserved
        self._clock = clock
        self._on_addresses = on_addresses
        self._addresses: tuple[IPAddress, ...] = ()
        self._looking = asyncio.Lock()
        self._links_to_be: dict[NetworkId, str | None] = {}
        self._own = _OwnLinks(writer.state.indexes.known, self._links_to_be)
        self._touched: set[str] = {EVERY_LINK}
        self._classified: _Classified | None = None
        self.changes = HostChanges()

    @contextmanager
    def expecting(self, network: Network) -> Iterator[None]:
        """For the length of a block, know the link of *network* as ours while it is made or removed: that is no news of the host."""
        link = self._links_to_be[network.id] = _own_link(network)
        if link is not None:
            self.changes.expect(link)
        try:
            yield
        finally:
            del self._links_to_be[network.id]
            if link is not None:
                self.changes.expect(link)

    def touched_sysctls(self) -> set[str]:
        """Return the links that had sysctls changed since this was last called; EVERY_LINK among them: any of them."""
        touched, self._touched = self._touched, set()
        return touched

    def expect_sysctls(self, link: str) -> None:
        """Note that sysctls of *link* may have changed without having been announced; EVERY_LINK: any."""
        self._touched.add(link)

    async def refresh(self, *, anew: bool = False) -> None:
        """Look at the host if something has changed, or *anew* in any case; note what drivers need of it."""
        async with self._looking:
            left = self._writer.state.indexes.known.no_longer_own
            for link in left:
                self.changes.expect(link)
            left.clear()
            is_outdated = self.changes.is_outdated(self._own)
            touched = self.changes.changed_sysctls()
            self._touched |= touched
            facts = self._writer.state.facts
            if is_outdated or anew:
                await self._look()
            elif EVERY_LINK in touched or touched & {*facts.uplinks}:
                paths = uplinks.sysctl_paths(facts.uplinks, force_forwarding=facts.force_forwarding)
                values = await self._workers.run(lambda: sysctl.read_all(paths))
                self._writer.set_facts(replace(facts, sysctls=values))

    async def _look(self) -> None:
        self.changes.begin_look()
        look = None
        # As they are now: one that goes meanwhile was ours when it was looked at.
        own = frozenset(self._own)
        try:
            look = await self._workers.run(lambda: _look(own, self._settings, self._outside))
        finally:
            if look is None:
                self.changes.look_failed()
        self.changes.looked(look.snapshot, own)
        addresses = (*_addresses(look.snapshot, own), *(subnet.network_address for subnet in look.outside))
        if addresses != self._addresses:
            self._addresses = addresses
            self._on_addresses(addresses)
        self._writer.set_facts(
            Facts(
                uplinks=look.uplinks,
                of_one_family=look.of_one_family,
                ipv6=look.ipv6,
                force_forwarding=look.force_forwarding,
                firewall=self._settings.firewall,
                vtep=self._settings.vtep,
                sysctls=look.sysctls,
                resolver_at_gateways=self._settings.resolver_at_gateways,
                local=tuple(route.destination for route in look.snapshot.routes if route.kind is RouteKind.LOCAL),
                outside=look.outside,
                egress=self._egress,
            )
        )

    def follow_egress(self, settings: EgressSettings) -> None:
        """From now on the configuration of egress rules is *settings*."""
        self._egress = settings
        self._writer.set_facts(replace(self._writer.state.facts, egress=settings))

    async def constraints(self) -> HostConstraints:
        """Return what a new network must fit in, as of now."""
        await self.refresh()
        facts, routes = self._writer.state.facts, await self._routes()
        servers = [address for address in self._reserved() if not address.is_loopback]
        return HostConstraints(
            pools4=self._settings.pools4,
            pools6=self._settings.pools6,
            reserved=[alone(address) for address in servers],
            egress_mtu=routes.egress_mtu or _DEFAULT_MTU,
            links=_LinksOfOthers(self.changes, self._own),
            ipv6=facts.ipv6,
            now=self._clock(),
            tunnel_overhead=70 if self._settings.vtep is not None and self._settings.vtep.version == 6 else 50,
            routes=routes,
            egress=facts.egress,
            is_nest=bool(self._settings.edge),
        )

    async def _routes(self) -> HostRoutes:
        """Return what the routes of the last look mean. Links of ours that were made or removed since then do not count."""
        snapshot, known = self.changes.snapshot, self._classified
        assert snapshot is not None
        if known is None or known.snapshot is not snapshot:
            # Only links that a route or an address is of: a host with a thousand sandboxes has a thousand others.
            concerned = frozenset((*(index for index, _ in snapshot.addresses), *(route.link for route in snapshot.routes)))
            known = _Classified(snapshot, concerned)
        links = _infos({index: snapshot.links[index] for index in known.concerned if index in snapshot.links})
        ours = frozenset(link.name for link in links.values() if link.name in self._own)
        if (links, ours) != (known.links, known.ours):
            routes = await self._workers.run(lambda: _classify(snapshot, links, ours))
            self._classified = known = _Classified(snapshot, known.concerned, links, ours, routes)
        return known.routes

    def aliases(self) -> dict[str, str]:
        """Return link of the host → its alias, "" if it has none, as of the last look."""
        snapshot = self.changes.snapshot
        return {link.name: link.alias for link in snapshot.links.values()} if snapshot is not None else {}

    async def check_link_kinds(self, network: Network) -> None:
        """Raise Unavailable if the kernel can't make the links that *network* needs."""
        kinds = drivers.of(network).link_kinds(network)
        if not kinds:
            return
        try:
            await self._workers.run(lambda: host.check_link_kinds(kinds))
        except Unavailable as error:
            if not isinstance(network.driver_options, ParentOptions) or network.driver_options.makes is not MadeLink.DUMMY:
                raise
            link = next(iter(self._writer.state.facts.uplinks), "eth0")
            reason = f"{error.reason}. A {network.driver} network needs one where no parent is named: give `-o parent={link}`"
            raise Unavailable(error.capability, reason) from error

    async def lookups(self, path: NetnsPath | None, before: SandboxState | None, networks: Sequence[Network]) -> Lookups:
        """Return what must be known before endpoints on *networks* can be planned. *path*: of the namespace that is looked into, if any."""
        used = {"lo", *(endpoint.ifname for endpoint in (before.endpoints if before is not None else ()))}
        if path is not None and (before is None or netns.is_pinned(path)):
            used |= await self._workers.run(lambda: namespace.link_names(path))
        macs: dict[NetworkId, str] = {}
        for network in networks:
            parent = plan_endpoint.parent_of(network)
            if parent:
                macs[network.id] = await self._mac_of_parent(network, parent)
        return Lookups(used_ifnames=frozenset(used), parent_macs=macs)

    async def _mac_of_parent(self, network: Network, parent: str) -> str:
        link = await self._workers.run(lambda: host.find_link(parent))
        if link is None:
            raise NotFound("link", f"{parent}, the parent of network {network.name}")
        return link.mac


class _OwnLinks(Collection[str]):
    """The links that exist for the sake of *known* networks, and those *to_be*: as they are when it is asked."""

    def __init__(self, known: KnownNetworks, to_be: Mapping[NetworkId, str | None]) -> None:
        self._known = known
        self._to_be = to_be

    def __contains__(self, name: object) -> bool:
        return name in self._known.own_links or (name is not None and name in self._to_be.values())

    def __iter__(self) -> Iterator[str]:
        return iter({*self._known.own_links, *(name for name in self._to_be.values() if name is not None)})

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _LinksOfOthers(Mapping[str, ExistingLink]):
    """The host's links that are not *ours*, by name, as they are when they are asked for. Only who lists them looks at all."""

    def __init__(self, changes: HostChanges, ours: Collection[str]) -> None:
        self._changes = changes
        self._ours = ours

    def __getitem__(self, name: str) -> ExistingLink:
        link, snapshot = self._changes.link_named(name), self._changes.snapshot
        if link is None or snapshot is None or name in self._ours:
            raise KeyError(name)
        master = snapshot.links.get(link.master)
        return ExistingLink(kind=link.kind, mtu=link.mtu, master=master.kind if master is not None else None)

    def __iter__(self) -> Iterator[str]:
        snapshot = self._changes.snapshot
        return (link.name for link in (snapshot.links.values() if snapshot is not None else ()) if link.name not in self._ours)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _own_link(network: Network) -> str | None:
    """Return the name of the host's link that exists for the sake of *network*."""
    link = drivers.of(network).host_link(network)
    return link.name if link is not None and link.made else None


def _addresses(snapshot: host.HostSnapshot, ours: Collection[str]) -> tuple[IPAddress, ...]:
    """Return the addresses of the host's links that are not *ours*."""
    of_others = (
        interface.ip for index, interface in snapshot.addresses if index in snapshot.links and snapshot.links[index].name not in ours
    )
    return tuple(sorted(of_others, key=lambda address: (address.version, address)))


def _look(ours: Collection[str], settings: Settings, outside: Callable[[], tuple[IPNetwork, ...]]) -> _Look:
    """Look at the host's links, addresses, routes and rules, and at the sysctls of the links that traffic leaves by. Blocking."""
    snapshot = host.look()
    routes = _classify(snapshot, _infos(snapshot.links), ours)
    given = {*_underlay(snapshot, settings.vtep), *settings.uplinks}
    leaving = tuple(dict.fromkeys([*routes.uplinks, *sorted(given)]))
    one_family = {ifname: 4 for ifname in routes.uplinks4 if ifname not in {*routes.uplinks6, *given}}
    one_family |= {ifname: 6 for ifname in routes.uplinks6 if ifname not in {*routes.uplinks4, *given}}
    ipv6, force_forwarding = host.has_ipv6(), host.has_force_forwarding()
    sysctls = sysctl.read_all(uplinks.sysctl_paths(leaving, force_forwarding=force_forwarding))
    addresses = tuple(subnet for subnet in outside() if subnet.prefixlen == subnet.max_prefixlen and not subnet.is_loopback)
    return _Look(snapshot, leaving, one_family, sysctls, ipv6, force_forwarding, addresses)


def _infos(links: Mapping[int, Link]) -> dict[int, HostLinkInfo]:
    return {index: HostLinkInfo(name=link.name, mtu=link.mtu, is_tunnel=link.is_tunnel) for index, link in links.items()}


def _classify(snapshot: host.HostSnapshot, links: Mapping[int, HostLinkInfo], ours: Collection[str]) -> HostRoutes:
    """Return what the routes mean with the *links* that there are now. Pure, but takes its time with many routes."""
    view = HostView(links=links, addresses=snapshot.addresses, routes=snapshot.routes, tables=snapshot.tables)
    return host_routes.classify(view, ours)


def _underlay(snapshot: host.HostSnapshot, vtep: IPAddress | None) -> Iterable[str]:
    """Yield the link by which other hosts come in with VXLAN, which need not be where the default route leads."""
    for index, interface in snapshot.addresses:
        if interface.ip == vtep and index in snapshot.links:
            yield snapshot.links[index].name
