"""What is looked up of the networks and sandboxes of a host without going through all of them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import count

from netcore.model import Endpoint, NetnsPath, Network, NetworkId, Owner, Sandbox, SandboxId
from netcore.plan.index import Index
from netcore.plan.known_networks import KnownNetworks
from netcore.plan.references import References


class Indexes:
    """See the module. Whoever changes one of the mappings says so by `network_changed`, `sandbox_changed`."""

    def __init__(
        self,
        networks: Mapping[NetworkId, Network],
        sandboxes: Mapping[SandboxId, Sandbox],
        endpoints: Mapping[SandboxId, tuple[Endpoint, ...]],
    ) -> None:
        self.networks = References("network", networks)
        self.sandboxes = References("sandbox", sandboxes)
        self.known = KnownNetworks()
        # Another number after each change of a network.
        self.networks_revision = 0
        self._networks = networks
        self._sandboxes = sandboxes
        self._endpoints = endpoints
        self._members: dict[NetworkId, set[SandboxId]] = {}
        self._attached: dict[SandboxId, set[NetworkId]] = {}
        self._positions: dict[SandboxId, int] = {}
        self._next_position = count()
        self._by_path: Index[SandboxId, NetnsPath] = Index()
        self._by_stack: Index[SandboxId, SandboxId] = Index()
        self._by_process: Index[SandboxId, Owner] = Index()
        for network_id in networks:
            self.network_changed(network_id)
        for sandbox_id in sandboxes:
            self.sandbox_changed(sandbox_id)

    def network_changed(self, network_id: NetworkId) -> None:
        """Take note that a network came, went or changed."""
        self.networks.changed(network_id)
        self.networks_revision += 1
        network = self._networks.get(network_id)
        if network is None:
            self.known.drop(network_id)
        else:
            self.known.put(network)

    def sandbox_changed(self, sandbox_id: SandboxId) -> None:
        """Take note that a sandbox came, went or changed, or that its endpoints did."""
        self.sandboxes.changed(sandbox_id)
        before = self._attached.pop(sandbox_id, set())
        after = {endpoint.network_id for endpoint in self._endpoints.get(sandbox_id, ())}
        for network_id in before - after:
            self._members[network_id].discard(sandbox_id)
            if not self._members[network_id]:
                del self._members[network_id]
        for network_id in after - before:
            self._members.setdefault(network_id, set()).add(sandbox_id)
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None:
            self._positions.pop(sandbox_id, None)
            self._by_path.drop(sandbox_id)
            self._by_stack.drop(sandbox_id)
            self._by_process.drop(sandbox_id)
            return
        self._attached[sandbox_id] = after
        if sandbox_id not in self._positions:
            self._positions[sandbox_id] = next(self._next_position)
        self._by_path.put(sandbox_id, sandbox.netns_path)
        if sandbox.shared_with is not None:
            self._by_stack.put(sandbox_id, sandbox.shared_with)
        else:
            self._by_stack.drop(sandbox_id)
        if sandbox.owner is not None:
            self._by_process.put(sandbox_id, sandbox.owner)
        else:
            self._by_process.drop(sandbox_id)

    def members(self, network_id: NetworkId) -> list[SandboxId]:
        """Return the sandboxes with an endpoint on a network, in the order in which they came."""
        return sorted(self._members.get(network_id, ()), key=self._positions.__getitem__)

    def count_of(self, network_id: NetworkId) -> int:
        """Return how many sandboxes have an endpoint on a network."""
        return len(self._members.get(network_id, ()))

    def sandboxes_at(self, netns_path: NetnsPath) -> Collection[SandboxId]:
        """Return the sandboxes whose namespace is at *netns_path*."""
        return self._by_path.of(netns_path)

    def stack_users(self, sandbox_id: SandboxId) -> Collection[SandboxId]:
        """Return the sandboxes that share the network stack of a sandbox."""
        return self._by_stack.of(sandbox_id)

    def sandboxes_of(self, owner: Owner) -> Collection[SandboxId]:
        """Return the sandboxes that live with the process *owner*."""
        return self._by_process.of(owner)
