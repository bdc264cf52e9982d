"""The controller: networks, sandboxes and endpoints of this host, and the only writer of them.

Each operation: locks → look-ups → plan (pure) → transaction, or with `--dry-run` the plan alone.

    collaborators ─▶ network_planner ─▶ transaction ─▶ networks, sandboxes ─▶ Controller ─▶ recovery
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from netcore import drivers
from netcore.cluster.cluster import Cluster
from netcore.controller.address_sources import AddressSources
from netcore.controller.collaborators import Collaborators
from netcore.controller.host_look import HostLook
from netcore.controller.locks import KeyedLocks
from netcore.controller.name_publisher import NamePublisher
from netcore.controller.network_planner import NetworkPlanner
from netcore.controller.networks import NetworkOperations
from netcore.controller.overlays import Overlays
from netcore.controller.plugin_endpoints import PluginEndpoints
from netcore.controller.sandboxes import SandboxOperations
from netcore.controller.settings import Settings
from netcore.controller.state_writer import StateWriter
from netcore.controller.transaction import Transaction
from netcore.controller.tunnel_encryption import TunnelEncryption
from netcore.controller.workers import Workers
from netcore.desired.firewall import render_firewall
from netcore.kernel import host, nft
from netcore.kernel.apply import Executor
from netcore.model import IPAddress, IPNetwork, NetnsPath, Network, Sandbox, SandboxId
from netcore.plan import published_ports
from netcore.plan.host_state import HostState
from netcore.plugins.ipam_driver import IpamDriver
from netcore.plugins.network_driver import NetworkDriver
from netcore.plugins.transport import Transport
from netcore.relay.host_ports import HostPorts
from netcore.relay.port_proxy import PortProxies
from netcore.store.records import Records

__all__ = ["Controller"]


class Controller:
    """Puts the collaborators together and hands out the operations. `recovery.restore` brings it to the state of the store.

    *reserved*: the host's nameservers, which no new pool may cover; *clock*: seconds since the epoch.
    """

    def __init__(
        self,
        settings: Settings,
        records: Records,
        names: NamePublisher,
        *,
        reserved: Callable[[], Sequence[IPAddress]],
        clock: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.workers = Workers()
        facts = drivers.Facts(uplinks=(), firewall=settings.firewall, vtep=settings.vtep)
        writer = StateWriter(settings.run_directory, facts)
        self.state: HostState = writer.state
        self._plugins = Transport()
        locks, executor = KeyedLocks(), Executor(self.netns_path, self.workers.later)
        host_look = HostLook(settings, writer, self.workers, reserved=reserved, clock=clock)
        self.overlays = Overlays(
            encryption=TunnelEncryption(self.state, self.workers, executor, locks, settings.vtep),
            writer=writer,
            records=records,
            names=names,
            workers=self.workers,
            executor=executor,
            host=host_look,
            locks=locks,
        )
        network_plugins, ipam_plugins, host_ports = NetworkDriver(self._plugins), IpamDriver(self._plugins), HostPorts()
        self.parts = Collaborators(
            settings=settings,
            writer=writer,
            records=records,
            names=names,
            workers=self.workers,
            executor=executor,
            host=host_look,
            locks=locks,
            addresses=AddressSources(self.state, records, ipam_plugins, lambda: self.overlays.cluster, clock),
            host_ports=host_ports,
            relays=PortProxies(host_ports, self._is_internal_client),
            network_plugins=network_plugins,
            ipam_plugins=ipam_plugins,
            plugin_endpoints=PluginEndpoints(self.state, network_plugins),
            overlays=self.overlays,
            clock=clock,
        )
        planner = NetworkPlanner(self.parts)
        self.transaction = Transaction(self.parts, planner, first_port=secrets.randbelow(10_000) + 32_768)
        self.networks = NetworkOperations(self.parts, planner, self.transaction)
        self.sandboxes = SandboxOperations(self.parts, self.transaction)

    def _is_internal_client(self, address: IPAddress, scope: int) -> bool:
        return published_ports.is_prisoner(self.state.networks.values(), address, host.link_name(scope))

    def netns_path(self, sandbox_id: SandboxId) -> NetnsPath:
        """Return the path of a sandbox's network namespace, also of one that is being made."""
        return self.transaction.netns_path(sandbox_id)

    def files_of(self, sandbox_id: SandboxId) -> Path:
        """Return the directory with a sandbox's hosts, resolv.conf and hostname files."""
        return Path(self.state.directory_of(sandbox_id))

    @property
    def cluster(self) -> Cluster | None:
        """The hosts that share overlay networks, None on a host that is alone."""
        return self.overlays.cluster

    def pool_usage(self, network: Network) -> dict[IPNetwork, int]:
        """Return how many addresses of each subnet of *network* are in use."""
        return self.parts.addresses.usage(network)

    async def plugin_information(self, sandbox: Sandbox) -> dict[str, dict[str, Any]]:
        """Return network id → what its plugin tells of the endpoint of *sandbox*."""
        return await self.parts.plugin_endpoints.information(self.state.endpoints[sandbox.id])

    async def repair_firewall(self) -> None:
        """Write the firewall tables anew from the state, after somebody flushed them; no operation is under way meanwhile."""
        sandboxes, networks = self.state.sandboxes, self.state.networks
        keys = ["networks", *(f"sandbox:{identity}" for identity in sandboxes), *(f"network:{identity}" for identity in networks)]
        async with self.parts.locks.hold(keys):
            text = render_firewall(self.state.all_objects())
            await self.workers.run(lambda: nft.apply_text(text))

    async def close(self) -> None:
        """Stop; sandboxes and their traffic are left alone."""
        self.workers.cancel()
        self.parts.relays.close()
        await self.overlays.close()
        await self._plugins.close()
        await self.workers.close()
