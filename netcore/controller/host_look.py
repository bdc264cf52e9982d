"""A look at the host before something is planned: its links, addresses and routes, as drivers and plans need them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_network

from netcore import drivers
from netcore.controller.settings import Settings
from netcore.controller.state_writer import StateWriter
from netcore.controller.workers import Workers
from netcore.errors import NotFound
from netcore.kernel import host, namespace, netns
from netcore.model import IPAddress, NetnsPath, Network, NetworkId
from netcore.plan import endpoint as plan_endpoint
from netcore.plan.host_state import SandboxState
from netcore.plan.network import HostLink, Surroundings
from netcore.plan.plans import Lookups


class HostLook:
    """See the module. *reserved*: the host's nameservers, which no new pool may cover; *clock*: seconds since the epoch."""

    def __init__(
        self,
        settings: Settings,
        writer: StateWriter,
        workers: Workers,
        *,
        reserved: Callable[[], Sequence[IPAddress]],
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._writer = writer
        self._workers = workers
        self._reserved = reserved
        self._clock = clock

    async def refresh(self) -> host.HostFacts:
        """Look at the host, and note what drivers need of it."""
        facts = await self._workers.run(host.look)
        # Other hosts come in where VXLAN does, which need not be where the default route leads.
        underlay = [ifname for ifname, interface in facts.addresses if interface.ip == self._settings.vtep]
        self._writer.set_facts(
            drivers.Facts(
                uplinks=tuple(dict.fromkeys([*facts.uplinks, *underlay, *self._settings.uplinks])),
                ipv6=facts.ipv6,
                force_forwarding=facts.force_forwarding,
                accept_ra=facts.accept_ra,
                firewall=self._settings.firewall,
                vtep=self._settings.vtep,
            )
        )
        return facts

    async def constraints(self) -> Surroundings:
        """Return what a new network must fit in, as of now."""
        facts = await self.refresh()
        own = {drivers.own_link(network) for network in self._writer.state.networks.values()}
        by_index = {link.index: link for link in facts.links}
        servers = [address for address in self._reserved() if not address.is_loopback]
        return Surroundings(
            pools4=self._settings.pools4,
            pools6=self._settings.pools6,
            reserved=[subnet for subnet in facts.on_link if subnet.prefixlen] + [ip_network(address) for address in servers],
            egress_mtu=facts.egress_mtu,
            links={
                link.name: HostLink(
                    kind=link.kind, mtu=link.mtu, mac=link.mac, master=by_index[link.master].kind if link.master in by_index else ""
                )
                for link in facts.links
                if link.name not in own
            },
            ipv6=facts.ipv6,
            now=self._clock(),
            tunnel_overhead=70 if self._settings.vtep is not None and self._settings.vtep.version == 6 else 50,
        )

    async def check_link_kinds(self, network: Network) -> None:
        """Raise Unavailable if the kernel can't make the links that *network* needs."""
        kinds = drivers.link_kinds(network)
        if kinds:
            await self._workers.run(lambda: host.check_link_kinds(kinds))

    async def lookups(self, path: NetnsPath | None, before: SandboxState | None, networks: Sequence[Network]) -> Lookups:
        """Return what must be known before endpoints on *networks* can be planned. *path*: of the namespace, None if it is to be made."""
        used = {endpoint.ifname for endpoint in before.endpoints} if before is not None else {"lo"}
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
