"""Puts the controller of a real host together: which collaborators there are, and what each is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from netcore.controller import Controller
from netcore.controller.address_sources import AddressSources
from netcore.controller.collaborators import Collaborators
from netcore.controller.host_look import HostLook
from netcore.controller.late_routes import LateRoutes
from netcore.controller.locks import KeyedLocks
from netcore.controller.name_publisher import NamePublisher
from netcore.controller.overlays import Overlays
from netcore.controller.plugin_endpoints import PluginEndpoints
from netcore.controller.sandbox_files import SandboxFiles
from netcore.controller.set_aside import SetAside
from netcore.controller.settings import Settings
from netcore.controller.spare_namespaces import NoSpareParts, SpareNamespaces, SpareParts
from netcore.controller.state_writer import StateWriter
from netcore.controller.tunnel_encryption import TunnelEncryption
from netcore.controller.uplinks import Uplinks
from netcore.controller.workers import Workers
from netcore.drivers.facts import Facts
from netcore.edge.connection import Edge
from netcore.edge.routes import local_addresses
from netcore.keeper.kept_sockets import KeptSockets
from netcore.kernel import host, netns
from netcore.kernel.apply import Executor
from netcore.kernel.guard import Guard
from netcore.kernel.named_paths import NamedPaths
from netcore.kernel.netlink import NETFILTER, is_of
from netcore.kernel.socket_watch import SocketWatch
from netcore.model import IPAddress
from netcore.plan import published_ports
from netcore.plan.drift import PORTS, Concern, Repairs
from netcore.plan.host_state import HostState
from netcore.plugins.client import PluginClient
from netcore.plugins.ipam_driver import IpamDriver
from netcore.plugins.network_driver import NetworkDriver
from netcore.relay.host_ports import HostPorts
from netcore.relay.port_proxy import PortProxies
from netcore.store.records import Records


def assemble(
    settings: Settings,
    records: Records,
    names: NamePublisher,
    *,
    reserved: Callable[[], Sequence[IPAddress]],
    clock: Callable[[], float],
    kept: KeptSockets | None = None,
    edge: Edge | None = None,
    spare_parts: SpareParts | None = None,
) -> Controller:
    """Return the controller of this host, still empty.

    *reserved*: the host's name servers, which no new pool may cover; *clock*: seconds since the epoch; *kept*: what outlives the
    daemon, None: nothing does; *edge*: the way outside, None for the host's own daemon; *spare_parts*: what spare namespaces have.
    """
    kept = kept or KeptSockets("", 0)
    workers, locks, plugins, guard = Workers(), KeyedLocks(), PluginClient(), _guard(kept)
    sockets: SocketWatch[Concern] = SocketWatch()
    host_ports = HostPorts(kept, lambda sock: sockets.follow(sock, PORTS), edge)
    writer = StateWriter(settings.run_directory, _facts(settings))
    state = writer.state
    executor = Executor(writer.netns_path, workers.later, guard)
    host_look = HostLook(
        settings,
        writer,
        workers,
        reserved=reserved,
        clock=clock,
        on_addresses=lambda addresses: names.host_addresses(addresses),
        outside=tuple if edge is None else lambda: local_addresses(edge),
    )
    network_plugins, ipam_plugins = NetworkDriver(plugins), IpamDriver(plugins)
    repairs, set_aside = Repairs(), SetAside()
    uplinks = Uplinks(repairs=repairs, writer=writer, records=records, workers=workers, executor=executor, locks=locks, clock=clock)
    overlays = Overlays(
        encryption=TunnelEncryption(state, workers, executor, locks, settings.vtep),
        writer=writer,
        records=records,
        names=names,
        workers=workers,
        executor=executor,
        host=host_look,
        locks=locks,
        uplinks=uplinks,
        set_aside=set_aside,
    )

    return Controller(
        Collaborators(
            settings=settings,
            writer=writer,
            records=records,
            names=names,
            workers=workers,
            executor=executor,
            guard=guard,
            host=host_look,
            files=_files(settings, workers, spare_parts),
            locks=locks,
            addresses=AddressSources(state, records, ipam_plugins, lambda: overlays.cluster, clock),
            host_ports=host_ports,
            sockets=sockets,
            relays=_relays(host_ports, state, kept, edge),
            late_routes=LateRoutes(state, workers, executor, locks, writer.netns_path),
            plugin_client=plugins,
            network_plugins=network_plugins,
            ipam_plugins=ipam_plugins,
            plugin_endpoints=PluginEndpoints(state, network_plugins),
            overlays=overlays,
            uplinks=uplinks,
            repairs=repairs,
            set_aside=set_aside,
            clock=clock,
        )
    )


def _relays(host_ports: HostPorts, state: HostState, kept: KeptSockets, edge: Edge | None) -> PortProxies:
    def is_internal_client(address: IPAddress, scope: int) -> bool:
        # Whoever comes from outside of a nest is on none of its networks.
        return edge is None and published_ports.is_internal_client(state.networks.values(), address, host.link_name(scope) or None)

    return PortProxies(host_ports, is_internal_client, kept, keeps_source=edge is not None)


def _facts(settings: Settings) -> Facts:
    """Return what is known of the host before it has been looked at."""
    return Facts(
        uplinks=(),
        firewall=settings.firewall,
        vtep=settings.vtep,
        resolver_at_gateways=settings.resolver_at_gateways,
        egress=settings.egress,
    )


_GUARD = "guard"
"""What the socket that owns the guard table is kept by."""


def _files(settings: Settings, workers: Workers, spare_parts: SpareParts | None) -> SandboxFiles:
    spares = SpareNamespaces(workers.later, spare_parts or NoSpareParts())
    return SandboxFiles(workers, NamedPaths(settings.run_directory, settings.etc_netns_directory), spares)


def _guard(kept: KeptSockets) -> Guard:
    """Return the guard, whose socket *kept* has as long as there is a table: so that others can't flush it when no daemon runs."""

    def keep(descriptor: int | None) -> None:
        if descriptor is None:
            kept.drop(_GUARD)
        else:
            kept.keep({_GUARD: descriptor}, lasting=True)

    guard = Guard(keep=keep)
    left = kept.take(_GUARD, lambda sock: is_of(sock, NETFILTER) and netns.is_own_socket(sock), lasting=True)
    if left is not None:
        guard.adopt(left.detach())
    return guard
