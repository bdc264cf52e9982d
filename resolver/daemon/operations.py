"""What the daemon does at somebody's request, beyond what the controller does by itself.

An operation makes the automatic network that it needs, has the controller carry it out, watches the owner, emits the
events, and checks the firewalls where bridges came or went. The admin API, owners that end and the exit of an idle daemon
all come through here. What a dry run plans is in `dry_run`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any

from netcore.controller import Controller
from netcore.controller.set_aside import Aside
from netcore.errors import Conflict, InvalidRequest, NetcoreError, NotFound
from netcore.health import Health
from netcore.model import EndpointRequest, Network, NetworkId, NetworkRequest, Owner, Sandbox, SandboxRequest, Stack
from netcore.plan import modes
from netcore.plan.network import PREDEFINED
from resolver.daemon import numeric_names
from resolver.daemon.automatic_networks import DEFAULT_NETWORK, AutomaticNetworks, is_automatic
from resolver.daemon.command_pids import CommandPids
from resolver.daemon.convert import NetworkDetails, NodeDetails, SandboxDetails, matches_prune_filters
from resolver.daemon.events import Cause, Events
from resolver.daemon.following.followers import Followers
from resolver.daemon.guests import Guests
from resolver.daemon.hiding import hidden_paths, withheld_capabilities
from resolver.daemon.lasting import LastingSandboxes
from resolver.daemon.owners import ExitCode, Owners
from resolver.daemon.references import References
from resolver.daemon.removals import Removals
from resolver.daemon.run_networks import with_endpoint, without_endpoint
from resolver.daemon.runs import Process, Run, Runs
from resolver.daemon.schema import PruneBody

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many objects of each kind exist."""

    networks: int
    sandboxes: int


class Operations:
    """See the module. *remove_aside*: remove what is set aside. *forget_network*: what else is kept of one that is removed.

    *check_firewalls*: look at the host's firewalls now. *firewall_warnings*: what they drop.
    """

    def __init__(
        self,
        controller: Controller,
        automatic_networks: AutomaticNetworks,
        owners: Owners,
        events: Events,
        runs: Runs,
        lasting: LastingSandboxes,
        followers: Followers,
        guests: Guests,
        removals: Removals,
        *,
        remove_aside: Callable[[Aside], Awaitable[None]],
        forget_network: Callable[[NetworkId], Awaitable[None]],
        check_firewalls: Callable[[], Awaitable[None]],
        firewall_warnings: Callable[[], tuple[str, ...]],
        secret_files: tuple[str, ...] = (),
    ) -> None:
        self._controller = controller
        self._automatic_networks = automatic_networks
        self._owners = owners
        self._events = events
        self._runs = runs
        self._lasting = lasting
        self._followers = followers
        self._guests = guests
        self._references = References(controller, runs, lasting)
        self._removals = removals
        self._remove_aside = remove_aside
        self._forget_network = forget_network
        self._check_firewalls = check_firewalls
        self._firewall_warnings = firewall_warnings
        self._secret_files = secret_files
        self._command_pids = CommandPids()

    # --- networks -----------------------------------------------------------------------------------------------

    async def create_network(self, request: NetworkRequest) -> tuple[Network, tuple[str, ...]]:
        """Create a network; return it with warnings."""
        network, outcome = await self._controller.networks.create(request)
        await self.watch(request.owner)
        self._events.network_created(network)
        await self._check_firewalls()
        return network, (*outcome.warnings, *self._firewall_warnings())

    async def remove_network(self, reference: str, cause: Cause = Cause.REQUEST, *, wait: bool = False) -> str:
        """Remove a network that has no endpoints; return its name. *cause*: for the event. *wait*: until its link is gone."""
        aside = self._references.find_aside("network", reference)
        if aside is not None:
            return await self._drop_aside(aside)
        found = None if reference in PREDEFINED else self._controller.state.find_network(reference)
        name = reference if found is None else found.name
        await self._controller.networks.remove(reference)
        if found is not None:
            await self._forget_network(found.id)
        self._events.network_removed(name, "" if found is None else found.id, cause)
        await self._check_firewalls()
        if wait:
            await self._controller.wait_for_deletes()
        return name

    async def prune_networks(self, filters: PruneBody) -> list[str]:
        """Remove the networks without endpoints that *filters* match; return their names."""
        removed = []
        for network in tuple(self._controller.state.networks.values()):
            if matches_prune_filters(network, filters) and not self._controller.state.members(network.id):
                removed.append(await self.remove_network(network.id, Cause.PRUNED))
        return removed

    async def _ensure_automatic_network(self, references: list[str], *, on_default: bool) -> Network | None:
        """Make the automatic network that an operation on *references* needs and return it, None if it needs none."""
        needed = self._automatic_networks.needed(references, on_default=on_default)
        return None if needed is None else await self._automatic_networks.ensure(needed, self._create_automatic_network)

    async def _create_automatic_network(self, request: NetworkRequest) -> Network:
        network, _ = await self.create_network(request)
        return network

    # --- sandboxes ----------------------------------------------------------------------------------------------

    async def create_sandbox(
        self, request: SandboxRequest, *, on_default: bool, process: Process | None = None
    ) -> tuple[Sandbox, tuple[str, ...]]:
        """Create or adopt a sandbox; return it with warnings. *on_default*: without networks it goes to `default`.

        *process*: what the caller will start in it; the sandbox stays, stopped, when that has ended.
        """
        self._references.check_name(request.name, request.again[0] if request.again is not None else None)
        await self._controller.sandboxes.free_name(request.name)
        asked = request
        references = [endpoint.network for endpoint in request.networks]
        if on_default and DEFAULT_NETWORK.name in references:
            # It may be on others that are made when they are needed, too.
            await self._ensure_automatic_network([], on_default=True)
        automatic = await self._ensure_automatic_network(references, on_default=on_default)
        if automatic is not None and not request.networks:
            request = replace(request, networks=(EndpointRequest(network=automatic.id),))
        sandbox, outcome = await self._controller.sandboxes.create(request)
        if process is not None:
            try:
                await self._runs.begin(sandbox, _by_name(asked, self._controller), process, on_default=on_default)
            except BaseException:
                await self._controller.sandboxes.remove(sandbox.id)
                raise
        if (request.follows or request.persists) and request.again is None:
            try:
                await self._lasting.keep(sandbox, request)
            except BaseException:
                await self._controller.sandboxes.remove(sandbox.id)
                raise
        self._followers.begin(sandbox)
        self._guests.begin(sandbox)
        await self.watch(request.owner)
        self._events.sandbox_created(sandbox) if request.again is None else self._events.sandbox_started(sandbox)
        for endpoint in request.networks if sandbox.stack is Stack.OWN else ():
            self._events.endpoint_connected(sandbox, self._controller.state.find_network(endpoint.network))
        return sandbox, (*outcome.warnings, *self._name_warnings(sandbox), *self._firewall_warnings())

    def _name_warnings(self, sandbox: Sandbox) -> tuple[str, ...]:
        return numeric_names.warnings(sandbox, self._controller.state.endpoints.get(sandbox.id, ()))

    async def change_sandbox(self, reference: str, *, name: str | None, owner: Owner | None, leader: Owner | None) -> Sandbox:
        """Rename a sandbox, give it to another owner, note the process that was started in it; None leaves a thing as it is."""

        def change(sandbox: Sandbox) -> Sandbox:
            # A command that has just been started is not known to be well.
            health = sandbox.health if leader is None or sandbox.health is None else Health.STARTING
            owned = replace(sandbox, owner=owner or sandbox.owner, leader=leader or sandbox.leader, health=health)
            return replace(owned, name=name or sandbox.name)

        if name:
            self._references.check_name(name)
            await self._controller.sandboxes.free_name(name)
        sandbox = await self._controller.sandboxes.change(reference, change)
        await self.watch(owner)
        run = self._runs.get(sandbox.id)
        if leader is not None and run is not None and run.restarts:
            await self._runs.note_start(run)
            self._events.sandbox_started(sandbox)
        if name:
            await self._runs.rename(sandbox.id, name)
            await self._lasting.changed(sandbox.id)
            self._events.sandbox_renamed(sandbox)
        return sandbox

    async def remove_sandbox(
        self, reference: str, cause: Cause = Cause.REQUEST, exit_code: ExitCode = lambda: None, *, wait: bool = False
    ) -> tuple[str, tuple[str, ...]]:
        """End the process that was started in a sandbox and remove the sandbox; return its name and warnings.

        The processes of an adopted one are somebody else's. *cause*, *exit_code*: for the event; the exit code of the command is
        asked for when everything else is done. *wait*: until its links are gone.
        """
        aside = self._references.find_aside("sandbox", reference)
        if aside is not None:
            return await self._drop_aside(aside), ()
        found = self.find(reference)
        if isinstance(found, Run):
            warnings = await self._removals.remove_stopped(found, cause)
        else:
            warnings = await self._removals.remove(found, cause, exit_code)
        if wait:
            await self._controller.wait_for_deletes()
        return found.name, warnings

    async def _drop_aside(self, aside: Aside) -> str:
        await self._remove_aside(aside)
        await self._lasting.drop(aside.id)
        if aside.kind == "network":
            await self._forget_network(NetworkId(aside.id))
        run = self._runs.get(aside.id)
        if run is not None:
            await self._runs.drop(run)
        self._events.emit(aside.kind, "remove", aside.name, identity=aside.id, cause=Cause.REQUEST)
        return aside.name

    # --- endpoints ----------------------------------------------------------------------------------------------

    async def connect(self, sandbox_reference: str, request: EndpointRequest) -> tuple[Sandbox, tuple[str, ...]]:
        """Connect a sandbox to one more network; return it with warnings."""
        await self._ensure_automatic_network([request.network], on_default=False)
        network = self._controller.state.find_network(request.network)
        self._references.find_running(sandbox_reference)
        outcome = await self._controller.sandboxes.connect(sandbox_reference, replace(request, network=network.id))
        sandbox = self._controller.state.find_sandbox(sandbox_reference)
        await self._runs.change_request(sandbox.id, lambda run: with_endpoint(run, replace(request, network=network.name)))
        await self._lasting.changed(sandbox.id, replace(request, network=network.name))
        self._events.endpoint_connected(sandbox, network)
        self._controller.parts.names.answer_waiting()
        return sandbox, (*outcome.warnings, *self._name_warnings(sandbox), *self._firewall_warnings())

    async def disconnect(self, sandbox_reference: str, network_reference: str, *, wait: bool = False) -> tuple[Sandbox, tuple[str, ...]]:
        """Disconnect a sandbox from a network; return it as it is then, with warnings. *wait*: until its link is gone."""
        network = self._controller.state.find_network(network_reference)
        self._references.find_running(sandbox_reference)
        outcome = await self._controller.sandboxes.disconnect(sandbox_reference, network.id)
        sandbox = self._controller.state.find_sandbox(sandbox_reference)
        await self._runs.change_request(sandbox.id, lambda run: without_endpoint(run, network.name))
        await self._lasting.changed(sandbox.id)
        self._events.endpoint_disconnected(sandbox, network)
        self._controller.parts.names.answer_waiting()
        if wait:
            await self._controller.wait_for_deletes()
        return sandbox, outcome.warnings

    # --- owners and the end -------------------------------------------------------------------------------------

    async def watch_all_owners(self) -> None:
        """Watch the owners of everything that exists; for a start that has restored it."""
        owners = {sandbox.owner for sandbox in self._controller.state.sandboxes.values()}
        owners |= {network.owner for network in self._controller.state.networks.values()}
        for owner in owners:
            await self.watch(owner)

    async def watch(self, owner: Owner | None) -> None:
        """Remove what *owner* has when it ends."""
        await self._owners.watch(owner, self.remove_owned_by)

    async def remove_owned_by(self, owner: Owner, exit_code: ExitCode = lambda: None) -> None:
        """Remove the sandboxes of *owner*, then its networks. What fails is logged and stays. *exit_code*: of the owner."""
        sandboxes = self._controller.state.sandboxes_of(owner)
        await asyncio.gather(*(self._remove_ended(sandbox, owner, exit_code) for sandbox in sandboxes))
        networks = self._controller.state.indexes.known.of_owner(owner)
        removals = [_try("network", network.id, self.remove_network(network.id, Cause.OWNER_ENDED)) for network in networks]
        await asyncio.gather(*removals)

    async def _remove_ended(self, sandbox: Sandbox, owner: Owner, exit_code: ExitCode) -> None:
        """Remove *sandbox*, whose *owner* has ended; that may be the command in it, or what holds one that stays."""
        run = self._runs.get(sandbox.id)
        if run is not None:
            await _try("sandbox", sandbox.id, self._removals.end_run(sandbox, run))
        elif sandbox.leader == owner:
            await _try("sandbox", sandbox.id, self.remove_sandbox(sandbox.id, Cause.COMMAND_ENDED, exit_code))
        else:
            await _try("sandbox", sandbox.id, self.remove_sandbox(sandbox.id, Cause.OWNER_ENDED))

    async def remove_automatic_networks(self) -> None:
        """Remove the networks that berth made by itself; nobody is on them any more."""
        await self._controller.networks.remove_unused_bridges()
        for network in [network for network in self._controller.state.networks.values() if is_automatic(network)]:
            await self.remove_network(network.id, Cause.UNUSED)

    # --- what exists --------------------------------------------------------------------------------------------

    def counts(self) -> Counts:
        """Return how many networks and sandboxes there are."""
        return Counts(len(self._controller.state.networks), len(self._controller.state.sandboxes))

    def has_networks_of_users(self) -> bool:
        """Return whether there is a network that somebody asked for, not one that berth made by itself."""
        return any(network.has_names and not is_automatic(network) for network in self._controller.state.networks.values())

    async def networks(self) -> list[NetworkDetails]:
        """Return all networks, by name."""
        networks = sorted(self._controller.state.networks.values(), key=_name)
        return await asyncio.gather(*(self.details_of_network(network) for network in networks))

    def find_network(self, reference: str) -> Network:
        """Return the network with this id, name or unique id prefix."""
        return self._references.find_network(reference)

    async def details_of_network(self, network: Network) -> NetworkDetails:
        """Return *network* with its endpoints here and on other hosts."""
        known, cluster = await self._controller.overlays.known_elsewhere(network), self._controller.cluster
        elsewhere = known.members(network.id, except_node=cluster.node.id) if known is not None and cluster is not None else []
        return NetworkDetails(
            network=network,
            members=tuple(self._controller.state.members(network.id)),
            addresses_in_use=self._controller.pool_usage(network, known.addresses.get(network.id, {}) if known is not None else ()),
            remote_members=tuple(elsewhere),
        )

    def sandboxes(self) -> list[SandboxDetails]:
        """Return all sandboxes, by name."""
        self._command_pids.forget_all_but(len(self._controller.state.sandboxes))
        return [self.details_of_sandbox(sandbox) for sandbox in sorted(self._controller.state.sandboxes.values(), key=_name)]

    def find_sandbox(self, reference: str) -> Sandbox:
        """Return the sandbox with this id, name or unique id prefix; Conflict if it is stopped."""
        return self._references.find_running(reference)

    def find(self, reference: str) -> Sandbox | Run:
        """Return the sandbox with this id, name or unique id prefix, or the run that is left of it while it is stopped."""
        return self._references.find(reference)

    def find_stopped(self, reference: str) -> Run:
        """Return the run with this id, name or unique id prefix whose sandbox is stopped; Conflict if it runs."""
        found = self._references.find(reference)
        if isinstance(found, Sandbox):
            raise Conflict("sandbox", found.name, "runs by now")
        return found

    def details_of_sandbox(self, sandbox: Sandbox) -> SandboxDetails:
        """Return *sandbox* with its endpoints."""
        shared_with = sandbox.shared_with
        return SandboxDetails(
            sandbox=sandbox,
            endpoints=self._controller.state.endpoints[sandbox.id],
            networks=self._controller.state.networks,
            directory=self._controller.files_of(sandbox.id),
            stack_owner=self._controller.state.sandboxes.get(shared_with) if shared_with is not None else None,
            run=self._runs.get(sandbox.id),
            run_directory=self._runs.directory_of(sandbox.id),
            hides=hidden_paths(self._controller, self._runs.directory, self._secret_files),
            withheld=withheld_capabilities(self._controller, sandbox),
            pid=self._command_pids.of(sandbox),
        )

    async def told_by_plugins(self, sandbox: Sandbox) -> Mapping[str, dict[str, Any]]:
        """Return what network plugins tell of the endpoints of *sandbox*, by network id."""
        return await self._controller.plugin_information(sandbox)

    async def nodes(self) -> list[NodeDetails]:
        """Return the hosts that share overlay networks, by name; InvalidRequest if this host shares none."""
        cluster = self._controller.overlays.cluster
        if cluster is None:
            raise InvalidRequest("request", "this host is in no cluster; hosts form one with `berth daemon --store etcd://HOST:2379`")
        endpoints = await cluster.counts()
        nodes = sorted(cluster.state.nodes.values(), key=lambda node: (node.name, node.id))
        return [NodeDetails(node, endpoints.get(node.id, 0), is_own=node.id == cluster.node.id) for node in nodes]


def _by_name(request: SandboxRequest, controller: Controller) -> SandboxRequest:
    """Return *request* with its networks by name, as long as they are networks and no modes."""
    if any(one.network in modes.MODES or one.network.startswith(modes.SHARED_PREFIX) for one in request.networks):
        return request
    find = controller.state.find_network
    return replace(request, networks=tuple(replace(one, network=find(one.network).name) for one in request.networks))


async def _try(kind: str, identity: str, removal: Coroutine[Any, Any, Any]) -> None:
    try:
        await removal
    except NotFound:
        return
    except NetcoreError as error:
        log.error("not removed after its owner ended kind=%s id=%s reason=%s", kind, identity[:12], error)


def _name(thing: Network | Sandbox) -> str:
    return thing.name
