"""Operations on sandboxes and their endpoints: create, adopt, connect, disconnect, change, move, remove."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from netcore.controller.collaborators import Collaborators
from netcore.controller.moves import Moves, waiting
from netcore.controller.plugin_endpoints import plugin_of
from netcore.controller.transaction import Transaction
from netcore.errors import Conflict, InvalidRequest, KernelError, TeardownFailed
from netcore.kernel import host, process
from netcore.model import EndpointRequest, NetnsPath, Network, Owner, Sandbox, SandboxId, SandboxRequest, Stack
from netcore.parse import names
from netcore.plan import egress, modes, plans, tap
from netcore.plan import sandbox as plan_sandbox
from netcore.plan.desired_state import sysctl_paths
from netcore.plan.host_state import SandboxState
from netcore.plan.plans import Outcome


class SandboxOperations:
    """Each operation is planned and carried out under the locks of its sandbox and of the networks that it touches."""

    def __init__(self, parts: Collaborators, transaction: Transaction) -> None:
        self._parts = parts
        self._state = parts.state
        self._transaction = transaction
        self._moves = Moves(parts, transaction.make_known)
        self._names_being_taken: set[str] = set()

    def _keys(self, sandbox: Sandbox, networks: Iterable[Network]) -> list[str]:
        """Return the keys of what an operation locks. The gateway bridge may come or go where a plugin's network does (GW-9)."""
        touched = {network.id: network for network in networks}
        keys = [f"sandbox:{sandbox.id}", *(f"network:{network_id}" for network_id in touched)]
        if any(plugin_of(network) is not None for network in touched.values()):
            bridge = self._state.gateway_bridge()
            keys += ["networks", *([f"network:{bridge.id}"] if bridge is not None else [])]
        return keys

    def _networks_of(self, sandbox: Sandbox) -> list[Network]:
        return [self._state.networks[endpoint.network_id] for endpoint in self._state.endpoints[sandbox.id]]

    # --- create -------------------------------------------------------------------------------------------------

    async def create(self, request: SandboxRequest, *, dry_run: bool = False) -> tuple[Sandbox, Outcome]:
        """Create or adopt a sandbox and connect it to its networks; its names answer when this returns."""
        sandbox = self._plan(request, dry_run=dry_run)
        warnings = modes.check(request, sandbox.stack)
        tap.check_sandbox(request)
        requests = request.networks if sandbox.stack is Stack.OWN else ()
        targets = [self._state.find_network(asked.network) for asked in requests]
        plan_sandbox.check_networks(targets, again=request.again is not None)
        _check_can_follow(sandbox, targets)
        keys = [*self._keys(sandbox, targets), *self._keys_of_links(requests)]
        if sandbox.shared_with is not None:
            keys.append(f"sandbox:{sandbox.shared_with}")
        self._names_being_taken.add(sandbox.name)
        try:
            async with self._parts.locks.hold(keys):
                if sandbox.shared_with is not None:
                    _check_can_be_shared(request.name, self._state.find_sandbox(sandbox.shared_with))
                path = NetnsPath(request.netns) if request.netns is not None else None
                lookups = await self._parts.host.lookups(path, None, targets)
                if path is not None:
                    sandbox = plans.with_own_routes(self._state, None, sandbox, await self._parts.files.default_routes(path))
                    own = await self._parts.files.sysctls(path, sysctl_paths(sandbox))
                    sandbox = replace(sandbox, own_sysctls=tuple(own.items()))
                plan = plans.plan_connect(self._state, None, sandbox, requests, lookups, adopted=path, warnings=warnings)
                if dry_run:
                    return sandbox, await self._transaction.preview(plan)
                return await self._transaction.change_sandbox(plan)
        finally:
            self._names_being_taken.discard(sandbox.name)

    def _plan(self, request: SandboxRequest, *, dry_run: bool) -> Sandbox:
        holder = self._state.sandbox_named(request.name) if dry_run else None
        if holder is None or not holder.ended:
            # What has ended gives its name away, see `free_name`.
            self._check_name_is_free(request.name, "exists already; choose another name or remove it with `berth rm`")
        if request.egress is not None:
            request = replace(request, egress=egress.checked(request.egress, self._state.facts.egress))
        kind, shared_with = modes.asked(request)
        return plan_sandbox.plan_sandbox(
            request,
            kind,
            self._state.stack_owner(shared_with) if shared_with is not None else None,
            netns_directory=self._parts.settings.netns_directory,
            is_taken=self._state.is_taken,
            host_name=host.name(),
            boot_id=process.boot_id(),
            now=self._parts.clock(),
        )

    def _check_name_is_free(self, name: str, reason: str) -> None:
        if name in self._names_being_taken or self._state.sandbox_named(name) is not None:
            raise Conflict("sandbox", name, reason)

    def _keys_of_links(self, requests: Sequence[EndpointRequest]) -> list[str]:
        """Return the keys of the sandboxes that *requests* link to: they must keep their names until the links are there."""
        return [f"sandbox:{self._state.find_sandbox(target).id}" for request in requests for target, _ in request.links]

    # --- endpoints ----------------------------------------------------------------------------------------------

    async def connect(self, reference: str, request: EndpointRequest, *, dry_run: bool = False) -> Outcome:
        """Connect a sandbox to one more network."""
        sandbox, network = self._state.find_sandbox(reference), self._state.find_network(request.network)
        modes.check_connectable(sandbox)
        _check_can_follow(sandbox, [network])
        keys = [*self._keys(sandbox, [network, *self._networks_of(sandbox)]), *self._keys_of_links([request])]
        async with self._parts.locks.hold(keys):
            before = self._state.sandbox_state(self._state.find_sandbox(sandbox.id).id)
            tap.check_connect(before.endpoints, request)
            if plans.names_are_known(before.sandbox, [network]) and not dry_run:
                try:
                    return await self._connect(before, request, network, None)
                except KernelError as error:
                    if error.errno != errno.EEXIST:
                        raise
                    # Whoever is root there has made a link of that name.
            return await self._connect(before, request, network, before.sandbox.netns_path, dry_run=dry_run)

    async def _connect(
        self, before: SandboxState, request: EndpointRequest, network: Network, path: NetnsPath | None, *, dry_run: bool = False
    ) -> Outcome:
        """*path*: where to look which links are there; None: those of the endpoints."""
        lookups = await self._parts.host.lookups(path, before, [network])
        sandbox = before.sandbox
        if sandbox.adopted:
            found = await self._parts.files.default_routes(sandbox.netns_path)
            sandbox = plans.with_own_routes(self._state, before, sandbox, found)
        plan = plans.plan_connect(self._state, before, sandbox, [request], lookups)
        self._parts.names.answer_waiting()
        if dry_run:
            return await self._transaction.preview(plan)
        _, outcome = await self._transaction.change_sandbox(plan)
        return outcome

    async def disconnect(self, reference: str, network_reference: str, *, dry_run: bool = False) -> Outcome:
        """Take a sandbox off a network; the default route moves before the link goes."""
        sandbox, network = self._state.find_sandbox(reference), self._state.find_network(network_reference)
        async with self._parts.locks.hold(self._keys(sandbox, [network, *self._networks_of(sandbox)])):
            before = self._state.sandbox_state(self._state.find_sandbox(sandbox.id).id)
            if dry_run:
                return await self._transaction.preview_disconnect(before, network)
            plan, reasons = await self._transaction.disconnect(before, network)
            await self._transaction.connect_gateway_bridge(plan.after)
        if reasons:
            raise TeardownFailed(plan.target, tuple(reasons))
        return Outcome(plan.steps, plan.warnings)

    # --- change and remove --------------------------------------------------------------------------------------

    async def change(self, reference: str, change: Callable[[Sandbox], Sandbox]) -> Sandbox:
        """Replace facts about a sandbox that touch no kernel object: its owner, its name (DNS-47) and that in others' links."""
        sandbox = self._state.find_sandbox(reference)
        held: set[str] = set()
        while True:
            wanted = {f"sandbox:{identity}" for identity in (sandbox.id, *plans.linking_to(self._state, sandbox.name))}
            async with self._parts.locks.hold(held := held | wanted):
                before = self._state.sandbox_state(self._state.find_sandbox(sandbox.id).id)
                after = self._at_its_name(before.sandbox, change(before.sandbox))
                changes = plans.rename_links(self._state, before, after)
                if not {f"sandbox:{old.sandbox.id}" for old, _ in changes} <= held:
                    # One was linked to it in the meantime.
                    sandbox = before.sandbox
                    continue
                if after.name != before.sandbox.name:
                    names.check_object_name("sandbox", after.name)
                    self._check_name_is_free(after.name, "exists already; choose another name")
                await self._transaction.change_facts(changes)
                return after

    async def change_egress(
        self, reference: str, change: Callable[[tuple[str, ...] | None], tuple[str, ...] | None], *, dry_run: bool = False
    ) -> tuple[Sandbox, Outcome]:
        """Give a sandbox other egress rules, None: those of its networks or the default. What they don't allow any more is cut."""
        sandbox = self._state.find_sandbox(reference)
        networks = self._networks_of(sandbox)
        async with self._parts.locks.hold(self._keys(sandbox, networks)):
            before = self._state.sandbox_state(self._state.find_sandbox(sandbox.id).id)
            texts = change(before.sandbox.egress)
            wanted = egress.checked(texts, self._state.facts.egress) if texts is not None else None
            after = replace(before, sandbox=replace(before.sandbox, egress=wanted))
            networks = self._networks_of(after.sandbox)
            path = after.sandbox.netns_path if after.sandbox.adopted else None
            lookups = await self._parts.host.lookups(path, before, ())
            plans.check_egress(self._state, before, after.sandbox, networks, (), lookups)
            steps = plans.change_steps(self._state, before, after)
            if not dry_run and before.sandbox.egress != wanted:
                await self._transaction.change_egress(before, after, steps)
            return after.sandbox, Outcome(steps)

    async def revive(self, sandbox_id: SandboxId, change: Callable[[Sandbox], Sandbox]) -> tuple[Sandbox, tuple[str, ...]]:
        """Have a sandbox that has ended run again in its network stack, which others share; return it with warnings.

        NotFound if the stack has gone meanwhile, Conflict if somebody has one of its ports now.
        """
        sandbox = self._state.find_sandbox(sandbox_id)
        async with self._parts.locks.hold(self._keys(sandbox, self._networks_of(sandbox))):
            before = self._state.sandbox_state(self._state.find_sandbox(sandbox_id).id)
            if not before.sandbox.ended:
                raise Conflict("sandbox", sandbox.name, "runs already")
            return await self._transaction.revive_sandbox(before, change(replace(before.sandbox, ended=False)))

    async def free_name(self, name: str) -> None:
        """Take the name of a sandbox that has ended, but for its network stack: that is called by its id from now on."""
        holder = self._state.sandbox_named(name)
        if holder is not None and holder.ended and name != holder.short_id:
            await self.change(holder.id, lambda sandbox: replace(sandbox, name=sandbox.short_id))

    async def move(self, reference: str, source: NetnsPath | None, leader: Owner | None) -> Sandbox:
        """Have a sandbox that follows a program go on in the namespace at *source*, where *leader* is.

        None: in a new one of its own, where it waits. If *source* can't be entered, it waits too, and the reason is raised.
        """
        sandbox = self._state.find_sandbox(reference)
        async with self._parts.locks.hold(self._keys(sandbox, self._networks_of(sandbox))):
            before = self._state.sandbox_state(self._state.find_sandbox(sandbox.id).id)
            sandbox = before.sandbox
            after = waiting(sandbox) if source is None else replace(sandbox, adopted=True, leader=leader, own_routes=(), own_sysctls=())
            try:
                await self._moves.move(before, after, source)
            finally:
                now = self._state.sandbox_state(sandbox.id)
                await self._parts.overlays.publish(now.sandbox, now.endpoints)
            return now.sandbox

    def _at_its_name(self, before: Sandbox, after: Sandbox) -> Sandbox:
        """Return *after* with its namespace where its name says, if it has another one than *before*."""
        if after.name == before.name:
            return after
        directory, state = self._parts.settings.netns_directory, self._state
        return replace(after, netns_path=plan_sandbox.netns_path(after.name, after.id, directory, state.is_taken))

    async def remove(self, reference: str, *, dry_run: bool = False, if_ended: bool = False) -> Outcome:
        """Remove a sandbox with everything it has; parts that fail are reported after all were tried. *if_ended*: unless it runs again."""
        sandbox = self._state.find_sandbox(reference)
        async with self._parts.locks.hold(self._keys(sandbox, self._networks_of(sandbox))):
            sandbox = self._state.find_sandbox(sandbox.id)
            if if_ended and not sandbox.ended:
                return Outcome(())
            users = self._state.stack_users(sandbox.id)
            if users:
                failed = [] if dry_run or sandbox.ended else await self._transaction.end_sandbox(self._state.sandbox_state(sandbox.id))
                if failed:
                    raise TeardownFailed(f"published ports of {sandbox.name}", tuple(failed))
                return Outcome((), (f"the network stack of {sandbox.name} stays until {', '.join(users)} ends",))
            plan = plans.plan_removal(self._state, SandboxState(sandbox, self._state.endpoints[sandbox.id]))
            if dry_run:
                return Outcome(plan.steps)
            reasons = await self._transaction.remove_sandbox(plan)
        owner = self._state.sandboxes.get(sandbox.shared_with) if sandbox.shared_with is not None else None
        if owner is not None and owner.ended and not self._state.stack_users(owner.id):
            await self.remove(owner.id, if_ended=True)
        if reasons:
            raise TeardownFailed(plan.target, tuple(reasons))
        return Outcome(plan.steps)


def _check_can_follow(sandbox: Sandbox, networks: Iterable[Network]) -> None:
    """Raise InvalidRequest if *sandbox* follows a program and can't be on one of *networks*, whose links a plugin moves."""
    for network in networks:
        if sandbox.follows and plugin_of(network) is not None:
            raise InvalidRequest("network", f"{network.name} is a plugin's, which can't follow a sandbox into another namespace")


def _check_can_be_shared(name: str, owner: Sandbox) -> None:
    """Raise Conflict if the sandbox called *name* can't have the network stack of *owner*."""
    if owner.ended:
        raise Conflict("sandbox", name, "cannot join network namespace of a sandbox that has ended")
    if owner.follows:
        reason = f"cannot join network namespace of {owner.name}, which follows {owner.follows} from one namespace to the next"
        raise Conflict("sandbox", name, reason)
