"""The registry: endpoints go in, zones and views come out. The only place where the two halves meet in data.

It is the `Directory` of netcore's controller and the only writer of zones and views. Names are swapped in one step on
the loop: a reader sees the old or the new state.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import Any, Protocol, TypeVar

from netcore import gateway
from netcore.drivers.bridge import bridge_addresses
from netcore.kernel import files
from netcore.model import Endpoint, Network, Sandbox
from resolver import limits, nsswitch, resolvconf
from resolver.daemon import listeners
from resolver.daemon.config import DaemonConfig
from resolver.daemon.hostfile import HostResolvConf
from resolver.resolvconf import EMBEDDED
from resolver.service import DnsService
from resolver.transport.tcp import TcpListener
from resolver.transport.udp import Reply, UdpListener
from resolver.transport.upstream import UpstreamPool
from resolver.wire import name as names
from resolver.zone.build import entries
from resolver.zone.view import Attachment, Upstream, View, ViewSlot, ZoneSlot
from resolver.zone.zone import Entry, Zone

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_Subnets = tuple[IPv4Network | IPv6Network, ...]


class Kernel(Protocol):
    """How blocking work gets to a worker thread."""

    async def __call__(self, body: Callable[[], _T]) -> _T: ...


@dataclass(slots=True)
class _Served:
    """One sandbox with its resolver."""

    sandbox: Sandbox
    slot: ViewSlot
    udp: UdpListener
    tcp: TcpListener
    directory: Path
    endpoints: tuple[Endpoint, ...] = ()
    registered: dict[str, tuple[Entry, ...]] = field(default_factory=dict)
    addresses: list[tuple[str, str]] = field(default_factory=list)
    warning: str = ""
    edited: bool = False


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
        pool: UpstreamPool,
        host: HostResolvConf,
        sandbox_directory: Callable[[Sandbox], Path],
    ) -> None:
        self._config = config
        self._service = service
        self._pool = pool
        self._host = host
        self._directory = sandbox_directory
        self._loop = asyncio.get_running_loop()
        self._suffix = names.from_text(config.suffix)
        self._served: dict[str, _Served] = {}
        self._gateways: dict[str, _Gateway] = {}
        self._networks: Mapping[str, Network] = {}
        self._by_address: dict[tuple[str, str], ViewSlot] = {}
        self.closed_queries = 0
        self.kernel: Kernel

    # --- Directory ----------------------------------------------------------------------------------------------

    async def open(self, sandbox: Sandbox, *, replace: bool = False) -> None:
        """Open the sandbox's resolver; *replace*: one of an earlier daemon was there."""
        pair, warning = await self.kernel(lambda: listeners.open_in_sandbox(sandbox.netns_path, replace=replace))
        slot = ViewSlot(sandbox.id, View(suffix=self._suffix))
        udp = UdpListener(self._loop, pair.udp, self._on_query(slot, tcp=False))
        tcp = TcpListener(self._on_query(slot, tcp=True))
        await tcp.listen(pair.tcp)
        served = _Served(sandbox, slot, udp, tcp, self._directory(sandbox), warning=warning)
        self._served[sandbox.id] = served
        await self.kernel(lambda: self._write_resolv_conf(served, first=not replace))
        if warning:
            log.warning("resolver bound to port 53 itself sandbox=%s reason=%s", sandbox.name, warning)

    async def close(self, sandbox: Sandbox) -> None:
        """End the sandbox's resolver and everything opened in its namespace."""
        served = self._served.pop(sandbox.id, None)
        if served is None:
            return
        self.closed_queries += served.slot.queries
        self._register(served, (), {})
        self._watch(served.slot, ())
        served.udp.close()
        await served.tcp.close()
        self._pool.forget(sandbox.id)
        if sandbox.adopted:
            await self.kernel(lambda: listeners.close_in_sandbox(sandbox.netns_path))

    def update(self, sandbox: Sandbox, endpoints: Sequence[Endpoint], networks: Mapping[str, Network]) -> None:
        """From now on the names of *sandbox* are those of *endpoints*, in gateway order."""
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

    async def network_up(self, network: Network) -> None:
        """Serve the names of *network*, also on its gateway addresses."""
        zone = ZoneSlot(Zone(network.id, names.from_text(network.name), network.bridge.ttl, network.bridge.forward_single_label))
        own = tuple(str(item.ip) for item in bridge_addresses(network))
        served = _Gateway(network, zone, ViewSlot("", View(suffix=self._suffix)), own)
        self._gateways[network.id] = served
        zone.watchers.add(served.slot)
        self._rebuild_all()
        if self._config.gateway_resolver:
            for interface in bridge_addresses(network):
                await self._listen_on_gateway(served, interface.ip)

    async def network_down(self, network: Network) -> None:
        """The opposite of `network_up`."""
        served = self._gateways.pop(network.id, None)
        if served is not None:
            for udp, tcp in served.listeners:
                udp.close()
                await tcp.close()
        self._rebuild_all()

    # --- queries ------------------------------------------------------------------------------------------------

    def _on_query(self, slot: ViewSlot, *, tcp: bool) -> Callable[[bytes, Any, Reply], bytes | None]:
        on_query = self._service.on_query

        def handle(octets: bytes, _: Any, reply: Reply) -> bytes | None:
            return on_query(slot, octets, reply, tcp=tcp)

        return handle

    def _on_gateway_query(self, served: _Gateway, *, tcp: bool) -> Callable[[bytes, Any, Reply], bytes | None]:
        """Who asks is known by the bridge it came over and its source address, which is bound to its bridge port."""
        on_query, by_address, network_id = self._service.on_query, self._by_address, served.network.id

        def handle(octets: bytes, peer: Any, reply: Reply) -> bytes | None:
            slot = by_address.get((network_id, peer[0].partition("%")[0]), served.slot)
            return on_query(slot, octets, reply, tcp=tcp)

        return handle

    async def _listen_on_gateway(self, served: _Gateway, address: IPv4Address | IPv6Address) -> None:
        bridge = served.network.bridge.bridge_name
        try:
            pair = await self.kernel(lambda: listeners.open_on_gateway(address, bridge))
        except OSError as error:
            holder = await self.kernel(lambda: listeners.find_holder(53))
            served.warning = f"no resolver at {address}: port 53 is held by {holder or 'another program'} ({error.strerror})"
            log.warning("gateway resolver not started network=%s reason=%s", served.network.name, served.warning)
            return
        udp = UdpListener(self._loop, pair.udp, self._on_gateway_query(served, tcp=False))
        tcp = TcpListener(self._on_gateway_query(served, tcp=True))
        await tcp.listen(pair.tcp)
        served.listeners.append((udp, tcp))

    # --- zones and views ----------------------------------------------------------------------------------------

    @staticmethod
    def _entries(sandbox: Sandbox, endpoint: Endpoint, network: Network) -> tuple[Entry, ...]:
        return entries(
            owner=f"{endpoint.origin}/{sandbox.id}/{endpoint.ifname}",
            network=network.name,
            endpoint_names=(sandbox.name, *endpoint.aliases, sandbox.short_id, sandbox.hostname),
            addresses=endpoint.addresses(),
        )

    def _register(self, served: _Served, endpoints: tuple[Endpoint, ...], wanted: Mapping[str, tuple[Entry, ...]]) -> None:
        for network_id in served.registered.keys() | wanted.keys():
            old, new = served.registered.get(network_id, ()), wanted.get(network_id, ())
            gateway_slot = self._gateways.get(network_id)
            if old != new and gateway_slot is not None:
                gateway_slot.zone.swap(gateway_slot.zone.current.with_changes(old, new))
        served.registered = dict(wanted)
        for key in served.addresses:
            self._by_address.pop(key, None)
        served.addresses = [(item.network_id, str(address)) for item in endpoints for address in item.addresses()]
        for key in served.addresses:
            self._by_address[key] = served.slot

    def _watch(self, slot: ViewSlot, network_ids: Sequence[str]) -> None:
        for network_id, served in self._gateways.items():
            if network_id in network_ids:
                served.zone.watchers.add(slot)
            elif slot is not served.slot:
                served.zone.watchers.discard(slot)

    def _rebuild(self, served: _Served) -> None:
        self._swap_view(served, self._subnets(), self._host_upstreams())

    def _swap_view(self, served: _Served, subnets: _Subnets, host_upstreams: tuple[Upstream, ...]) -> None:
        endpoints = [item for item in served.endpoints if item.network_id in self._gateways]
        attachments = tuple(
            Attachment(
                self._gateways[item.network_id].zone,
                {names.from_text(alias): names.from_text(target) for target, alias in item.links},
            )
            for item in endpoints
        )
        self._watch(served.slot, [item.network_id for item in endpoints])
        upstreams, reason = self._upstreams(served, host_upstreams)
        served.slot.swap(
            View(
                attachments=attachments,
                suffix=self._suffix,
                subnets=subnets,
                upstreams=upstreams,
                no_upstream=reason,
            )
        )

    def _rebuild_all(self) -> None:
        subnets, host_upstreams = self._subnets(), self._host_upstreams()
        for served in self._served.values():
            self._swap_view(served, subnets, host_upstreams)
        for item in self._gateways.values():
            internal = item.network.internal
            item.slot.swap(
                View(
                    attachments=(Attachment(item.zone),),
                    suffix=self._suffix,
                    subnets=subnets,
                    upstreams=() if internal else host_upstreams,
                    no_upstream=f"network {item.network.name} is internal" if internal else "the host has no nameserver",
                )
            )

    def _subnets(self) -> _Subnets:
        return tuple(pool.subnet for item in self._gateways.values() for pool in item.network.pools())

    # --- upstreams and resolv.conf ------------------------------------------------------------------------------

    def own_servers(self, sandbox: Sandbox) -> tuple[str, ...]:
        """Return the nameservers given for *sandbox*, its own or the daemon's; none: the host's are used."""
        return sandbox.dns.servers or self._config.dns

    def _upstreams(self, served: _Served, host_upstreams: tuple[Upstream, ...]) -> tuple[tuple[Upstream, ...], str]:
        """Return where the sandbox may forward to now, and why nowhere if so (docker-behaviour DNS-64..DNS-69)."""
        given = self.own_servers(served.sandbox)
        if given:
            # Its own embedded resolver would be asked in circles (DNS-68).
            usable = [item for item in given if item != EMBEDDED][: limits.UPSTREAMS]
            return tuple(Upstream(item, netns=served.sandbox.id) for item in usable), f"--dns has no other server than {EMBEDDED}"
        present = [item for item in served.endpoints if item.network_id in self._networks]
        if not gateway.has_external_access(present, self._networks):
            return (), "the sandbox has no network with external access, so the host's nameservers are not asked for it"
        return host_upstreams, f"{self._host.path} names no nameserver that can be used"

    def _host_upstreams(self) -> tuple[Upstream, ...]:
        own = {address for served in self._gateways.values() for address in served.own}
        servers = [item for item in self._host.content.nameservers if item not in own and item != EMBEDDED]
        return tuple(Upstream(item) for item in dict.fromkeys(servers))[: limits.UPSTREAMS]

    async def host_changed(self) -> None:
        """The host's resolv.conf has changed: use its servers from now on and tell the sandboxes' files."""
        self._rebuild_all()
        everyone = list(self._served.values())

        def write() -> None:
            for served in everyone:
                self._write_resolv_conf(served)

        await self.kernel(write)

    def _write_resolv_conf(self, served: _Served, *, first: bool = False) -> None:
        """Bring the sandbox's resolv.conf up to date, unless the user has edited it. Blocking."""
        path, note = served.directory / "resolv.conf", served.directory / "resolv.conf.written"
        text = self.render_resolv_conf(served.sandbox)
        try:
            current, written = files.read(str(path)), files.read(str(note))
        except FileNotFoundError:
            current = written = ""
        if not first and current != written:
            if not served.edited:
                log.info("resolv.conf was edited and is left alone sandbox=%s", served.sandbox.name)
            served.edited = True
            return
        if first:
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

    def render_resolv_conf(self, sandbox: Sandbox) -> str:
        """Return the resolv.conf of *sandbox* (docker-behaviour RC-9..RC-19)."""
        host, config = self._host.content, self._config
        servers = self.own_servers(sandbox)
        search = sandbox.dns.search or config.dns_search
        options = sandbox.dns.options or config.dns_options
        settings = resolvconf.override(host, servers, search, options)
        given = (("nameservers", servers), ("search", search), ("options", options))
        return resolvconf.render(
            resolvconf.for_sandbox(settings),
            source=self._host.path,
            upstreams=[(item, not servers) for item in settings.nameservers],
            overrides=[name for name, value in given if value],
            invalid=settings.invalid,
        )

    # --- for status, resolve and metrics ------------------------------------------------------------------------

    def slot_of(self, sandbox: Sandbox) -> ViewSlot | None:
        """Return the view slot of *sandbox*."""
        served = self._served.get(sandbox.id)
        return None if served is None else served.slot

    def everything(self) -> View:
        """Return a view of all networks, in the order of their names, with the host's upstreams."""
        zones = sorted(self._gateways.values(), key=lambda item: item.network.name)
        return View(
            attachments=tuple(Attachment(item.zone) for item in zones),
            suffix=self._suffix,
            subnets=self._subnets(),
            upstreams=self._host_upstreams(),
        )

    def slots(self) -> list[ViewSlot]:
        """Return all view slots."""
        return [*(item.slot for item in self._served.values()), *(item.slot for item in self._gateways.values())]

    def warnings(self) -> list[str]:
        """Return what is not as it should be, a line each."""
        result = [f"network {item.network.name}: {item.warning}" for item in self._gateways.values() if item.warning]
        for served in self._served.values():
            if served.warning:
                result.append(f"sandbox {served.sandbox.name}: {served.warning}")
            if served.edited:
                result.append(f"sandbox {served.sandbox.name}: its resolv.conf was edited and is left alone")
        return result

    def reserved(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """Return the host's nameservers, which no new pool may cover (docker-behaviour IP-4)."""
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
