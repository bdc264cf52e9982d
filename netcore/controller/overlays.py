"""Overlay networks: known on all hosts, made on those where one of their endpoints is, following what other hosts say."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence

from netcore import drivers
from netcore.cluster import encryption
from netcore.cluster.cluster import Cluster
from netcore.cluster.state import ClusterChange, EndpointChanged, EndpointRecord, KeysChanged, NetworkChanged
from netcore.controller.state import State
from netcore.desired.diff import diff
from netcore.desired.objects import KernelObject
from netcore.errors import InvalidRequest, NetcoreError
from netcore.kernel import tunnel, xfrm
from netcore.model import Endpoint, IPAddress, Network, NetworkId, RemoteEndpoint, Sandbox, VxlanOptions

log = logging.getLogger(__name__)

NO_CLUSTER = "an overlay network needs hosts that share a store: `berth daemon --store etcd://HOST:2379`"


def _encrypted(network: Network) -> VxlanOptions | None:
    vxlan = network.bridge.vxlan if network.is_overlay else None
    return vxlan if vxlan is not None and vxlan.encrypted else None


class Overlays(State):
    """The parts of operations that concern other hosts. `remotes` has the networks that are made here."""

    def the_cluster(self) -> Cluster:
        """Return the cluster of hosts; InvalidRequest on a host that is alone."""
        if self.cluster is None:
            raise InvalidRequest("driver", NO_CLUSTER)
        return self.cluster

    # --- what is here -------------------------------------------------------------------------------------------

    async def raise_overlay(self, network: Network) -> None:
        """Make an overlay network on this host, with what is known of other hosts, unless it is there."""
        async with self._locks.hold([f"overlay:{network.id}"]):
            if network.id in self.remotes:
                return
            cluster = self.the_cluster()
            await self.look_at_host()
            await self.check_encryption(network)
            if _encrypted(network) is not None:
                await cluster.ensure_key()
            remotes = cluster.state.remotes(network.id, cluster.node.id)
            steps = diff((), drivers.only_of(network, self.networks_here(), self.facts, remotes.values()))
            await self._records.put_network(network, pending=True)
            try:
                await self._settle_encryption({network.id: remotes.values()})
                await self.kernel(lambda: self.executor.apply(steps))
            except BaseException:
                await self._records.drop_network(network)
                await self._follow_keys()
                raise
            await self._records.put_network(network)
            self.remotes[network.id] = remotes
            await self._directory.network_up(network)
            for item in remotes.values():
                self._directory.remote(network, None, item)
        # What was said in between was not for us then, and keys may have been settled without us.
        endpoint_ids = {*cluster.state.remotes(network.id, cluster.node.id), *remotes}
        self.on_cluster_change({KeysChanged(), *(EndpointChanged(network.id, endpoint_id) for endpoint_id in endpoint_ids)})

    async def lower_overlay(self, network: Network) -> None:
        """Remove an overlay network from this host, if none of its endpoints is here any more."""
        async with self._locks.hold([f"overlay:{network.id}"]):
            if network.id not in self.remotes or self.members(network.id):
                return
            remotes = self.remotes.pop(network.id)
            await self._directory.network_down(network)
            await self._records.put_network(network, pending=True)
            steps = diff(drivers.only_of(network, self.networks_here(), self.facts, remotes.values()), ())
            try:
                await self.kernel(lambda: self.executor.remove(steps, f"network {network.name} on this host"))
            finally:
                await self._records.drop_network(network)
                await self._follow_keys()

    async def lower_unused(self, networks: Iterable[NetworkId]) -> None:
        """Lower those overlays of *networks* that no endpoint here is on."""
        for network_id in networks:
            network = self.networks.get(network_id)
            if network is not None and network.is_overlay:
                await self.lower_overlay(network)

    # --- what others say ----------------------------------------------------------------------------------------

    def on_cluster_change(self, touched: set[ClusterChange]) -> None:
        """Take notice of what other hosts said; the kernel and the names follow soon."""
        self._touched |= touched
        if self._following is None or self._following.done():
            self._following = asyncio.get_running_loop().create_task(self._follow_cluster())

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
                    case KeysChanged():
                        pass
            await self._forget_stale()
            for network_id, identities in by_network.items():
                if network_id not in self.remotes:
                    continue
                try:
                    await self._follow_endpoints(self.networks[network_id], identities)
                except (NetcoreError, OSError) as error:
                    log.error("network does not follow other hosts network=%s reason=%s", network_id[:12], error)
            if KeysChanged() in touched:
                # Behind the endpoints: before them no host is known that there are keys for.
                await self._follow_keys()

    async def _forget_stale(self) -> None:
        """Take away what an earlier run of the daemon left for endpoints that have gone from other hosts since."""
        cluster = self.the_cluster()
        while self.restored_overlays:
            network = self.networks.get(self.restored_overlays.pop())
            if network is None or network.id not in self.remotes:
                continue
            async with self._locks.hold([f"overlay:{network.id}"]):
                remotes = cluster.state.remotes(network.id, cluster.node.id)
                wanted = (*self.desired_everything(), *self._of(remotes.values(), network))
                left = await self.kernel(lambda network=network: tunnel.remembered(network.bridge))  # type: ignore[misc]
                steps = [step for step in diff(left, wanted) if step.after is None]
                try:
                    await self.kernel(lambda steps=steps: self.executor.remove(steps, "endpoints that have gone"))  # type: ignore[misc]
                except (NetcoreError, OSError) as error:
                    log.error("endpoints that have gone are remembered network=%s reason=%s", network.id[:12], error)

    def _follow_network(self, network_id: NetworkId) -> None:
        cluster = self.the_cluster()
        network = cluster.state.networks.get(network_id)
        if network is None:
            if network_id not in self.remotes:
                self.networks.pop(network_id, None)
        elif network_id not in self.networks:
            if any(item.name == network.name for item in self.networks.values()):
                log.warning("a network of this host has the name of one of all hosts, which is known by its id only name=%s", network.name)
            self.adopt_network(network)

    async def _follow_endpoints(self, network: Network, identities: Sequence[str]) -> None:
        """Bring kernel and names to what other hosts say of endpoints; costs the same however many others there are."""
        async with self._locks.hold([f"overlay:{network.id}"]):
            known = self.remotes.get(network.id)
            if known is None:
                return
            cluster = self.the_cluster()
            pairs = [(known.get(item), cluster.state.remote(network.id, item, cluster.node.id)) for item in identities]
            pairs = [(before, after) for before, after in pairs if before != after]
            for before, _ in pairs:
                if before is not None:
                    self._directory.remote(network, before, None)
            steps = diff(self._of([before for before, _ in pairs], network), self._of([after for _, after in pairs], network))
            try:
                # A host that is new must be spoken to in no other way before it is spoken to at all.
                await self._settle_encryption({network.id: [after for _, after in pairs if after is not None]})
                await self.kernel(lambda: self.executor.remove(steps, f"endpoints of {network.name} on other hosts"))
            finally:
                for before, after in pairs:
                    if after is not None:
                        known[after.id] = after
                        self._directory.remote(network, None, after)
                    elif before is not None:
                        known.pop(before.id, None)

    # --- encryption ---------------------------------------------------------------------------------------------

    async def check_encryption(self, network: Network) -> None:
        """Raise Unavailable if this host can't encrypt what *network* wants encrypted."""
        vtep = self.settings.vtep
        if _encrypted(network) is not None and vtep is not None:
            await self.kernel(lambda: xfrm.check_esp(vtep))

    async def _follow_keys(self) -> None:
        try:
            await self._settle_encryption()
        except (NetcoreError, OSError) as error:
            log.error("keys between hosts could not be changed reason=%s", error)

    async def _settle_encryption(self, coming: Mapping[str, Iterable[RemoteEndpoint]] | None = None) -> None:
        """Bring the kernel's ESP states and policies to the hosts that encrypted networks lead to. *coming*: by network id."""
        async with self._locks.hold(["esp"]):
            cluster, vtep = self.cluster, self.settings.vtep
            if cluster is None or vtep is None:
                return
            if self._esp is None:
                # An earlier run of the daemon may have left some, in use.
                self._esp = await self.kernel(lambda: xfrm.read_own(encryption.REQUEST_ID))
            wanted = encryption.objects(vtep, self._peers(coming or {}), [*cluster.state.keys.values()], cluster.sending_key())
            steps = diff(self._esp, wanted)
            if steps:
                await self.kernel(lambda: self.executor.apply(steps))
            self._esp = wanted

    def _peers(self, coming: Mapping[str, Iterable[RemoteEndpoint]]) -> dict[int, set[IPAddress]]:
        """Return port → hosts of the encrypted networks that are here, or *coming*."""
        peers: dict[int, set[IPAddress]] = {}
        for network in self.networks.values():
            vxlan = _encrypted(network)
            if vxlan is not None and (network.id in self.remotes or network.id in coming):
                remotes = (*self.remotes.get(network.id, {}).values(), *coming.get(network.id, ()))
                peers.setdefault(vxlan.port, set()).update(item.vtep for item in remotes)
        return peers

    def _of(self, remotes: Iterable[RemoteEndpoint | None], network: Network) -> tuple[KernelObject, ...]:
        return drivers.remote_objects(network, [item for item in remotes if item is not None])

    def elsewhere(self, network: Network) -> list[tuple[str, EndpointRecord]]:
        """Return (node, endpoint) of all endpoints of *network* on other hosts."""
        if not network.is_overlay or self.cluster is None:
            return []
        return self.cluster.state.members(network.id, except_node=self.cluster.node.id)

    # --- what we say --------------------------------------------------------------------------------------------

    async def tell_others(self, sandbox: Sandbox, endpoints: Iterable[Endpoint]) -> tuple[str, ...]:
        """Tell other hosts of endpoints on overlay networks; return warnings where they will learn of it later."""
        warnings = []
        for item in endpoints:
            network = self.networks[item.network_id]
            if network.is_overlay:
                try:
                    await self.the_cluster().publish(sandbox, item, network)
                except NetcoreError as error:
                    warnings.append(f"other hosts learn of {sandbox.name} on {network.name} later: {error}")
        return tuple(warnings)

    def tell_others_again(self, sandboxes: Iterable[Sandbox]) -> None:
        """Tell other hosts of what survived a restart, once they can be told."""
        for sandbox in sandboxes:
            for item in self.endpoints[sandbox.id]:
                network = self.networks[item.network_id]
                if network.is_overlay and self.cluster is not None:
                    self.cluster.publish_restored(sandbox, item, network)

    async def untell_others(self, endpoints: Iterable[Endpoint]) -> None:
        """Tell other hosts that endpoints are about to go; where they can't be told they find out when the lease ends."""
        for item in endpoints:
            if self.networks[item.network_id].is_overlay and self.cluster is not None:
                try:
                    await self.cluster.withdraw(item)
                except NetcoreError as error:
                    log.warning("other hosts are not told that an endpoint goes endpoint=%s reason=%s", item.id[:12], error)
