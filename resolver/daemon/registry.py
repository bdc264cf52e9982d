"""The registry: endpoints go in, zones and views come out. The only place where the two halves meet in data.

It is the `NamePublisher` of netcore's controller and the only writer of zones and views. Names are swapped in one step on
the loop: a reader sees the old or the new state.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Protocol, TypeVar

from netcore import drivers
from netcore.kernel import files
from netcore.model import Endpoint, Network, NetworkId, RemoteEndpoint, Sandbox, Stack
from netcore.plan.endpoint_names import names_of, served_ports
from resolver import nsswitch, resolvconf
from resolver.daemon import listeners
from resolver.daemon.config import DaemonConfig
from resolver.daemon.hostfile import HostResolvConf
from resolver.daemon.upstreams import Found, Routes
from resolver.engine.received import Protected
from resolver.service import DnsService
from resolver.transport.batch import packed
from resolver.transport.poller import Poller
from resolver.transport.tcp import TcpListener
from resolver.transport.udp import UdpListener
from resolver.wire import name as names
from resolver.zone.build import entries
from resolver.zone.subnets import Subnets
from resolver.zone.view import Attachment, View, ViewSlot, ZoneSlot
from resolver.zone.zone import Entry, Zone

log = logging.getLogger(__name__)

_T = TypeVar("_T")


class Kernel(Protocol):
    """How blocking work gets to a worker thread."""

    async def __call__(self, body: Callable[[], _T]) -> _T: ...


@dataclass(slots=True)
class _Files:
    """The files of one sandbox. *edited*: its resolv.conf is the user's now. *copies*: that is a copy of the host's."""

    sandbox: Sandbox
    directory: Path
    edited: bool = False
    copies: bool = False
    ipv6: bool = True


@dataclass(slots=True, kw_only=True)
class _Served(_Files):
    """One sandbox with its resolver."""

    slot: ViewSlot
    udp: UdpListener
    tcp: TcpListener
    endpoints: tuple[Endpoint, ...] = ()
    registered: dict[NetworkId, tuple[Entry, ...]] = field(default_factory=dict)
    addresses: list[tuple[str, bytes]] = field(default_factory=list)
    watched: set[str] = field(default_factory=set)
    warning: str = ""


@dataclass(slots=True)
class _Gateway:
    """A network's resolver on its gateway addresses. *slot* is for askers that are no endpoint."""

    network: Network
    zone: ZoneSlot
    slot: ViewSlot
    own: tuple[str, ...] = ()
    listeners: list[tuple[UdpListener, TcpListener]] = field(default_factory=list)
    warning: str = ""


class Registry:
    """See the module. *kernel* runs blocking work; *sandbox_directory*: id → directory of a sandbox's files."""

    def __init__(
        self,
        config: DaemonConfig,
        service: DnsService,
        poller: Poller,
        host: HostResolvConf,
        sandbox_directory: Callable[[Sandbox], Path],
    ) -> None:
        self._config = config
        self._service = service
        self._poller = poller
        self._host = host
        self._routes = Routes(config, host)
        self._directory = sandbox_directory
        self._suffix = names.from_text(config.suffix)
        self._served: dict[str, _Served] = {}
        self._unserved: dict[str, _Files] = {}
        self._gateways: dict[str, _Gateway] = {}
        self._subnets = Subnets()
        self._own: frozenset[str] = frozenset()
        self._networks: Mapping[NetworkId, Network] = {}
        self._by_address: dict[tuple[str, bytes], ViewSlot] = {}
        self.closed_queries = 0
        self.kernel: Kernel

    # --- NamePublisher ----------------------------------------------------------------------------------------------

    async def open(self, sandbox: Sandbox, *, replace: bool = False) -> None:
        """Open the sandbox's resolver, if it has one (DNS-2); *replace*: one of an earlier daemon was there."""
        if sandbox.stack is Stack.SHARED:
            return
        if sandbox.stack is not Stack.OWN:
            found = self._unserved[sandbox.id] = _Files(sandbox, self._directory(sandbox))
            await self.kernel(lambda: self._write_resolv_conf(found, first=not replace))
            return
        pair, warning = await self.kernel(lambda: listeners.open_in_sandbox(sandbox.netns_path, replace=replace))
        slot = ViewSlot(sandbox.id, View(suffix=self._suffix))
        udp = UdpListener(self._poller, pair.udp, self._service, slot)
        tcp = TcpListener(self._service, lambda _: slot)
        await tcp.listen(pair.tcp)
        served = _Served(sandbox, self._directory(sandbox), slot=slot, udp=udp, tcp=tcp, warning=warning)
        self._served[sandbox.id] = served
        await self.kernel(lambda: self._write_resolv_conf(served, first=not replace))
        if warning:
            log.warning("resolver bound to port 53 itself sandbox=%s reason=%s", sandbox.name, warning)

    async def close(self, sandbox: Sandbox) -> None:
        """End the sandbox's resolver and everything opened in its namespace."""
        self._unserved.pop(sandbox.id, None)
        served = self._served.pop(sandbox.id, None)
        if served is None:
            return
        self.closed_queries += served.slot.queries
        self._register(served, (), {})
        self._watch(served, ())
        served.udp.close()
        await served.tcp.close()
        if any(item.netns for route in served.slot.current.all_routes() for item in route.upstreams):
            self._drop_unused_routes()
        if sandbox.adopted:
            await self.kernel(lambda: listeners.close_in_sandbox(sandbox.netns_path))

    async def update(self, sandbox: Sandbox, endpoints: Sequence[Endpoint], networks: Mapping[NetworkId, Network]) -> None:
        """From now on the names of *sandbox* are those of *endpoints*, in gateway order, and its resolv.conf is right for them.

        Who is on the default network bridge only reads a copy of the host's (DNS-2, RC-15, RC-20).
        """
        self._networks = networks
        served = self._served.get(sandbox.id)
        if served is None:
            return
        served.sandbox = sandbox
        served.endpoints = tuple(endpoints)
        wanted = {item.network_id: self._entries(sandbox, item, networks[item.network_id]) for item in endpoints}
        # A sandbox must see its new networks before others see it there, and lose them after.
        self._rebuild(served)
        self._register(served, tuple(endpoints), wanted)
        present = [networks[item.network_id] for item in endpoints]
        form = (bool(present) and all(item.is_default_bridge for item in present), any(item.ipv6 for item in present))
        if form != (served.copies, served.ipv6):
            served.copies, served.ipv6 = form
            await self.kernel(lambda: self._write_resolv_conf(served))

    def remote(self, network: Network, before: RemoteEndpoint | None, after: RemoteEndpoint | None) -> None:
        """From now on an endpoint on another host is *after*, None if it is gone."""
        served = self._gateways.get(network.id)
        if served is not None:
            served.zone.change(self._remote_entries(network, before), self._remote_entries(network, after))

    @staticmethod
    def _remote_entries(network: Network, item: RemoteEndpoint | None) -> tuple[Entry, ...]:
        if item is None:
            return ()
        return entries(
            owner=f"remote/{item.id}", network=network.name, endpoint_names=item.names, addresses=item.addresses, ports=item.ports
        )

    async def network_up(self, network: Network) -> None:
        """Serve the names of *network*, also on its gateway addresses."""
        await self.networks_up([network])

    async def networks_up(self, networks: Iterable[Network]) -> None:
        """Serve the names of several networks."""
        made = []
        for network in networks:
            label = names.from_text(network.name)
            zone = ZoneSlot(Zone(network.id, label, network.common.ttl, network.common.forward_single_label))
            own = tuple(str(item.ip) for item in drivers.of(network).host_addresses(network))
            served = _Gateway(network, zone, ViewSlot("", View(suffix=self._suffix)), own)
            self._gateways[network.id] = served
            zone.watchers.add(served.slot)
            made.append(served)
        self._networks_changed(made)
        for served in made if self._config.gateway_resolver else ():
            for interface in drivers.of(served.network).host_addresses(served.network):
                await self._listen_on_gateway(served, interface.ip)

    async def network_down(self, network: Network) -> None:
        """The opposite of `network_up`."""
        served = self._gateways.pop(network.id, None)
        if served is not None:
            for udp, tcp in served.listeners:
                udp.close()
                await tcp.close()
            self._networks_changed([served])

    # --- listeners ----------------------------------------------------------------------------------------------

    def _slot_of(self, served: _Gateway) -> Callable[[bytes], ViewSlot]:
        """Return what finds the view of an address. Who asks is known by the bridge it came over and its source address,

        which is bound to its bridge port.
        """
        by_address, network_id = self._by_address, served.network.id
        return lambda address: by_address.get((network_id, address), served.slot)

    async def _listen_on_gateway(self, served: _Gateway, address: IPv4Address | IPv6Address) -> None:
        attached = drivers.of(served.network).host_link(served.network)
        link = attached.name if attached is not None else ""
        try:
            pair = await self.kernel(lambda: listeners.open_on_gateway(address, link))
        except OSError as error:
            holder = await self.kernel(lambda: listeners.find_holder(53))
            served.warning = f"no resolver at {address}: port 53 is held by {holder or 'another program'} ({error.strerror})"
            log.warning("gateway resolver not started network=%s reason=%s", served.network.name, served.warning)
            return
        slot_of = self._slot_of(served)
        udp = UdpListener(self._poller, pair.udp, self._service, served.slot, lambda peer: slot_of(packed(peer)))
        tcp = TcpListener(self._service, lambda peer: slot_of(ip_address(peer).packed))
        await tcp.listen(pair.tcp)
        served.listeners.append((udp, tcp))

    # --- zones and views ----------------------------------------------------------------------------------------

    @staticmethod
    def _entries(sandbox: Sandbox, endpoint: Endpoint, network: Network) -> tuple[Entry, ...]:
        return entries(
            owner=f"{endpoint.origin}/{sandbox.id}/{endpoint.ifname}",
            network=network.name,
            endpoint_names=names_of(sandbox, endpoint, network),
            addresses=endpoint.addresses(),
            ports=served_ports(sandbox),
        )

    def _register(self, served: _Served, endpoints: tuple[Endpoint, ...], wanted: Mapping[NetworkId, tuple[Entry, ...]]) -> None:
        for network_id in served.registered.keys() | wanted.keys():
            old, new = served.registered.get(network_id, ()), wanted.get(network_id, ())
            gateway_slot = self._gateways.get(network_id)
            if old != new and gateway_slot is not None:
                gateway_slot.zone.change(old, new)
        served.registered = dict(wanted)
        for key in served.addresses:
            self._by_address.pop(key, None)
        served.addresses = [(item.network_id, address.packed) for item in endpoints for address in item.addresses()]
        for key in served.addresses:
            self._by_address[key] = served.slot

    def _watch(self, served: _Served, network_ids: Iterable[str]) -> None:
        wanted = set(network_ids)
        for network_id in served.watched ^ wanted:
            gateway_slot = self._gateways.get(network_id)
            if gateway_slot is not None:
                change = gateway_slot.zone.watchers.add if network_id in wanted else gateway_slot.zone.watchers.discard
                change(served.slot)
        served.watched = wanted

    def _rebuild(self, served: _Served) -> None:
        endpoints = [item for item in served.endpoints if item.network_id in self._gateways]
        attachments = tuple(
            Attachment(
                self._gateways[item.network_id].zone,
                {names.from_text(alias): names.from_text(target) for target, alias in item.links},
            )
            for item in endpoints
        )
        self._watch(served, [item.network_id for item in endpoints])
        present = [item for item in served.endpoints if item.network_id in self._networks]
        found = self._routes.of_sandbox(served.sandbox, present, self._networks, self._own)
        served.slot.swap(self._view(attachments, found, [self._networks[item.network_id] for item in present]))

    def _rebuild_gateway(self, item: _Gateway) -> None:
        found = self._routes.of_network(item.network, self._own)
        item.slot.swap(self._view((Attachment(item.zone),), found, [item.network]))

    def _view(self, attachments: tuple[Attachment, ...], found: Found, networks: Sequence[Network]) -> View:
        route, routes = found
        return View(
            attachments=attachments,
            suffix=self._suffix,
            subnets=self._subnets,
            route=route,
            routes=routes,
            allows_rebinding=self._config.allow_rebinding or any(item.common.allow_rebinding for item in networks),
        )

    def _networks_changed(self, which: Sequence[_Gateway]) -> None:
        """Take notice of networks that came or went. Views are made anew only if they could differ: there may be thousands."""
        subnets = [pool.subnet for item in self._gateways.values() for pool in item.network.pools]
        self._subnets.swap(subnets)
        self._service.protected = Protected(subnets)
        own = frozenset(address for item in self._gateways.values() for address in item.own)
        moved, self._own = own ^ self._own, own
        if any(item.network.common.forward for item in which) or not moved.isdisjoint(self._host.content.nameservers):
            self._rebuild_all()
            return
        for item in which:
            if item.network.id in self._gateways:
                self._rebuild_gateway(item)
        for slot in self.slots():
            # A reverse name may be ours now, or no more.
            slot.forget_all()

    def _rebuild_all(self) -> None:
        for served in self._served.values():
            self._rebuild(served)
        for item in self._gateways.values():
            self._rebuild_gateway(item)
        self._drop_unused_routes()

    def _drop_unused_routes(self) -> None:
        """Close what was opened for upstreams that nobody asks any more, and forget their answers."""
        used = [route for slot in self.slots() for route in slot.current.all_routes()]
        self._routes.keep(used)
        self._service.keep(used)

    # --- resolv.conf --------------------------------------------------------------------------------------------

    async def host_changed(self) -> None:
        """The host's resolv.conf has changed: use its servers from now on and tell the sandboxes' files."""
        self._rebuild_all()
        everyone = [*self._served.values(), *self._unserved.values()]

        def write() -> None:
            for item in everyone:
                self._write_resolv_conf(item)

        await self.kernel(write)

    def _write_resolv_conf(self, served: _Files, *, first: bool = False) -> None:
        """Bring the sandbox's resolv.conf up to date, unless the user has edited it. Blocking."""
        path, note = served.directory / "resolv.conf", served.directory / "resolv.conf.written"
        text = self._render_resolv_conf(served)
        try:
            current, written = files.read(str(path)), files.read(str(note))
        except FileNotFoundError:
            current = written = ""
        if not first and current != written:
            if not served.edited:
                log.info("resolv.conf was edited and is left alone sandbox=%s", served.sandbox.name)
            served.edited = True
            return
        if first and served.sandbox.stack is not Stack.HOST:
            self._write_nsswitch(served.directory)
        if text != current:
            files.write_in_place(str(note), text)
            files.write_in_place(str(path), text)

    @staticmethod
    def _write_nsswitch(directory: Path) -> None:
        try:
            text = files.read("/etc/nsswitch.conf")
        except OSError:
            # A C library without it asks files and DNS anyway.
            return
        files.write_in_place(str(directory / "nsswitch.conf"), nsswitch.render(text))

    def _render_resolv_conf(self, served: _Files) -> str:
        """Return the resolv.conf of a sandbox (rules RC-9..RC-19): ours, or a copy of the host's. Blocking."""
        config, sandbox = self._config, served.sandbox
        servers = self._routes.own_servers(sandbox)
        search = sandbox.dns.search or config.dns_search
        options = sandbox.dns.options or config.dns_options
        given = (("nameservers", servers), ("search", search), ("options", options))
        overridden = [name for name, value in given if value]
        if sandbox.stack is Stack.OWN and not served.copies:
            settings = resolvconf.override(self._host.content, servers, search, options)
            return resolvconf.render(
                resolvconf.for_sandbox(settings),
                source=self._host.path,
                upstreams=[(item, not servers) for item in settings.nameservers],
                overrides=overridden,
                invalid=settings.invalid,
            )
        if sandbox.stack is Stack.HOST:
            path, host = self._host.path, self._host.content
        else:
            path, host = self._host.behind_stub()
        settings = resolvconf.override(host, servers, search, options)
        kept = settings if sandbox.stack is Stack.HOST or servers else resolvconf.reachable(settings, ipv6=served.ipv6)
        return resolvconf.render(kept, source=path, upstreams=None, overrides=overridden, invalid=settings.invalid)

    # --- for status, resolve and metrics ------------------------------------------------------------------------

    def slot_of(self, sandbox: Sandbox) -> ViewSlot | None:
        """Return the view slot of *sandbox*, None if it has no resolver."""
        served = self._served.get(sandbox.shared_with or sandbox.id)
        return None if served is None else served.slot

    def everything(self) -> View:
        """Return the view of somebody on all networks, in the order of their names, with the host's upstreams."""
        zones = sorted(self._gateways.values(), key=lambda item: item.network.name)
        networks = [item.network for item in zones]
        found = self._routes.of_host(networks, self._own)
        return self._view(tuple(Attachment(item.zone) for item in zones), found, networks)

    def slots(self) -> list[ViewSlot]:
        """Return all view slots."""
        return [*(item.slot for item in self._served.values()), *(item.slot for item in self._gateways.values())]

    def warnings(self) -> list[str]:
        """Return what is not as it should be, a line each."""
        result = [f"network {item.network.name}: {item.warning}" for item in self._gateways.values() if item.warning]
        for served in self._served.values():
            if served.warning:
                result.append(f"sandbox {served.sandbox.name}: {served.warning}")
        for item in (*self._served.values(), *self._unserved.values()):
            if item.edited:
                result.append(f"sandbox {item.sandbox.name}: its resolv.conf was edited and is left alone")
        return result

    def reserved(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """Return the host's nameservers, which no new pool may cover (rule IP-4)."""
        return tuple(ip_address(item.partition("%")[0]) for item in self._host.content.nameservers)

    async def shutdown(self) -> None:
        """Close all listeners; what is in the kernel stays."""
        for served in [*self._served.values()]:
            served.udp.close()
            await served.tcp.close()
        for item in self._gateways.values():
            for udp, tcp in item.listeners:
                udp.close()
                await tcp.close()
