"""The only writer of `HostState`. Transactions, the follower of other hosts and recovery hold it; nobody else does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from netcore.drivers.facts import Facts
from netcore.drivers.uplinks import SwitchedSysctl
from netcore.errors import NotFound
from netcore.model import Endpoint, NetnsPath, Network, NetworkId, RemoteEndpoint, Sandbox, SandboxId
from netcore.plan.drift import UPLINKS, Concern, Part
from netcore.plan.host_state import HostState, SandboxState


class StateWriter:
    """Owns the mappings behind one `HostState`; readers get read-only views of them.

    *on_change*: is called after each change, with what it is about: a network or sandbox, UPLINKS for what is known of the host,
    None for what has no links here.
    """

    def __init__(self, run_directory: str, facts: Facts) -> None:
        self._networks: dict[NetworkId, Network] = {}
        self._sandboxes: dict[SandboxId, Sandbox] = {}
        self._endpoints: dict[SandboxId, tuple[Endpoint, ...]] = {}
        self._remotes: dict[NetworkId, Mapping[str, RemoteEndpoint]] = {}
        self._active: dict[NetworkId, dict[str, RemoteEndpoint]] = {}
        self._switched: dict[str, SwitchedSysctl] = {}
        self._unfinished: dict[SandboxId, NetnsPath] = {}
        self.on_change: Callable[[Concern | None], None] = lambda _: None
        self.state = HostState(
            run_directory=run_directory,
            facts=facts,
            networks=MappingProxyType(self._networks),
            sandboxes=MappingProxyType(self._sandboxes),
            endpoints=MappingProxyType(self._endpoints),
            remotes=MappingProxyType(self._remotes),
            switched=MappingProxyType(self._switched),
        )

    def _changed(self, concern: Concern | None = None) -> None:
        self.state.revision += 1
        self.on_change(concern)

    def set_facts(self, facts: Facts) -> None:
        """Note what drivers must know of the host."""
        self.state.facts = facts
        self._changed(UPLINKS)

    def put_switched(self, switched: SwitchedSysctl) -> None:
        """Note that berth changes a sysctl of the host."""
        self._switched[switched.path] = switched
        self._changed()

    def drop_switched(self, path: str) -> None:
        """Note that a sysctl of the host is no longer berth's."""
        self._switched.pop(path, None)
        self._changed()

    def put_network(self, network: Network) -> None:
        """Note that *network* exists."""
        self._networks[network.id] = network
        self.state.indexes.network_changed(network.id)
        self._changed(Concern(Part.NETWORK, network.id))

    def drop_network(self, network_id: NetworkId) -> None:
        """Note that a network is gone, with what is active of it here; one that is not there is done."""
        self._networks.pop(network_id, None)
        self._active.pop(network_id, None)
        self._remotes.pop(network_id, None)
        self.state.indexes.network_changed(network_id)
        self._changed(Concern(Part.NETWORK, network_id))

    def put_sandbox(self, after: SandboxState) -> None:
        """Note that a sandbox exists, with its endpoints."""
        self._sandboxes[after.sandbox.id] = after.sandbox
        self._endpoints[after.sandbox.id] = after.endpoints
        self.state.indexes.sandbox_changed(after.sandbox.id)
        self._changed(Concern(Part.SANDBOX, after.sandbox.id))

    def drop_sandbox(self, sandbox_id: SandboxId) -> None:
        """Note that a sandbox is gone; one that is not there is done."""
        self._sandboxes.pop(sandbox_id, None)
        self._endpoints.pop(sandbox_id, None)
        self.state.indexes.sandbox_changed(sandbox_id)
        self.state.known_objects.forget(sandbox_id)
        self._changed(Concern(Part.SANDBOX, sandbox_id))

    def note_namespace(self, sandbox: Sandbox) -> None:
        """Note where the namespace is of a sandbox that is being made, or removed after a crash, and that nobody sees yet."""
        self._unfinished[sandbox.id] = sandbox.netns_path

    def forget_namespace(self, sandbox: Sandbox) -> None:
        """The opposite of `note_namespace`."""
        self._unfinished.pop(sandbox.id, None)

    def netns_path(self, sandbox_id: SandboxId) -> NetnsPath:
        """Return the path of a sandbox's network namespace, also of one that nobody sees yet; NotFound if there is no such sandbox."""
        path = self._unfinished.get(sandbox_id)
        if path is not None:
            return path
        if sandbox_id not in self._sandboxes:
            raise NotFound("sandbox", sandbox_id)
        return self.state.netns_path(sandbox_id)

    def activate(self, network_id: NetworkId, remotes: Mapping[str, RemoteEndpoint]) -> None:
        """Note that an overlay network is active here, with its endpoints on other hosts."""
        self._active[network_id] = dict(remotes)
        self._remotes[network_id] = MappingProxyType(self._active[network_id])
        self._changed(Concern(Part.NETWORK, network_id))

    def deactivate(self, network_id: NetworkId) -> None:
        """Note that an overlay network has no objects here any more."""
        self._active.pop(network_id, None)
        self._remotes.pop(network_id, None)
        self._changed(Concern(Part.NETWORK, network_id))

    def put_remote(self, network_id: NetworkId, remote: RemoteEndpoint) -> None:
        """Note an endpoint on another host, of a network that is active here."""
        self._active[network_id][remote.id] = remote
        self._changed()

    def drop_remote(self, network_id: NetworkId, identity: str) -> None:
        """Note that an endpoint on another host is gone."""
        self._active[network_id].pop(identity, None)
        self._changed()
