"""What this host says to all hosts: that it is there, its endpoints, and the addresses that they have.

One key is settled at a time: it is compared with what this host must have, and written, taken or deleted under a lock of its own.
So nothing that a withdrawal has overtaken is said. `review` compares everything with the keys of this host's two sessions, which is
what the store holds of it: at the start, after each cut, and on a period. It finds what a lost answer or a killed daemon left, too.

An address is this host's if its key has this host's id. The key is made only where there is none, so of two hosts that claim one
after a long cut the one that the store has keeps it. The endpoint of the other host is lost: it must be disconnected there.
An endpoint's record is written only while its addresses are this host's.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace

from netcore.cluster import state as records
from netcore.cluster.publications import Publications
from netcore.cluster.record_checks import holder_in
from netcore.cluster.state import ClusterState, Node
from netcore.cluster.store_access import StoreAccess
from netcore.model import Endpoint, Network, NetworkId, SandboxId
from netcore.plan import restorable
from netcore.store.codec import encode_shared
from netcore.store.protocol import CompareFailed, Conditions, SharedStore, Transaction, only

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lost:
    """An endpoint of this host that must be disconnected. *network*: its name. *reason*: for people."""

    sandbox_id: SandboxId
    network_id: NetworkId
    network: str
    reason: str


class Announcements:
    """See the module. *on_lost*: is told of an endpoint, again at each review until it is withdrawn.

    *is_kept*: whether to leave what the store holds of this host beyond what it must.
    """

    def __init__(self, node: Node, access: StoreAccess, state: ClusterState) -> None:
        self._node = node
        self._access = access
        self._state = state
        self.published = Publications(node.id)
        # The sessions of the node and its endpoints, and of its addresses, which outlasts the first.
        self._lease, self._address_lease = f"node/{node.id}", f"hold/{node.id}"
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._revisions: dict[str, int] = {}
        self._unsettled: set[str] = set()
        self._claiming: set[str] = set()
        self.is_kept: Callable[[], bool] = lambda: False
        self.on_lost: Callable[[Lost], None] = lambda _: None

    async def keep_sessions(self, store: SharedStore) -> frozenset[str]:
        """Keep this host's sessions from ending, without writing anything; return the keys that the store holds of them."""
        return await store.keep_session(self._lease) | await store.keep_session(self._address_lease)

    async def say_node(self, store: SharedStore) -> None:
        """Say that this host is there; CompareFailed if a newer berth came first."""
        compares = {records.SCHEMA_KEY: self._state.revisions.get(records.SCHEMA_KEY, 0)}
        writes = {records.node_key(self._node.id): encode_shared(self._node)}
        await store.commit(Transaction(writes, compares, session=self._lease))

    async def review(self, store: SharedStore) -> None:
        """Compare what the store holds of this host with what it must, and settle what differs."""
        said = await self.keep_sessions(store)
        node_key = records.node_key(self._node.id)
        if node_key not in said or node_key in self._state.unreadable:
            await self.say_node(store)
        await self._say_networks(store)
        wanted = self.published.keys()
        differing = (wanted - said) | self._unsettled | self._outdated()
        if not self.is_kept():
            differing |= said - wanted - {node_key}
        # Addresses sort before endpoints, which need them.
        for key in sorted(differing):
            if self._lock(key).locked():
                # Somebody settles it now; if that fails, it is not settled for the next review.
                continue
            try:
                await self.settle(key)
            except CompareFailed:
                log.info("another host changed a record at the same time; it is looked at again key=%s", key)

    def _outdated(self) -> set[str]:
        """Return the keys of endpoints that other hosts know with older facts, such as a name from before a rename, or can't read."""
        unreadable = self._state.unreadable.keys() & self.published.records.keys()
        pairs = [(key, self._state.endpoint(key), record) for key, record in self.published.records.items()]
        return unreadable | {key for key, known, record in pairs if known is not None and known != record}

    def is_overtaken(self, key: str, value: bytes | None) -> bool:
        """Return whether *value* is not what this host must have at *key*: somebody else changed it, or its session ended."""
        if key in self.published.claimed:
            # While this host tries to take an address, another may be quicker.
            return value != self._own and key not in self._claiming
        return value is None and key in self.published.records

    @property
    def _own(self) -> bytes:
        return self._node.id.encode()

    def _lock(self, key: str) -> asyncio.Lock:
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        return lock

    async def settle(self, key: str) -> None:
        """Bring one key of the store to what this host must have there now. Unavailable, CompareFailed: it is tried again later."""
        async with self._lock(key):
            self._unsettled.add(key)
            if key in self.published.claimed:
                holder = await self._hold(key, self._network_of(key))
                is_settled = holder == self._node.id
                if not is_settled:
                    self._lose(key, holder)
            elif key in self.published.records:
                is_settled = await self._say(key)
            else:
                await self._withdraw(key)
                is_settled = True
            if is_settled:
                self._unsettled.discard(key)

    async def claim(self, key: str, compares: dict[str, int]) -> bool:
        """Take the address at *key* for an endpoint that is being made; return whether it is this host's now.

        *compares*: what else must hold. CompareFailed if that does not, and the address is free.
        """
        async with self._lock(key):
            if key in self.published.claimed:
                return False
            self.published.claimed.add(key)
            self._claiming.add(key)
            try:
                is_held = await self._hold(key, compares) == self._node.id
            except BaseException:
                # The store may have done it, or do it yet.
                self.release(key)
                raise
            finally:
                self._claiming.discard(key)
            if not is_held:
                self.published.claimed.discard(key)
            return is_held

    def release(self, key: str) -> None:
        """Note that the address at *key* is not needed any more; `settle` tells the store."""
        self.published.claimed.discard(key)
        self._unsettled.add(key)

    def _network_of(self, key: str) -> dict[str, int]:
        """Return the compare that the network of an address exists; CompareFailed if it does not."""
        network_key = records.network_key(records.parse_address_key(key)[0])
        if network_key not in self._state.revisions:
            raise CompareFailed(network_key)
        return {network_key: self._state.revisions[network_key]}

    async def _hold(self, key: str, compares: dict[str, int]) -> str:
        """Make the address at *key* this host's in the store, if it is nobody's; return the id of the node that has it then."""
        store = self._access.agreeing()
        transaction = Transaction({key: self._own}, {key: 0, **compares}, session=self._address_lease)
        try:
            self._revisions[key] = await store.commit(transaction)
        except CompareFailed:
            item = (await store.load(only(key))).items.get(key)
            if item is None:
                raise
            holder = holder_in(item.value)
            if holder is not None and holder != self._node.id:
                return holder
            self._revisions[key] = await store.commit(replace(transaction, compares={**compares, key: item.revision}))
        return self._node.id

    def _lose(self, key: str, holder: str) -> None:
        """Tell that the node *holder* has the address at *key*."""
        _, address = records.parse_address_key(key)
        name = self._state.nodes[holder].name if holder in self._state.nodes else holder[:12]
        for endpoint in self.published.users_of(key):
            self._lose_endpoint(endpoint, f"host {name} took the address {address} while this host was cut off from etcd")

    def _lose_endpoint(self, endpoint: Endpoint, reason: str) -> None:
        network = self.published.networks()[endpoint.network_id]
        self.on_lost(Lost(endpoint.sandbox_id, endpoint.network_id, network.name, reason))

    async def _say(self, key: str) -> bool:
        """Write the record of an endpoint; return False if an address of it is another host's."""
        store = self._access.agreeing()
        addresses = self.published.addresses_of(key)
        held = Conditions(values=dict.fromkeys(addresses, self._own))
        transaction = Transaction({key: encode_shared(self.published.records[key])}, session=self._lease)
        try:
            await store.commit(transaction, held)
        except CompareFailed:
            for address in sorted(addresses):
                await self.settle(address)
            if not addresses.isdisjoint(self._unsettled):
                # What was said of it before must not lead to the other host's address.
                await store.commit(Transaction({key: None}))
                return False
            await store.commit(transaction, held)
        return True

    async def _withdraw(self, key: str) -> None:
        """Delete *key*, if it is this host's: a record that is gone has no schema, so a host that was superseded may."""
        store = self._access.reached()
        if not key.startswith("address/"):
            await store.commit(Transaction({key: None}))
            return
        revision = self._revisions.pop(key, None)
        if revision is not None:
            try:
                await store.commit(Transaction({key: None}, {key: revision}))
            except CompareFailed:
                pass
            else:
                return
        item = (await store.load(only(key))).items.get(key)
        if item is not None and item.value == self._own:
            await store.commit(Transaction({key: None}, {key: item.revision}))

    # --- networks -----------------------------------------------------------------------------------------------

    async def create_network(self, store: SharedStore, network: Network) -> None:
        """Make *network* known to all hosts; CompareFailed if another one was made meanwhile."""
        network_id = network.id.encode()
        network_key, name_key = records.network_key(network.id), records.name_key(network.name)
        writes = {network_key: encode_shared(network), name_key: network_id, records.NETWORKS_KEY: network_id}
        compares = {name_key: 0, network_key: 0, records.NETWORKS_KEY: self._state.revisions.get(records.NETWORKS_KEY, 0)}
        revision = await store.commit(Transaction(writes, compares))
        self._state.write(writes, revision)

    async def _say_networks(self, store: SharedStore) -> None:
        """Make known again what the store has lost, or was removed while this host was cut off, unless another took its place."""
        for network in self.published.networks().values():
            if network.id in self._state.networks:
                continue
            other = next((other for other in self._state.networks.values() if _collide(network, other)), None)
            if other is not None:
                for endpoint in self.published.endpoints_on(network.id):
                    cause = f"network {network.name} was removed while this host was cut off from etcd"
                    self._lose_endpoint(endpoint, f"{cause}, and network {other.name} took its place")
                continue
            try:
                await self.create_network(store, network)
                log.warning("network was not known to the cluster any more and is made known again network=%s", network.name)
            except CompareFailed:
                log.info("another host changed the networks at the same time network=%s", network.name)


def _collide(network: Network, other: Network) -> bool:
    """Return whether two networks can't exist beside each other: by their names, subnets or VNIs."""
    vxlan, others = network.bridge.vxlan, other.bridge.vxlan
    has_same_vni = vxlan is not None and others is not None and vxlan.vni == others.vni
    return has_same_vni or restorable.clashes(network, (other,)) is not None
