"""Carries plans out, and is the only place that does.

What is made goes in this order, and is taken back in the opposite one when any step fails:

    claim addresses and ports → record the intent → namespace and resolver → plugins → kernel → plugins' way outside
    → record the result, and meanwhile state → relays → names

Other hosts are told last: what fails there is a warning, because they learn of it with the next session. What is removed
goes the other way round, and never stops at a failure: everything is tried, and what failed is reported at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from netcore.controller.collaborators import Collaborators
from netcore.controller.network_planner import NetworkPlanner
from netcore.controller.plugin_endpoints import plugin_of
from netcore.controller.sandbox_ports import SandboxPorts
from netcore.controller.undo import Undo, all_or_nothing, meanwhile
from netcore.desired.diff import Step, diff
from netcore.desired.objects import Route
from netcore.errors import NetcoreError, TeardownFailed
from netcore.model import (
    GATEWAY_BRIDGE,
    Endpoint,
    EndpointRequest,
    IPAddress,
    Network,
    NetworkId,
    NetworkRequest,
    Sandbox,
)
from netcore.plan import plans, published_ports
from netcore.plan.host_state import SandboxState
from netcore.plan.plans import AddressClaim, DisconnectPlan, NetworkPlan, Outcome, SandboxPlan
from netcore.plan.port_allocation import FindBusy
from netcore.plan.published_ports import PortPlan
from netcore.relay.host_ports import Claim
from netcore.store.records import Quarantined

_GATEWAY_BRIDGE = NetworkRequest(name=GATEWAY_BRIDGE, options=(("icc", "false"),), predefined=True)


class _Claimed(NamedTuple):
    """What an operation has taken for itself: addresses and ports, with which the sandbox will be as in *after*."""

    ports: Claim
    planned: PortPlan
    after: SandboxState


class Transaction:
    """See the module. Its callers hold the locks of all sandboxes and networks that a plan touches."""

    def __init__(self, parts: Collaborators, planner: NetworkPlanner, first_port: int) -> None:
        self._parts = parts
        self._planner = planner
        self._state = parts.state
        self._ports = SandboxPorts(parts, first_port)

    # --- networks -----------------------------------------------------------------------------------------------

    async def create_network(self, plan: NetworkPlan, undo: Undo) -> tuple[Step, ...]:
        """Make a network whose pools have been claimed already; return what the kernel was asked for."""
        parts, network, steps = self._parts, plan.network, plan.steps()
        plugin = plugin_of(network)
        await parts.records.put_network(network, pending=True)
        undo.push(lambda: parts.records.drop_network(network.id))
        if plugin is not None:
            await parts.network_plugins.create_network(plugin, network)
            undo.push(lambda: parts.network_plugins.delete_network(plugin, network))
        undo.push(lambda: parts.uplinks.release(network))
        await parts.uplinks.need(network)
        with parts.host.expecting(network):
            await self._apply(steps, undo)
            undo.push(lambda: parts.names.network_down(network))
            async with meanwhile(parts.records.put_network(network)):
                await parts.names.network_up(network)
            # Only now: nobody may use what is not recorded.
            parts.writer.put_network(network)
        parts.addresses.adopt(network, is_new=True)
        undo.push(lambda: self._forget_network(network))
        return steps

    async def _forget_network(self, network: Network) -> None:
        self._parts.writer.drop_network(network.id)
        self._parts.addresses.drop(network)

    async def remove_network(self, network: Network, steps: Sequence[Step]) -> None:
        """Remove a network that has no endpoints."""
        parts = self._parts
        plugin = plugin_of(network)
        await parts.records.put_network(network, pending=True)
        if plugin is not None:
            try:
                # Nothing of it is ours: while its plugin refuses, or is not there, the network stays.
                await parts.network_plugins.delete_network(plugin, network)
            except BaseException:
                await parts.records.put_network_back(network)
                raise
        await parts.names.network_down(network)
        try:
            with parts.host.expecting(network):
                await self._forget_network(network)
                await parts.workers.run(lambda: parts.executor.remove(steps, f"network {network.name}"))
        finally:
            await parts.records.drop_network(network.id)
            await parts.uplinks.release(network)
            if network.ipam is not None:
                # Nobody gives it back again then, when somebody else may have it.
                await parts.records.writes.write_late()
                for pool in network.pools:
                    await parts.ipam_plugins.release_pool(network.ipam, pool)

    # --- sandboxes and endpoints --------------------------------------------------------------------------------

    async def preview(self, plan: SandboxPlan) -> Outcome:
        """Return what `change_sandbox` would do. Nothing is taken, made, recorded or told."""
        peeked = {claim: await self._parts.addresses.peek(claim) for claim in plan.claims()}
        addresses = {claim: address for claim, address in peeked.items() if address is not None}
        unknown = tuple(claim for claim in plan.claims() if claim not in addresses)
        endpoints = (*plan.present, *plans.complete_endpoints(plan, addresses))
        ports = await self._ports.plan(plan.sandbox, endpoints, self._parts.host_ports.probe)
        after = plans.with_ports(self._state, plan.sandbox, endpoints, ports.mappings)
        inactive = [draft.network for draft in plan.drafts if draft.network.is_overlay and draft.network.id not in self._state.remotes]
        networks = [step for network in inactive for step in diff((), self._state.objects_only_of(network))]
        steps: tuple[AddressClaim | Step, ...] = (*unknown, *networks, *plans.change_steps(self._state, plan.before, after))
        return Outcome(steps, (*plan.warnings, *ports.warnings, *plans.host_gateway_warnings(self._state, after)))

    async def change_sandbox(self, plan: SandboxPlan) -> tuple[Sandbox, Outcome]:
        """Make a sandbox, or connect one to more networks; all or nothing."""
        before, parts = plan.before, self._parts
        try:
            async with all_or_nothing() as undo:
                claimed = await self._claim(plan, undo)
                await self._record_intent(plan, claimed.after, undo)
                if before is None:
                    await self._make_sandbox(plan, undo)
                after, steps, warnings = await self._make_endpoints(plan, claimed, undo)
                await self._commit(before, after, undo)
        finally:
            parts.writer.forget_namespace(plan.sandbox)
        if before is not None:
            await self._ports.free(before.sandbox, after.sandbox)
        there = {endpoint.id for endpoint in after.endpoints}
        resting = await parts.addresses.release([endpoint for endpoint in plan.present if endpoint.id not in there])
        if resting:
            await parts.records.put_resting(resting)
        present = {endpoint.network_id for endpoint in plan.present}
        told = await parts.overlays.publish(after.sandbox, [made for made in after.endpoints if made.network_id not in present])
        closed = plans.host_gateway_warnings(self._state, after)
        return after.sandbox, Outcome(steps, (*plan.warnings, *warnings, *closed, *told))

    async def _make_sandbox(self, plan: SandboxPlan, undo: Undo) -> None:
        parts, sandbox = self._parts, plan.sandbox
        parts.writer.note_namespace(sandbox)
        directory = self._state.directory_of(sandbox.id)
        # A path that is pinned already is somebody else's, so it is unpinned only where it was pinned here.
        undo.push(lambda: parts.files.remove(sandbox, directory))
        shared = self._state.netns_path(sandbox.shared_with) if sandbox.shared_with is not None else None
        others = self._state.sandboxes.values() if plan.adopted is not None else ()
        taken = {other.name: other.netns_path for other in others}
        await parts.files.make(sandbox, directory, adopted=plan.adopted, shared=shared, taken=taken)
        undo.push(lambda: parts.files.unpin(sandbox))
        undo.push(lambda: parts.names.close(sandbox))
        await parts.names.open(sandbox)

    async def _claim(self, plan: SandboxPlan, undo: Undo) -> _Claimed:
        parts, sandbox = self._parts, plan.sandbox
        networks = [draft.network for draft in plan.drafts]
        undo.push(lambda: parts.overlays.deactivate_unused(network.id for network in networks))
        for network in networks:
            if network.is_overlay:
                await parts.overlays.activate(network)
        made = plans.complete_endpoints(plan, await self._claim_addresses(plan.claims(), undo))
        claim = self._ports.begin(undo)
        ports = await self._ports.plan(sandbox, (*plan.present, *made), claim.try_hold)
        return _Claimed(claim, ports, plans.with_ports(self._state, sandbox, (*plan.present, *made), ports.mappings))

    async def _make_endpoints(
        self, plan: SandboxPlan, claimed: _Claimed, undo: Undo
    ) -> tuple[SandboxState, tuple[Step, ...], tuple[str, ...]]:
        parts, sandbox = self._parts, plan.sandbox
        claim, ports, after = claimed
        made_by_plugins = await self._make_by_plugins(plan, after.endpoints, undo)
        if made_by_plugins:
            endpoints: Sequence[Endpoint] = [made_by_plugins.get(endpoint.network_id, endpoint) for endpoint in after.endpoints]
            endpoints = await self._settle_gateway_bridge(plan, endpoints, undo)
            # What has been taken already stays taken, also what the endpoints did not need before.
            known = replace(sandbox, ports=(*sandbox.ports, *ports.fresh(sandbox)))
            ports = await self._ports.plan(known, endpoints, claim.try_hold)
            after = plans.with_ports(self._state, sandbox, endpoints, ports.mappings)
            await parts.records.put_endpoints(sandbox, after.endpoints, pending=True)
        else:
            endpoints = plans.without_idle_gateway_bridge(after.endpoints, self._state.networks)
            if len(endpoints) != len(after.endpoints):
                after = plans.with_ports(self._state, sandbox, endpoints, ports.mappings)
        parts.names.answer_waiting()
        steps = plans.change_steps(self._state, plan.before, after)
        parts.names.answer_waiting()
        parts.names.expect(sandbox, after.endpoints, self._state.networks)
        made = [endpoint for endpoint in after.endpoints if endpoint.network_id not in {one.network_id for one in plan.present}]
        await self._apply(plans.without_needless_announcements(self._state, steps, made, parts.addresses.local.is_fresh), undo)
        undo.push(lambda: parts.plugin_endpoints.update_external_connectivity(sandbox, after.endpoints, plan.present))
        await parts.plugin_endpoints.update_external_connectivity(sandbox, plan.present, after.endpoints)
        await self._ports.keep(claim, sandbox, ports, undo)
        return after, steps, ports.warnings

    async def _claim_addresses(self, claims: Sequence[AddressClaim], undo: Undo) -> dict[AddressClaim, IPAddress]:
        taken: dict[AddressClaim, IPAddress] = {}

        async def give_back() -> None:
            for claim, address in taken.items():
                await self._parts.addresses.give_back(claim.network, address)

        undo.push(give_back)
        for claim in claims:
            taken[claim] = await self._parts.addresses.take(claim)
        return taken

    async def _record_intent(self, plan: SandboxPlan, after: SandboxState, undo: Undo) -> None:
        records, before = self._parts.records, plan.before
        if before is None:
            undo.push(lambda: records.drop_sandbox(plan.sandbox.id))
            await records.put_all(plan.sandbox, after.endpoints, pending=True)
            return
        undo.push(lambda: records.put_back(before.sandbox, before.endpoints))
        if plan.sandbox.own_routes != before.sandbox.own_routes:
            # After a crash they come back from here.
            await records.put_sandbox(replace(before.sandbox, own_routes=plan.sandbox.own_routes))
        await records.put_endpoints(plan.sandbox, after.endpoints, pending=True)

    async def _make_by_plugins(self, plan: SandboxPlan, endpoints: Sequence[Endpoint], undo: Undo) -> dict[NetworkId, Endpoint]:
        """Let plugins make the new endpoints that are theirs; return those by network id, with what was answered."""
        made: dict[NetworkId, Endpoint] = {}
        plugins = self._parts.plugin_endpoints
        by_network = {endpoint.network_id: endpoint for endpoint in endpoints}
        undo.push(lambda: plugins.undo([*made.values()]))
        theirs = [draft for draft in plan.drafts if plugins.plugin(by_network[draft.network.id]) is not None]
        used = set(plan.used_ifnames) | {
            endpoint.ifname for endpoint in endpoints if endpoint.network_id not in {draft.network.id for draft in theirs}
        }
        for draft in theirs:
            endpoint = await plugins.make(plan.sandbox, by_network[draft.network.id], draft, used)
            made[draft.network.id] = endpoint
            used.add(endpoint.ifname)
        return made

    async def _settle_gateway_bridge(self, plan: SandboxPlan, endpoints: Sequence[Endpoint], undo: Undo) -> list[Endpoint]:
        """Return *endpoints* with one on the gateway bridge if it is needed, without it if not (GW-9)."""
        if not plans.lacks_gateway_bridge(endpoints, self._state.networks):
            return plans.without_idle_gateway_bridge(endpoints, self._state.networks)
        bridge = self._state.gateway_bridge()
        if bridge is None:
            network_plan = await self._planner.plan(_GATEWAY_BRIDGE, undo)
            await self.create_network(network_plan, undo)
            bridge = network_plan.network
        lookups = plans.Lookups(used_ifnames=plan.used_ifnames | {endpoint.ifname for endpoint in endpoints})
        more = plans.plan_connect(
            self._state, SandboxState(plan.sandbox, tuple(endpoints)), plan.sandbox, [EndpointRequest(network=bridge.id)], lookups
        )
        return [*endpoints, *plans.complete_endpoints(more, await self._claim_addresses(more.claims(), undo))]

    async def connect_gateway_bridge(self, before: SandboxState) -> None:
        """Connect a sandbox to the gateway bridge if it has no other way outside, and needs one from us (GW-9)."""
        if not plans.lacks_gateway_bridge(before.endpoints, self._state.networks):
            return
        async with all_or_nothing() as undo:
            lookups = await self._parts.host.lookups(before.sandbox.netns_path, before, [])
            plan = SandboxPlan(before=before, sandbox=before.sandbox, used_ifnames=lookups.used_ifnames)
            endpoints = await self._settle_gateway_bridge(plan, before.endpoints, undo)
            # The operation that this belongs to is done, so a port that is taken can't stop it.
            await self._publish(before, before.sandbox, endpoints, undo, strict=False)

    async def _publish(
        self, before: SandboxState, sandbox: Sandbox, endpoints: Sequence[Endpoint], undo: Undo, *, strict: bool
    ) -> tuple[SandboxState, PortPlan]:
        """Have what was *before* be *sandbox* with *endpoints*, and publish its ports by these. *strict*: see `SandboxPorts.plan`."""
        claim = self._ports.begin(undo)
        ports = await self._ports.plan(sandbox, endpoints, claim.try_hold, strict=strict)
        after = plans.with_ports(self._state, sandbox, endpoints, ports.mappings)
        await self._record_intent(SandboxPlan(before=before, sandbox=sandbox), after, undo)
        self._parts.names.expect(after.sandbox, after.endpoints, self._state.networks)
        await self._apply(plans.change_steps(self._state, before, after), undo)
        await self._ports.keep(claim, before.sandbox, ports, undo)
        await self._commit(before, after, undo)
        return after, ports

    async def _apply(self, steps: Sequence[Step], undo: Undo) -> None:
        """Carry *steps* out in the kernel; the executor itself takes back what it did when one of them fails."""
        parts = self._parts
        await parts.workers.run(lambda: parts.executor.apply(steps))
        undo.push(lambda: parts.workers.run(lambda: parts.executor.take_back(steps)))

    async def _commit(self, before: SandboxState | None, after: SandboxState, undo: Undo) -> None:
        """Record the result, and let everybody on this host know it."""

        async def restore() -> None:
            if before is None:
                self._parts.writer.drop_sandbox(after.sandbox.id)
                self._parts.relays.settle(after.sandbox.id, {})
            else:
                await self.make_known(before)

        async with meanwhile(self._parts.records.put_all(after.sandbox, after.endpoints)):
            undo.push(restore)
            await self.make_known(after)

    async def make_known(self, after: SandboxState) -> None:
        """Let everybody on this host know what a sandbox is like now."""
        parts, sandbox = self._parts, after.sandbox
        parts.writer.put_sandbox(after)
        parts.relays.settle(sandbox.id, published_ports.proxies(after.endpoints, everything=bool(parts.settings.edge)))
        parts.names.answer_waiting()
        await parts.names.update(sandbox, self._state.in_gateway_order(after.endpoints), self._state.networks)
        parts.names.answer_waiting()

    async def change_facts(self, changes: Sequence[tuple[SandboxState, SandboxState]]) -> None:
        """Replace facts about sandboxes that touch no kernel object: a name (DNS-47) and the links to it, an owner.

        *changes*: (before, after); other hosts are told of the first, and it may have another name.
        """
        parts = self._parts
        before, after = ([pair[at] for pair in changes] for at in (0, 1))
        first, renamed = before[0].sandbox, after[0].sandbox
        pins = (first.netns_path, renamed.netns_path)
        async with all_or_nothing() as undo:
            if renamed.name != first.name:
                await parts.records.put_pins(pins)
                undo.push(lambda: parts.records.drop_pins(pins))
                await parts.files.rename(first, renamed, self._state.directory_of(first.id))
                undo.push(lambda: parts.files.forget_name(renamed, first, self._state.directory_of(first.id)))
            undo.push(lambda: parts.records.put_several((state.sandbox, state.endpoints) for state in before))
            await parts.records.put_several((state.sandbox, state.endpoints) for state in after)
            undo.push(lambda: self._make_all_known(before))
            await self._make_all_known(after)
        if renamed.name != first.name:
            await parts.files.forget_name(first, renamed, self._state.directory_of(first.id))
            await parts.records.drop_pins(pins)
        await parts.overlays.publish(after[0].sandbox, after[0].endpoints)

    async def change_egress(self, before: SandboxState, after: SandboxState, steps: Sequence[Step]) -> None:
        """Give a sandbox other egress rules.

        First nothing more is opened by the old ones, then the kernel follows: so what goes on is what the new ones allow.
        """
        parts = self._parts
        async with all_or_nothing() as undo:
            undo.push(lambda: parts.records.put_all(before.sandbox, before.endpoints))
            await parts.records.put_all(after.sandbox, after.endpoints)
            undo.push(lambda: self.make_known(before))
            await self.make_known(after)
            await self._apply(steps, undo)

    async def _make_all_known(self, states: Sequence[SandboxState]) -> None:
        for state in states:
            await self.make_known(state)

    # --- what goes ----------------------------------------------------------------------------------------------

    async def preview_disconnect(self, before: SandboxState, network: Network) -> Outcome:
        """Return what `disconnect` would do. Nothing is taken, removed, recorded or told."""
        plan = await self._plan_disconnect(before, network, self._parts.host_ports.probe)
        return Outcome(plan.steps, plan.warnings)

    async def _plan_disconnect(self, before: SandboxState, network: Network, find_busy: FindBusy) -> DisconnectPlan:
        left = plans.left_without(self._state, before, network)
        ports = await self._ports.plan(before.sandbox, left, find_busy, strict=False)
        self._parts.names.answer_waiting()
        plan = plans.plan_disconnect(self._state, before, network, left, ports)
        self._parts.names.answer_waiting()
        return plan

    async def disconnect(self, before: SandboxState, network: Network) -> tuple[DisconnectPlan, list[str]]:
        """Take a sandbox off a network; the default route moves before the link goes. Return the plan, and what failed."""
        async with all_or_nothing() as undo:
            claim = self._ports.begin(undo)
            plan = await self._plan_disconnect(before, network, claim.try_hold)
            await self._ports.keep(claim, before.sandbox, PortPlan(plan.after.sandbox.ports), undo)
            await self._parts.records.put_disconnect(plan.after.sandbox, plan.after.endpoints, plan.gone)
        return await self._disconnect(plan)

    async def _disconnect(self, plan: DisconnectPlan) -> tuple[DisconnectPlan, list[str]]:
        parts, before, after = self._parts, plan.before, plan.after
        waiting: list[Step] = []
        reasons = await self._unpublish(before.sandbox, after.endpoints)
        await parts.overlays.withdraw(plan.gone)
        reasons += await parts.plugin_endpoints.leave(plan.gone, before.endpoints)
        rest = parts.addresses.rest_here(plan.gone)
        try:
            waiting = await parts.workers.run(lambda: parts.executor.remove(plan.steps, plan.target, addresses_rest=rest))
            await parts.plugin_endpoints.update_external_connectivity(after.sandbox, before.endpoints, after.endpoints)
        except TeardownFailed as error:
            reasons += error.reasons
        except NetcoreError as error:
            reasons.append(str(error))
        reasons += await parts.plugin_endpoints.delete(plan.gone)
        await parts.records.put_disconnected(after.sandbox, after.endpoints, await parts.addresses.release(plan.gone))
        if not rest:
            # Others may have them now, so a start must not give them back again.
            await parts.records.writes.write_late()
        await self.make_known(after)
        await self._ports.free(before.sandbox, after.sandbox)
        await parts.overlays.deactivate_unused(endpoint.network_id for endpoint in plan.gone)
        if waiting or (reasons and any(isinstance(step.after, Route) for step in plan.steps)):
            await parts.late_routes.wait(after.sandbox.id)
        late = tuple(f"set once its link is up: {step.subject.describe()}" for step in waiting)
        return replace(plan, warnings=(*plan.warnings, *late)), reasons

    async def remove_sandbox(self, plan: DisconnectPlan) -> list[str]:
        """Remove a sandbox with everything it has; return what failed."""
        parts, sandbox = self._parts, plan.before.sandbox
        await parts.records.put_sandbox(sandbox, pending=True)
        reasons = await self._unpublish(sandbox, ())
        await parts.overlays.withdraw(plan.gone)
        reasons += await parts.plugin_endpoints.leave(plan.gone, plan.gone)
        rest = parts.addresses.rest_here(plan.gone)
        try:
            # What is in a namespace of ours goes with it.
            ending = None if sandbox.adopted else sandbox.id
            await parts.workers.run(lambda: parts.executor.remove(plan.steps, plan.target, ending=ending, addresses_rest=rest))
        except TeardownFailed as error:
            reasons += error.reasons
        reasons += await parts.plugin_endpoints.delete(plan.gone)
        parts.relays.settle(sandbox.id, {})
        parts.late_routes.forget(sandbox.id)
        if sandbox.ports:
            await parts.workers.run(lambda: parts.host_ports.release(sandbox.ports))
        await self.drop_sandbox(sandbox, await parts.addresses.release(plan.gone))
        if not rest:
            await parts.records.writes.write_late()
        await parts.overlays.deactivate_unused(endpoint.network_id for endpoint in plan.gone)
        return reasons

    async def _unpublish(self, sandbox: Sandbox, left: Sequence[Endpoint]) -> list[str]:
        """Publish only the names of the endpoints that are *left*; return what failed, which stops no removal."""
        try:
            await self._parts.names.update(sandbox, self._state.in_gateway_order(left), self._state.networks)
        except (NetcoreError, OSError) as error:
            return [str(error)]
        return []

    async def end_sandbox(self, before: SandboxState) -> list[str]:
        """Note that a sandbox has ended, but for its network stack, which others share; free its ports and names. Return what failed."""
        parts, after = self._parts, plans.ended(before)
        steps = plans.change_steps(self._state, before, after)
        reasons: list[str] = []
        await parts.records.put_all(after.sandbox, after.endpoints)
        try:
            await parts.workers.run(lambda: parts.executor.remove(steps, f"published ports of {before.sandbox.name}"))
        except TeardownFailed as error:
            reasons += error.reasons
        await self.make_known(after)
        await self._ports.free(before.sandbox, after.sandbox)
        await parts.overlays.publish(after.sandbox, after.endpoints)
        return reasons

    async def revive_sandbox(self, before: SandboxState, sandbox: Sandbox) -> tuple[Sandbox, tuple[str, ...]]:
        """Have what has ended *before* be *sandbox*, which publishes its ports again; return it with warnings. All or nothing."""
        async with all_or_nothing() as undo:
            after, ports = await self._publish(before, sandbox, before.endpoints, undo, strict=True)
        told = await self._parts.overlays.publish(after.sandbox, after.endpoints)
        return after.sandbox, (*ports.warnings, *told)

    async def drop_sandbox(self, sandbox: Sandbox, resting: Sequence[Quarantined] = ()) -> None:
        """Remove the resolver, namespace, files and record of a sandbox that has no endpoints any more. *resting*: its addresses."""
        parts = self._parts
        await parts.names.close(sandbox)
        directory = self._state.directory_of(sandbox.id)
        await parts.files.unpin_and_remove(sandbox, directory)
        parts.writer.drop_sandbox(sandbox.id)
        parts.writer.forget_namespace(sandbox)
        await parts.overlays.give_up(parts.records.kept_aside().get(sandbox.id, ()))
        await parts.records.drop_sandbox(sandbox.id, resting)
