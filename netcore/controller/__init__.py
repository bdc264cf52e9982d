"""The controller: networks, sandboxes and endpoints of this host, and the only writer of them.

Each operation: locks → look-ups → plan (pure) → transaction, or with `--dry-run` the plan alone.

    collaborators ─▶ network_planner ─▶ transaction ─▶ networks, sandboxes ─▶ Controller ─▶ assembly, recovery, retry
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from netcore.cluster.cluster import Cluster, OnEvent
from netcore.controller.collaborators import Collaborators
from netcore.controller.drift.comparison import Comparison
from netcore.controller.drift.encryption import EncryptionComparison
from netcore.controller.drift.foreign_links import ForeignLinkComparison
from netcore.controller.drift.held import OpenNamespace, PinComparison, PortComparison
from netcore.controller.drift.kernel_objects import KernelObjectComparison
from netcore.controller.drift.tables import TableComparison
from netcore.controller.drift.watch import CheckOthers, DriftWatch, OnDrift
from netcore.controller.host_watcher import HostWatcher, OnHostEvent, OnHostSettled
from netcore.controller.lost_endpoints import LostEndpoints
from netcore.controller.network_planner import NetworkPlanner
from netcore.controller.networks import NetworkOperations
from netcore.controller.sandboxes import SandboxOperations
from netcore.controller.transaction import Transaction
from netcore.desired.firewall import REMOVE_TABLES
from netcore.kernel import nft
from netcore.kernel.guard import Protection
from netcore.model import IPAddress, IPNetwork, NetnsPath, Network, Sandbox, SandboxId
from netcore.plan import egress, published_ports
from netcore.plan.host_state import HostState

__all__ = ["Controller"]


class Controller:
    """The operations on what exists here, and questions about it. `assembly.assemble` makes one, `recovery.restore` fills it."""

    def __init__(self, parts: Collaborators) -> None:
        self.parts = parts
        self.settings = parts.settings
        self.state: HostState = parts.state
        self.workers = parts.workers
        self.overlays = parts.overlays
        self.set_aside = parts.set_aside
        self._host_watcher = HostWatcher(parts.host, parts.uplinks, parts.state)
        planner = NetworkPlanner(parts)
        self.transaction = Transaction(parts, planner, first_port=secrets.randbelow(10_000) + 32_768)
        self.networks = NetworkOperations(parts, planner, self.transaction)
        self.sandboxes = SandboxOperations(parts, self.transaction)
        self._lost_endpoints = LostEndpoints(parts, self.sandboxes)

    def netns_path(self, sandbox_id: SandboxId) -> NetnsPath:
        """Return the path of a sandbox's network namespace, also of one that is being made."""
        return self.parts.writer.netns_path(sandbox_id)

    def files_of(self, sandbox_id: SandboxId) -> Path:
        """Return the directory with a sandbox's hosts, resolv.conf and hostname files."""
        return Path(self.state.directory_of(sandbox_id))

    @property
    def cluster(self) -> Cluster | None:
        """The hosts that share overlay networks, None on a host that is alone."""
        return self.overlays.cluster

    async def follow_cluster(self, on_event: OnEvent) -> None:
        """Publish what is here, and follow other hosts from now on. On a host that is alone there is nothing to do."""
        if self.cluster is not None:
            self.overlays.publish_again(self.state.sandboxes.values())
            self.overlays.publish_aside(self.parts.records.kept_aside())
            give_up, is_kept = self._lost_endpoints.give_up, self.set_aside.is_incomplete
            await self.cluster.start(self.overlays.on_cluster_change, on_event, lambda lost: give_up(lost, on_event), is_kept)

    def pool_usage(self, network: Network, shared: Iterable[IPAddress] = ()) -> dict[IPNetwork, int]:
        """Return how many addresses of each subnet of *network* are in use. *shared*: those of an overlay network on all hosts."""
        return self.parts.addresses.usage(network, shared)

    async def plugin_information(self, sandbox: Sandbox) -> dict[str, dict[str, Any]]:
        """Return network id → what its plugin tells of the endpoint of *sandbox*."""
        return await self.parts.plugin_endpoints.information(self.state.endpoints[sandbox.id])

    def watch_drift(
        self,
        on_event: OnDrift,
        open_namespace: OpenNamespace,
        comparisons: Sequence[Comparison],
        check_other_firewalls: CheckOthers,
    ) -> DriftWatch:
        """Return what notices and repairs what others change of ours; it is to be started. *comparisons*: more than those made here."""
        made: list[Comparison] = [
            PinComparison(self.parts, open_namespace),
            KernelObjectComparison(self.parts),
            TableComparison(self.parts),
            PortComparison(self.parts),
            EncryptionComparison(self.parts),
            ForeignLinkComparison(self.parts),
            *comparisons,
        ]
        return DriftWatch(self.parts, made, on_event, check_other_firewalls)

    async def remove_firewall(self) -> None:
        """Remove both firewall tables; for an exit that leaves no network behind."""
        if self.settings.firewall:
            await self.workers.run(lambda: nft.apply_text(REMOVE_TABLES))

    def protection(self) -> Protection:
        """Return what closes networks while the firewall tables are gone, for the status."""
        return self.parts.guard.protection

    async def wait_for_deletes(self) -> None:
        """Return when nothing is left of what operations have removed: no link that they took down, no flow of an address that rests."""
        await self.workers.run(self.parts.executor.finish)

    def follow_host(self, on_event: OnHostEvent, on_settled: OnHostSettled | None = None) -> None:
        """Begin to follow what happens to this host's links, addresses and routes."""
        self._host_watcher.start(on_event, on_settled)

    def host_warnings(self) -> tuple[str, ...]:
        """Return what is set aside, and what of this host keeps networks from the outside, and ports from being reached."""
        cluster = self.cluster.warnings() if self.cluster is not None else ()
        local = self.state.local_addresses() if any(sandbox.ports for sandbox in self.state.sandboxes.values()) else None
        lacking = [published_ports.lacking_addresses(sandbox.name, sandbox.ports, local) for sandbox in self.state.sandboxes.values()]
        ports = (warning for warnings in lacking for warning in warnings)
        state = self.state
        with_networks = (
            (sandbox, [state.networks[endpoint.network_id] for endpoint in state.endpoints[sandbox.id]])
            for sandbox in state.sandboxes.values()
        )
        not_kept = egress.not_kept(with_networks, state.facts.egress, firewall=state.facts.firewall)
        late = self.parts.executor.deferred_deletes.warnings()
        own = (*not_kept, *self.set_aside.warnings(), *cluster, *self._host_watcher.warnings(), *self._lost_endpoints.warnings(), *late)
        return (*own, *ports)

    async def prove_writable(self) -> None:
        """Raise Unavailable if no change can be recorded now."""
        await self.parts.records.prove_writable()

    async def close(self) -> None:
        """Stop; sandboxes and their traffic are left alone."""
        await self._host_watcher.close()
        self.workers.cancel()
        self.parts.late_routes.close()
        self.parts.relays.leave()
        await self.overlays.close()
        await self.parts.plugin_client.close()
        await self.workers.run(self.parts.executor.close)
        await self.workers.close()
        self.parts.guard.close()
