"""What the daemon does at somebody's request, beyond what the controller does by itself.

An operation makes the automatic network that it needs, has the controller carry it out, watches the owner, emits the
events, and checks the firewalls where bridges came or went. The admin API, owners that end and the exit of an idle daemon
all come through here. What a dry run plans is in `dry_run`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from netcore.controller import Controller
from netcore.controller.set_aside import Aside
from netcore.errors import InvalidRequest, NetcoreError, NotFound
from netcore.model import EndpointRequest, Network, NetworkRequest, Owner, Sandbox, SandboxRequest, Stack
from netcore.plan.network import PREDEFINED
from resolver.daemon import numeric_names
from resolver.daemon.automatic_networks import AutomaticNetworks, is_automatic
from resolver.daemon.convert import NetworkDetails, NodeDetails, SandboxDetails, matches_prune_filters
from resolver.daemon.events import Cause, Events
from resolver.daemon.owners import ExitCode, Owners
from resolver.daemon.schema import PruneBody

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many objects of each kind exist."""

    networks: int
    sandboxes: int


class Operations:
    """See the module. *remove_aside*: remove what is set aside. *end_process*: end a process and wait for its end.

    *check_firewalls*: look at the host's firewalls now. *firewall_warnings*: what they drop.
    """

    def __init__(
        self,
        controller: Controller,
        automatic_networks: AutomaticNetworks,
        owners: Owners,
        events: Events,
        *,
        remove_aside: Callable[[Aside], Awaitable[None]],
        end_process: Callable[[Owner], Awaitable[None]],
        check_firewalls: Callable[[], Awaitable[None]],
        firewall_warnings: Callable[[], tuple[str, ...]],
    ) -> None:
        self._controller = controller
        self._automatic_networks = automatic_networks
        self._owners = owners
        self._events = events
        self._remove_aside = remove_aside
        self._end_process = end_process
        self._check_firewalls = check_firewalls
        self._firewall_warnings = firewall_warnings

    # --- networks -----------------------------------------------------------------------------------------------

    async def create_network(self, request: NetworkRequest) -> tuple[Network, tuple[str, ...]]:
        """Create a network; return it with warnings."""
        network, outcome = await self._controller.networks.create(request)
        await self._watch(request.owner)
        self._events.network_created(network)
        await self._check_firewalls()
        return network, (*outcome.warnings, *self._firewall_warnings())

    async def remove_network(self, reference: str, cause: Cause = Cause.REQUEST) -> str:
        """Remove a network that has no endpoints; return its name. *cause*: for the event."""
        aside = self._find_aside("network", reference)
        if aside is not None:
            return await self._drop_aside(aside)
        found = None if reference in PREDEFINED else self._controller.state.find_network(reference)
        name = reference if found is None else found.name
        await self._controller.networks.remove(reference)
        self._events.network_removed(name, "" if found is None else found.id, cause)
        await self._check_firewalls()
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

    async def create_sandbox(self, request: SandboxRequest, *, on_default: bool) -> tuple[Sandbox, tuple[str, ...]]:
        """Create or adopt a sandbox; return it with warnings. *on_default*: without networks it goes to `default`."""
        references = [endpoint.network for endpoint in request.networks]
        automatic = await self._ensure_automatic_network(references, on_default=on_default)
        if automatic is not None and not request.networks:
            request = replace(request, networks=(EndpointRequest(network=automatic.id),))
        sandbox, outcome = await self._controller.sandboxes.create(request)
        await self._watch(request.owner)
        self._events.sandbox_created(sandbox)
        for endpoint in request.networks if sandbox.stack is Stack.OWN else ():
            self._events.endpoint_connected(sandbox, self._controller.state.find_network(endpoint.network).name)
        return sandbox, (*outcome.warnings, *self._name_warnings(sandbox), *self._firewall_warnings())

    def _name_warnings(self, sandbox: Sandbox) -> tuple[str, ...]:
        return numeric_names.warnings(sandbox, self._controller.state.endpoints.get(sandbox.id, ()))

    async def change_sandbox(self, reference: str, *, name: str | None, owner: Owner | None, leader: Owner | None) -> Sandbox:
        """Rename a sandbox, give it to another owner, note the process that was started in it; None leaves a thing as it is."""

        def change(sandbox: Sandbox) -> Sandbox:
            return replace(sandbox, name=name or sandbox.name, owner=owner or sandbox.owner, leader=leader or sandbox.leader)

        sandbox = await self._controller.sandboxes.change(reference, change)
        await self._watch(owner)
        if name:
            self._events.sandbox_renamed(sandbox)
        return sandbox

    async def remove_sandbox(
        self, reference: str, cause: Cause = Cause.REQUEST, exit_code: ExitCode = lambda: None
    ) -> tuple[str, tuple[str, ...]]:
        """End the process that was started in a sandbox and remove the sandbox; return its name and warnings.

        The processes of an adopted one are somebody else's. *cause*, *exit_code*: for the event; the exit code of the command is
        asked for when everything else is done.
        """
        aside = self._find_aside("sandbox", reference)
        if aside is not None:
            return await self._drop_aside(aside), ()
        sandbox = self._controller.state.find_sandbox(reference)
        if sandbox.leader is not None and not sandbox.adopted:
            # A removal that can't be recorded is refused, and the process goes on.
            await self._controller.prove_writable()
            await self._end_process(sandbox.leader)
        try:
            outcome = await self._controller.sandboxes.remove(sandbox.id)
        except NotFound:
            # The process was its owner, so its end has had the sandbox removed.
            return sandbox.name, ()
        self._events.sandbox_removed(sandbox, cause, exit_code())
        return sandbox.name, outcome.warnings

    def _find_aside(self, kind: str, reference: str) -> Aside | None:
        """Return the thing that is set aside and called *reference*, unless another of this kind has that name or id.

        A name goes before the beginning of another one's id.
        """
        state = self._controller.state
        things: Iterable[Network | Sandbox] = state.networks.values() if kind == "network" else state.sandboxes.values()
        if any(reference in (thing.id, thing.name) for thing in things):
            return None
        aside = self._controller.set_aside.find(kind, reference)
        if aside is None:
            return None
        is_exact = reference in (aside.id, aside.name)
        others = [thing for thing in things if thing.id.startswith(reference) or thing.id == aside.id]
        return None if any(other.id == aside.id or not is_exact for other in others) else aside

    def _refuse_aside(self, kind: str, reference: str) -> None:
        aside = self._find_aside(kind, reference)
        if aside is not None:
            raise NotFound(kind, f"{reference} is set aside: {aside.reason}")

    async def _drop_aside(self, aside: Aside) -> str:
        await self._remove_aside(aside)
        self._events.emit(aside.kind, "remove", aside.name, identity=aside.id, cause=Cause.REQUEST)
        return aside.name

    # --- endpoints ----------------------------------------------------------------------------------------------

    async def connect(self, sandbox_reference: str, request: EndpointRequest) -> tuple[Sandbox, tuple[str, ...]]:
        """Connect a sandbox to one more network; return it with warnings."""
        await self._ensure_automatic_network([request.network], on_default=False)
        network = self._controller.state.find_network(request.network)
        outcome = await self._controller.sandboxes.connect(sandbox_reference, replace(request, network=network.id))
        sandbox = self._controller.state.find_sandbox(sandbox_reference)
        self._events.endpoint_connected(sandbox, network.name)
        return sandbox, (*outcome.warnings, *self._name_warnings(sandbox), *self._firewall_warnings())

    async def disconnect(self, sandbox_reference: str, network_reference: str) -> tuple[Sandbox, tuple[str, ...]]:
        """Disconnect a sandbox from a network; return it as it is then, with warnings."""
        network = self._controller.state.find_network(network_reference)
        outcome = await self._controller.sandboxes.disconnect(sandbox_reference, network.id)
        sandbox = self._controller.state.find_sandbox(sandbox_reference)
        self._events.endpoint_disconnected(sandbox, network.name)
        return sandbox, outcome.warnings

    # --- owners and the end -------------------------------------------------------------------------------------

    async def watch_all_owners(self) -> None:
        """Watch the owners of everything that exists; for a start that has restored it."""
        owners = {sandbox.owner for sandbox in self._controller.state.sandboxes.values()}
        owners |= {network.owner for network in self._controller.state.networks.values()}
        for owner in owners:
            await self._watch(owner)

    async def _watch(self, owner: Owner | None) -> None:
        await self._owners.watch(owner, self.remove_owned_by)

    async def remove_owned_by(self, owner: Owner, exit_code: ExitCode = lambda: None) -> None:
        """Remove the sandboxes of *owner*, then its networks. What fails is logged and stays. *exit_code*: of the owner."""
        sandboxes = [sandbox for sandbox in self._controller.state.sandboxes.values() if sandbox.owner == owner]
        await asyncio.gather(*(self._remove_ended(sandbox, owner, exit_code) for sandbox in sandboxes))
        networks = [network.id for network in self._controller.state.networks.values() if network.owner == owner]
        removals = [_try("network", network_id, self.remove_network(network_id, Cause.OWNER_ENDED)) for network_id in networks]
        await asyncio.gather(*removals)

    async def _remove_ended(self, sandbox: Sandbox, owner: Owner, exit_code: ExitCode) -> None:
        """Remove *sandbox*, whose *owner* has ended; that may be the command in it."""
        if sandbox.leader == owner:
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
        self._refuse_aside("network", reference)
        return self._controller.state.find_network(reference)

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
        return [self.details_of_sandbox(sandbox) for sandbox in sorted(self._controller.state.sandboxes.values(), key=_name)]

    def find_sandbox(self, reference: str) -> Sandbox:
        """Return the sandbox with this id, name or unique id prefix."""
        self._refuse_aside("sandbox", reference)
        return self._controller.state.find_sandbox(reference)

    def details_of_sandbox(self, sandbox: Sandbox) -> SandboxDetails:
        """Return *sandbox* with its endpoints."""
        shared_with = sandbox.shared_with
        return SandboxDetails(
            sandbox=sandbox,
            endpoints=self._controller.state.endpoints[sandbox.id],
            networks=self._controller.state.networks,
            directory=self._controller.files_of(sandbox.id),
            stack_owner=self._controller.state.sandboxes.get(shared_with) if shared_with is not None else None,
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


async def _try(kind: str, identity: str, removal: Coroutine[Any, Any, Any]) -> None:
    try:
        await removal
    except NotFound:
        return
    except NetcoreError as error:
        log.error("not removed after its owner ended kind=%s id=%s reason=%s", kind, identity[:12], error)


def _name(thing: Network | Sandbox) -> str:
    return thing.name
