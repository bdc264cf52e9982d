"""Operations on networks: create and remove."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from netcore.controller.collaborators import Collaborators
from netcore.controller.network_planner import NetworkPlanner
from netcore.controller.plugin_endpoints import plugin_of
from netcore.controller.transaction import Transaction
from netcore.controller.undo import all_or_nothing
from netcore.desired.diff import diff
from netcore.errors import Conflict, NetcoreError
from netcore.model import Endpoint, Network, NetworkRequest, Sandbox
from netcore.plan import network as plan_network
from netcore.plan.plans import Outcome
from netcore.store.protocol import CompareFailed

_OVERLAY_ATTEMPTS, _OVERLAY_PAUSE = 5, 0.2


class NetworkOperations:
    """Each operation is planned and carried out under the lock of all networks."""

    def __init__(self, parts: Collaborators, planner: NetworkPlanner, transaction: Transaction) -> None:
        self._parts = parts
        self._state = parts.state
        self._planner = planner
        self._transaction = transaction

    async def create(self, request: NetworkRequest, *, dry_run: bool = False) -> tuple[Network, Outcome]:
        """Create a network; it is usable when this returns."""
        if dry_run:
            async with self._parts.locks.hold(["networks"]):
                if request.driver == "overlay":
                    await self._parts.overlays.catch_up()
                return await self._planner.preview(request)
        if request.driver == "overlay":
            return await self._create_overlay(request)
        async with self._parts.locks.hold(["networks"]), all_or_nothing() as undo:
            plan = await self._planner.plan(request, undo)
            steps = await self._transaction.create_network(plan, undo)
            return plan.network, Outcome(steps, plan.warnings)

    async def _create_overlay(self, request: NetworkRequest) -> tuple[Network, Outcome]:
        """Make a network known to all hosts. It is made on a host when the first endpoint there is."""
        for left in reversed(range(_OVERLAY_ATTEMPTS)):
            async with self._parts.locks.hold(["networks"]), all_or_nothing() as undo:
                await self._parts.overlays.catch_up()
                plan = await self._planner.plan(request, undo)
                network = plan.network
                try:
                    await self._parts.overlays.require_cluster().create_network(network)
                except CompareFailed:
                    # Another host made one at the same time: what is free is another thing now.
                    if not left:
                        raise
                else:
                    self._parts.writer.put_network(network)
                    return network, Outcome((), plan.warnings)
            await asyncio.sleep(_OVERLAY_PAUSE)
        raise AssertionError("unreachable")

    async def remove(self, reference: str, *, dry_run: bool = False) -> Outcome:
        """Remove a network that has no endpoints."""
        if reference in plan_network.PREDEFINED or not self._state.find_network(reference).has_names:
            raise Conflict("network", reference, "is a pre-defined network and cannot be removed")
        return await self._remove(self._state.find_network(reference), dry_run=dry_run)

    async def remove_unused_bridges(self) -> None:
        """Remove the predefined networks that nobody is on; they are made again on first need, as configured then."""
        networks = [*self._state.networks.values()]
        for network in [network for network in networks if not network.has_names and not self._state.members(network.id)]:
            await self._remove(network)

    async def _remove(self, network: Network, *, dry_run: bool = False) -> Outcome:
        async with self._parts.locks.hold(["networks", f"network:{network.id}"]):
            network = self._state.find_network(network.id)
            members = self._state.members(network.id)
            if members:
                listed = ", ".join(f'name:"{sandbox.name}" id:"{sandbox.short_id}"' for sandbox, _ in members)
                raise Conflict("network", network.name, f"has active endpoints ({listed}); {self._remedy(members)}")
            if network.is_overlay:
                if not dry_run:
                    await self._parts.overlays.require_cluster().remove_network(network)
                    self._parts.writer.drop_network(network.id)
                return Outcome()
            steps = diff(self._state.objects_only_of(network), ())
            if not dry_run:
                await self._transaction.remove_network(network, steps)
            return Outcome(steps)

    def _remedy(self, members: Sequence[tuple[Sandbox, Endpoint]]) -> str:
        """Return what makes a network with these *members* free; of what is left of a sandbox, who shares its stack must go."""
        users = [user for sandbox, _ in members if sandbox.ended for user in self._state.stack_users(sandbox.id)]
        remove = f"remove {', '.join(users)}, which {'share' if len(users) > 1 else 'shares'} the network stack of one that has ended"
        others = any(not sandbox.ended for sandbox, _ in members)
        return f"{'disconnect them, and ' if others else ''}{remove}, first" if users else "disconnect them first"

    async def undo_by_plugins(self, network: Network) -> None:
        """Take back what plugins made for a network whose creation a crash cut short, as far as they let us."""
        plugin = plugin_of(network)
        if plugin is not None:
            with contextlib.suppress(NetcoreError):
                await self._parts.network_plugins.delete_network(plugin, network)
        for pool in network.pools if network.ipam is not None else ():
            assert network.ipam is not None
            await self._parts.ipam_plugins.release_pool(network.ipam, pool)
