"""Overlay networks: known on all hosts, active on those where one of their endpoints is, following what other hosts publish."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence

from netcore import drivers
from netcore.cluster.cluster import Cluster
from netcore.cluster.state import ClusterChange, ClusterState, EndpointChanged, KeysChanged, NetworkChanged, NetworkLoaded
from netcore.controller.host_look import HostLook
from netcore.controller.locks import KeyedLocks
from netcore.controller.name_publisher import NamePublisher
from netcore.controller.set_aside import SetAside
from netcore.controller.state_writer import StateWriter
from netcore.controller.tunnel_encryption import TunnelEncryption, encrypted
from netcore.controller.undo import all_or_nothing
from netcore.controller.uplinks import Uplinks
from netcore.controller.workers import Workers
from netcore.desired.diff import diff
from netcore.desired.objects import KernelObject
from netcore.errors import InvalidRequest, NetcoreError
from netcore.kernel import tunnel
from netcore.kernel.apply import Executor
from netcore.model import Endpoint, NetnsPath, Network, NetworkId, RemoteEndpoint, Sandbox, SandboxId
from netcore.store.records import Records

log = logging.getLogger(__name__)

NO_CLUSTER = "an overlay network needs hosts that share a store: `berth daemon --store etcd://HOST:2379`"


class Overlays:
    """See the module. `state.remotes` has the networks that are active here."""

    def __init__(
        self,
        *,
        encryption: TunnelEncryption,
        writer: StateWriter,
        records: Records,
        names: NamePublisher,
        workers: Workers,
        executor: Executor,
        host: HostLook,
        locks: KeyedLocks,
        uplinks: Uplinks,
        set_aside: SetAside,
    ) -> None:
        self._writer = writer
        self._state = writer.state
        self._records = records
        self._names = names
        self._workers = workers
        self._executor = executor
        self._host = host
        self._locks = locks
        self._uplinks = uplinks
        self.encryption = encryption
        self._touched: set[ClusterChange] = set()
        self._following: asyncio.Task[None] | None = None
        self._restored: set[NetworkId] = set()
        self._held_back: dict[NetworkId, set[str]] = {}
        self._cluster: Cluster | None = None
        self._set_aside = set_aside

    @property
    def cluster(self) -> Cluster | None:
        """The hosts that share overlay networks, None on a host that is alone."""
        return self._cluster

    def join(self, cluster: Cluster) -> None:
        """Take part in *cluster* from now on."""
        self._cluster = self.encryption.cluster = cluster

    def require_cluster(self) -> Cluster:
        """Return the cluster of hosts; InvalidRequest on a host that is alone."""
        if self.cluster is None:
            raise InvalidRequest("driver", NO_CLUSTER)
        return self.cluster

    # --- what is active here ------------------------------------------------------------------------------------

    async def activate(self, network: Network) -> None:
        """Make an overlay network on this host, with what is known of other hosts, unless it is there."""
        async with self._locks.hold([f"overlay:{network.id}"]):
            if network.id in self._state.remotes:
                return
            cluster = self.require_cluster()
            await self._host.refresh()
            await self.encryption.check(network)
            if encrypted(network) is not None:
                await cluster.ensure_key()
            async with all_or_nothing() as undo:
                undo.push(lambda: self._forget(network.id))
                await cluster.follow(network)
                remotes = cluster.state.remotes(network.id, cluster.node.id)
                steps = diff((), self._state.objects_only_of(network, remotes.values()))
                await self._records.put_network(network, pending=True)
                undo.push(self.encryption.follow)
                undo.push(lambda: self._records.drop_network(network.id))
                await self.encryption.settle({network.id: remotes.values()})
                undo.push(lambda: self._uplinks.release(network))
                await self._uplinks.need(network)
                await self._workers.run(lambda: self._executor.apply(steps))
                await self._records.put_network(network)
            self._writer.activate(network.id, remotes)
            await self._names.network_up(network)
            for remote in remotes.values():
                self._names.remote(network, None, remote)
        # What other hosts said meanwhile was not for this host then, and keys may have been settled without it.
        endpoint_ids = {*cluster.state.remotes(network.id, cluster.node.id), *remotes}
        self.on_cluster_change({KeysChanged(), *(EndpointChanged(network.id, endpoint_id) for endpoint_id in endpoint_ids)})

    async def catch_up(self) -> None:
        """Know the networks that exist now, which other hosts may have made or removed a moment ago; Unavailable."""
        cluster = self.require_cluster()
        await cluster.catch_up()
        here = [network.id for network in self._state.networks.values() if network.is_overlay]
        for network_id in {*here, *cluster.state.networks}:
            self._follow_network(network_id)

    async def _forget(self, network_id: NetworkId) -> None:
        self._held_back.pop(network_id, None)
        self.require_cluster().forget(network_id)

    async def deactivate(self, network: Network) -> None:
        """Remove an overlay network from this host, if none of its endpoints is here any more."""
        async with self._locks.hold([f"overlay:{network.id}"]):
            if network.id not in self._state.remotes or self._state.members(network.id) or self._set_aside.uses(network.id):
                return
            remotes = self._state.remotes[network.id]
            await self._records.put_network(network, pending=True)
            self._writer.deactivate(network.id)
            await self._forget(network.id)
            await self._names.network_down(network)
            steps = diff(self._state.objects_only_of(network, remotes.values()), ())
            try:
                await self._workers.run(lambda: self._executor.remove(steps, f"network {network.name} on this host"))
            finally:
                await self._records.drop_network(network.id)
                await self.encryption.follow()
                await self._uplinks.release(network)
        # Another host may have removed it meanwhile.
        self._follow_network(network.id)

    async def deactivate_unused(self, network_ids: Iterable[NetworkId]) -> None:
        """Deactivate those overlays among *network_ids* that no endpoint here is on."""
        for network_id in network_ids:
            network = self._state.networks.get(network_id)
            if network is not None and network.is_overlay:
                await self.deactivate(network)

    def restore(self, network: Network) -> None:
        """Note that an overlay network is active here from an earlier run; what other hosts publish of it comes later."""
        self._writer.activate(network.id, {})
        self._restored.add(network.id)

    async def resume(self, network: Network) -> None:
        """Have an overlay network active again that was set aside, and follow what other hosts publish of it; Unavailable."""
        cluster = self.require_cluster()
        await cluster.follow(network)
        self.restore(network)
        endpoint_ids = cluster.state.remotes(network.id, cluster.node.id)
        changes = [EndpointChanged(network.id, endpoint_id) for endpoint_id in endpoint_ids]
        self.on_cluster_change({NetworkLoaded(network.id), KeysChanged(), *changes})

    # --- what other hosts publish -------------------------------------------------------------------------------

    def on_cluster_change(self, touched: set[ClusterChange]) -> None:
        """Take notice of what other hosts published; the kernel and the names follow soon."""
        self._touched |= touched
        if self._following is None or self._following.done():
            self._following = asyncio.get_running_loop().create_task(self._follow_cluster())

    async def caught_up(self) -> None:
        """Return when kernel and names are as other hosts published so far."""
        if self._following is not None:
            await asyncio.shield(self._following)

    async def _follow_cluster(self) -> None:
        while self._touched:
            touched, self._touched = self._touched, set()
            by_network: dict[NetworkId, list[str]] = {}
            for change in touched:
                match change:
                    case NetworkChanged(network_id):
                        self._follow_network(network_id)
                    case EndpointChanged(network_id, endpoint_id):
                        by_network.setdefault(network_id, []).append(endpoint_id)
                    case NetworkLoaded(network_id):
                        await self._forget_stale(network_id)
                    case KeysChanged():
                        pass
            for network_id, identities in by_network.items():
                if network_id not in self._state.remotes:
                    continue
                try:
                    await self._follow_endpoints(self._state.networks[network_id], identities)
                except (NetcoreError, OSError) as error:
                    log.error("network does not follow other hosts network=%s reason=%s", network_id[:12], error)
                except Exception:
                    # Whatever somebody wrote to the store, the other networks go on.
                    log.exception("network does not follow other hosts network=%s", network_id[:12])
            if KeysChanged() in touched:
                # Behind the endpoints: before them no host is known that there are keys for.
                await self.encryption.follow()

    async def _forget_stale(self, network_id: NetworkId) -> None:
        """Take away what an earlier run of the daemon left for endpoints that other hosts have removed since."""
        cluster, network = self.require_cluster(), self._state.networks.get(network_id)
        if network_id not in self._restored or network is None or network.id not in self._state.remotes:
            return
        self._restored.discard(network_id)
        async with self._locks.hold([f"overlay:{network.id}"]):
            remotes = cluster.state.remotes(network.id, cluster.node.id)
            wanted = (*self._state.all_objects(), *_objects_of(network, remotes.values()))
            left = await self._workers.run(lambda: tunnel.remembered(network.bridge))
            steps = [step for step in diff(left, wanted) if step.after is None]
            try:
                await self._workers.run(lambda: self._executor.remove(steps, "endpoints removed on other hosts"))
            except (NetcoreError, OSError) as error:
                log.error("endpoints removed on other hosts are still in the kernel network=%s reason=%s", network.id[:12], error)

    def _follow_network(self, network_id: NetworkId) -> None:
        cluster = self.require_cluster()
        network = cluster.state.networks.get(network_id)
        if network is None:
            if network_id not in self._state.remotes:
                self._writer.drop_network(network_id)
        elif network_id not in self._state.networks and self._set_aside.find("network", network_id) is None:
            if self._state.network_named(network.name) is not None:
                log.warning("an overlay network has the name of a local network and is known by its id only name=%s", network.name)
            self._writer.put_network(network)

    async def _follow_endpoints(self, network: Network, identities: Sequence[str]) -> None:
        """Bring kernel and names to what other hosts publish of endpoints; costs the same however many others there are."""
        async with self._locks.hold([f"overlay:{network.id}"]):
            known = self._state.remotes.get(network.id)
            if known is None:
                return
            pairs = [(known.get(identity), self._remote(network, identity)) for identity in identities]
            pairs = [(before, after) for before, after in pairs if before != after]
            for before, _ in pairs:
                if before is not None:
                    self._names.remote(network, before, None)
            steps = diff(_objects_of(network, [before for before, _ in pairs]), _objects_of(network, [after for _, after in pairs]))
            try:
                # Traffic to a new host must be encrypted before anything is sent there.
                await self.encryption.settle({network.id: [after for _, after in pairs if after is not None]})
                await self._workers.run(lambda: self._executor.remove(steps, f"endpoints of {network.name} on other hosts"))
            finally:
                for before, after in pairs:
                    if after is not None:
                        self._writer.put_remote(network.id, after)
                        self._names.remote(network, None, after)
                    elif before is not None:
                        self._writer.drop_remote(network.id, before.id)

    def _remote(self, network: Network, identity: str) -> RemoteEndpoint | None:
        """Return an endpoint as this host must see it now: not yet, while an endpoint here still has an address of it."""
        cluster = self.require_cluster()
        remote = cluster.state.remote(network.id, identity, cluster.node.id)
        if remote is None:
            return None
        here = {address for _, endpoint in self._state.members(network.id) for address in endpoint.addresses()}
        if here.isdisjoint(remote.addresses):
            return remote
        self._held_back.setdefault(network.id, set()).add(identity)
        return None

    def look_again(self, network_id: NetworkId) -> None:
        """Take in the endpoints on other hosts that had the address of one here, which is gone now."""
        self.on_cluster_change({EndpointChanged(network_id, identity) for identity in self._held_back.pop(network_id, ())})

    async def known_elsewhere(self, network: Network) -> ClusterState | None:
        """Return what is known of the endpoints and addresses of *network* on all hosts, None if it is this host's alone."""
        return await self.cluster.look(network.id) if network.is_overlay and self.cluster is not None else None

    # --- what this host publishes -------------------------------------------------------------------------------

    async def publish(self, sandbox: Sandbox, endpoints: Iterable[Endpoint]) -> tuple[str, ...]:
        """Tell other hosts of endpoints on overlay networks; return warnings where they will learn of it later."""
        warnings = []
        for endpoint in endpoints:
            network = self._state.networks[endpoint.network_id]
            if network.is_overlay:
                try:
                    await self.require_cluster().publish(sandbox, endpoint, network)
                except NetcoreError as error:
                    warnings.append(f"other hosts learn of {sandbox.name} on {network.name} later: {error}")
        return tuple(warnings)

    def publish_again(self, sandboxes: Iterable[Sandbox]) -> None:
        """Tell other hosts of what survived a restart, once they can be told."""
        for sandbox in sandboxes:
            for endpoint in self._state.endpoints[sandbox.id]:
                network = self._state.networks[endpoint.network_id]
                if network.is_overlay and self.cluster is not None:
                    self.cluster.publish_restored(sandbox, endpoint, network)

    def publish_aside(self, kept_aside: Mapping[SandboxId, Sequence[Endpoint]]) -> None:
        """Tell other hosts of what is set aside and still has its addresses. *kept_aside*: endpoints on networks that are set aside."""
        for sandbox_id, endpoints in kept_aside.items():
            if sandbox_id in self._state.sandboxes:
                self._publish_aside(self._state.sandboxes[sandbox_id], endpoints)
        for aside in self._set_aside.all("sandbox"):
            if aside.id not in self._state.sandboxes:
                # Nothing else of it is known for certain.
                sandbox = Sandbox(id=SandboxId(aside.id), name=aside.name, hostname=aside.name, netns_path=NetnsPath(""), boot_id="")
                self._publish_aside(sandbox, aside.known_endpoints())

    def _publish_aside(self, sandbox: Sandbox, endpoints: Iterable[Endpoint]) -> None:
        aside = {one.network.id: one.network for one in self._set_aside.all("network") if one.network is not None}
        for endpoint in endpoints:
            network = self._state.networks.get(endpoint.network_id) or aside.get(endpoint.network_id)
            if network is not None and network.is_overlay and self.cluster is not None:
                self.cluster.publish_restored(sandbox, endpoint, network)

    async def give_up(self, endpoints: Iterable[Endpoint]) -> None:
        """Give back what is held on all hosts for endpoints that were set aside and are removed now."""
        if self.cluster is not None:
            for endpoint in endpoints:
                await self.cluster.give_up(endpoint)

    async def withdraw(self, endpoints: Iterable[Endpoint]) -> None:
        """Tell other hosts that endpoints are about to go; where they can't be told they find out when the lease ends."""
        for endpoint in endpoints:
            if self._state.networks[endpoint.network_id].is_overlay and self.cluster is not None:
                try:
                    await self.cluster.withdraw(endpoint)
                except NetcoreError as error:
                    log.warning("other hosts could not be told that an endpoint is removed endpoint=%s reason=%s", endpoint.id[:12], error)

    async def close(self) -> None:
        """End this host's part in the cluster."""
        if self.cluster is not None:
            await self.cluster.close()


def _objects_of(network: Network, remotes: Iterable[RemoteEndpoint | None]) -> tuple[KernelObject, ...]:
    return drivers.of(network).remote_objects(network, [remote for remote in remotes if remote is not None])
