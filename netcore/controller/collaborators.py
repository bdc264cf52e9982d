"""What the operations of the controller work with. Each is handed in once, at the start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from netcore.controller.address_sources import AddressSources
from netcore.controller.host_look import HostLook
from netcore.controller.late_routes import LateRoutes
from netcore.controller.locks import KeyedLocks
from netcore.controller.name_publisher import NamePublisher
from netcore.controller.overlays import Overlays
from netcore.controller.plugin_endpoints import PluginEndpoints
from netcore.controller.sandbox_files import SandboxFiles
from netcore.controller.set_aside import SetAside
from netcore.controller.settings import Settings
from netcore.controller.state_writer import StateWriter
from netcore.controller.uplinks import Uplinks
from netcore.controller.workers import Workers
from netcore.kernel.apply import Executor
from netcore.kernel.guard import Guard
from netcore.kernel.socket_watch import SocketWatch
from netcore.plan.drift import Concern, Repairs
from netcore.plan.host_state import HostState
from netcore.plugins.client import PluginClient
from netcore.plugins.ipam_driver import IpamDriver
from netcore.plugins.network_driver import NetworkDriver
from netcore.relay.host_ports import HostPorts
from netcore.relay.port_proxy import PortProxies
from netcore.store.records import Records


@dataclass(frozen=True, slots=True, kw_only=True)
class Collaborators:
    """*sockets*: those that others may destroy, by what they are for. *clock*: seconds since the epoch."""

    settings: Settings
    writer: StateWriter
    records: Records
    names: NamePublisher
    workers: Workers
    executor: Executor
    guard: Guard
    host: HostLook
    files: SandboxFiles
    locks: KeyedLocks
    addresses: AddressSources
    host_ports: HostPorts
    sockets: SocketWatch[Concern]
    relays: PortProxies
    late_routes: LateRoutes
    plugin_client: PluginClient
    network_plugins: NetworkDriver
    ipam_plugins: IpamDriver
    plugin_endpoints: PluginEndpoints
    overlays: Overlays
    uplinks: Uplinks
    repairs: Repairs
    set_aside: SetAside
    clock: Callable[[], float]

    @property
    def state(self) -> HostState:
        """What exists on this host, to read."""
        return self.writer.state
