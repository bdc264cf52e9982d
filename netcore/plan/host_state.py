"""What exists on this host: plain data and questions about it. Pure.

Operations read it and plan against it. `controller.state_writer` is the only writer; everybody else gets read-only mappings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from netcore import drivers
from netcore.desired.objects import KernelObject
from netcore.drivers import uplinks
from netcore.drivers.facts import Facts
from netcore.drivers.uplinks import SwitchedSysctl
from netcore.errors import InvalidRequest
from netcore.model import (
    GATEWAY_BRIDGE,
    Endpoint,
    IPNetwork,
    NetnsPath,
    Network,
    NetworkId,
    Owner,
    RemoteEndpoint,
    Sandbox,
    SandboxId,
    Stack,
)
from netcore.parse.addresses import alone
from netcore.plan import desired_state, gateway, modes
from netcore.plan.indexes import Indexes
from netcore.plan.known_objects import KnownObjects

ObjectsOf = Callable[[Sandbox, Sequence[Endpoint]], tuple[KernelObject, ...]]
"""A sandbox and its endpoints → what must exist for it."""


def is_routed(network: Network) -> bool:
    """Return whether the host routes packets of *network* to the outside."""
    link = drivers.of(network).host_link(network) if not network.internal else None
    return link is not None and link.routed


@dataclass(frozen=True, slots=True)
class SandboxState:
    """A sandbox with its endpoints, in the order of their connects."""

    sandbox: Sandbox
    endpoints: tuple[Endpoint, ...] = ()

    def endpoint_on(self, network_id: NetworkId) -> Endpoint | None:
        """Return the endpoint on a network, None if there is none."""
        return next((endpoint for endpoint in self.endpoints if endpoint.network_id == network_id), None)


@dataclass(slots=True, kw_only=True)
class HostState:
    """See the module. *remotes*: of each overlay network that is active here, the endpoints on other hosts by id.

    *switched*: sysctls of the host that berth has changed, by path.
    """

    run_directory: str
    facts: Facts
    networks: Mapping[NetworkId, Network] = field(default_factory=dict)
    sandboxes: Mapping[SandboxId, Sandbox] = field(default_factory=dict)
    endpoints: Mapping[SandboxId, tuple[Endpoint, ...]] = field(default_factory=dict)
    remotes: Mapping[NetworkId, Mapping[str, RemoteEndpoint]] = field(default_factory=dict)
    switched: Mapping[str, SwitchedSysctl] = field(default_factory=dict)
    revision: int = 0
    """Another number after each change."""
    indexes: Indexes = field(init=False)
    known_objects: KnownObjects = field(init=False, default_factory=KnownObjects)

    def __post_init__(self) -> None:
        self.indexes = Indexes(self.networks, self.sandboxes, self.endpoints)

    # --- look-ups -----------------------------------------------------------------------------------------------

    def find_network(self, reference: str) -> Network:
        """Return the network with this id, name or unique id prefix (rule IP-35)."""
        if reference in modes.MODES or reference.startswith(modes.SHARED_PREFIX):
            reason = f"{reference} is no network but a mode of a whole sandbox: `berth run --network {reference}`"
            raise InvalidRequest("network", reason)
        return self.indexes.networks.find(reference)

    def find_sandbox(self, reference: str) -> Sandbox:
        """Return the sandbox with this id, name or unique id prefix."""
        return self.indexes.sandboxes.find(reference)

    def network_named(self, name: str) -> Network | None:
        """Return the network called exactly *name*, None if there is none."""
        return self.indexes.networks.named(name)

    def sandbox_named(self, name: str) -> Sandbox | None:
        """Return the sandbox called exactly *name*, None if there is none."""
        return self.indexes.sandboxes.named(name)

    def gateway_bridge(self) -> Network | None:
        """Return the network that only gives a way to the outside, None while nobody needs it (GW-9)."""
        return self.network_named(GATEWAY_BRIDGE)

    def sandbox_state(self, sandbox_id: SandboxId) -> SandboxState:
        """Return a sandbox that exists, with its endpoints."""
        return SandboxState(self.sandboxes[sandbox_id], self.endpoints[sandbox_id])

    def members(self, network_id: NetworkId) -> list[tuple[Sandbox, Endpoint]]:
        """Return the sandboxes of this host on a network, each with its endpoint there."""
        return [
            (self.sandboxes[sandbox_id], endpoint)
            for sandbox_id in self.indexes.members(network_id)
            for endpoint in self.endpoints[sandbox_id]
            if endpoint.network_id == network_id
        ]

    def all_endpoints(self) -> list[tuple[Sandbox, Endpoint]]:
        """Return every endpoint of this host with its sandbox."""
        return [(self.sandboxes[sandbox_id], endpoint) for sandbox_id, endpoints in self.endpoints.items() for endpoint in endpoints]

    def networks_here(self) -> list[Network]:
        """Return the networks that have objects on this host: an overlay only while one of its endpoints is here."""
        return [network for network in self.networks.values() if self.is_here(network)]

    def network_here(self, network_id: str) -> Network | None:
        """Return the network with this id if it has objects on this host, else None."""
        network = self.networks.get(NetworkId(network_id))
        return network if network is not None and self.is_here(network) else None

    def is_here(self, network: Network) -> bool:
        """Return whether *network* has objects on this host."""
        return not network.is_overlay or network.id in self.remotes

    def stack_owner(self, reference: str) -> Sandbox:
        """Return the sandbox whose network stack the one called *reference* has: itself, or the one that it shares with."""
        sandbox = self.find_sandbox(reference)
        return self.sandboxes[sandbox.shared_with] if sandbox.shared_with is not None else sandbox

    def stack_users(self, sandbox_id: SandboxId) -> list[str]:
        """Return the names of the sandboxes that share the network stack of a sandbox."""
        return [self.sandboxes[user].name for user in self.indexes.stack_users(sandbox_id)]

    def sandboxes_of(self, owner: Owner) -> list[Sandbox]:
        """Return the sandboxes that live with the process *owner*."""
        return [self.sandboxes[sandbox_id] for sandbox_id in self.indexes.sandboxes_of(owner)]

    def is_taken(self, netns_path: str) -> bool:
        """Return whether a sandbox has its namespace at *netns_path*."""
        return bool(self.indexes.sandboxes_at(NetnsPath(netns_path)))

    def netns_path(self, sandbox_id: SandboxId) -> NetnsPath:
        """Return the path of a sandbox's network namespace."""
        return self.sandboxes[sandbox_id].netns_path

    def directory_of(self, sandbox_id: SandboxId) -> PurePath:
        """Return the directory with the sandbox's hosts, resolv.conf and hostname files."""
        return PurePath(self.run_directory, "sandboxes", sandbox_id)

    # --- what must exist ----------------------------------------------------------------------------------------

    def in_gateway_order(self, endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
        """Return *endpoints* in the order in which their networks are asked for names and gateways (GW-2)."""
        return gateway.ordered(endpoints, self.networks)

    def objects_of(self, sandbox: Sandbox, endpoints: Sequence[Endpoint]) -> tuple[KernelObject, ...]:
        """Return what must exist in the kernel and in files for *sandbox* with *endpoints*."""
        return self.known_objects.find(
            sandbox,
            endpoints,
            self.indexes.networks_revision,
            self.facts,
            lambda: desired_state.desired(
                sandbox,
                endpoints,
                self.networks,
                self.facts,
                hosts_path=str(self.directory_of(sandbox.id) / "hosts"),
                loopback_ipv6=self.facts.ipv6,
            ),
        )

    def objects_only_of(self, network: Network, remotes: Iterable[RemoteEndpoint] = ()) -> tuple[KernelObject, ...]:
        """Return what exists for the sake of *network* alone, and so comes and goes with it."""
        return drivers.of(network).exclusive_objects(network, self._alike(network), self.facts, remotes)

    def _alike(self, network: Network) -> Iterator[Network]:
        # Only for who shares objects with others: there may be thousands.
        yield from filter(self.is_here, self.indexes.known.of_driver(network.driver))

    def local_addresses(self) -> list[IPNetwork] | None:
        """Return what this host has as addresses, those on networks of ours included; None if it is not known."""
        if self.facts.local is None:
            return None
        on_networks = [interface for network in self.networks_here() for interface in drivers.of(network).host_addresses(network)]
        return [*self.facts.local, *(alone(interface.ip) for interface in on_networks)]

    def uplink_objects(self, networks: Iterable[Network]) -> tuple[KernelObject, ...]:
        """Return what *networks* together need of the links that traffic leaves by."""
        return uplinks.objects([network for network in networks if is_routed(network)], self.facts, self.switched)

    def lasting_objects_of(self, sandbox_id: SandboxId, objects_of: ObjectsOf | None = None) -> tuple[KernelObject, ...]:
        """Return what must exist for a sandbox at all times, also what the kernel makes by itself. *objects_of*: see `lasting_objects`."""
        sandbox = self.sandboxes[sandbox_id]
        objects = (objects_of or self.objects_of)(sandbox, self.endpoints[sandbox_id])
        return (*objects, *desired_state.standing_objects(sandbox_id, objects)) if sandbox.stack is Stack.OWN else objects

    def lasting_objects_of_network(self, network: Network) -> tuple[KernelObject, ...]:
        """Return what must exist on this host for a network without its endpoints at all times."""
        objects = drivers.of(network).network_objects(network, self.facts, self.remotes.get(network.id, {}).values())
        return (*objects, *desired_state.standing_objects(None, objects))

    def lasting_objects(self, objects_of: ObjectsOf | None = None) -> tuple[KernelObject, ...]:
        """Return all that must exist on this host at all times, but for `uplink_objects`.

        *objects_of*: in the place of the method, from who knows the objects of sandboxes already.
        """
        objects: list[KernelObject] = []
        for network in self.networks_here():
            objects += self.lasting_objects_of_network(network)
        for sandbox_id in self.endpoints:
            objects += self.lasting_objects_of(sandbox_id, objects_of)
        return tuple(objects)

    def firewall_objects(self) -> tuple[KernelObject, ...]:
        """Return all that the firewall tables are made of, and more: whoever writes or compares them takes the elements."""
        return (*self.all_objects(), *self.uplink_objects(self.networks_here()))

    def all_objects(self) -> tuple[KernelObject, ...]:
        """Return everything that must exist on this host, but for `uplink_objects`."""
        objects: list[KernelObject] = []
        for network in self.networks_here():
            objects += drivers.of(network).network_objects(network, self.facts, self.remotes.get(network.id, {}).values())
        for sandbox_id, endpoints in self.endpoints.items():
            objects += self.objects_of(self.sandboxes[sandbox_id], endpoints)
        return tuple(objects)
