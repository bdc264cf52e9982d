"""This host's part in what hosts share: it publishes what is here, takes addresses, and follows what other hosts publish.

While the store is not reachable, what was last known is kept (fail static): names and traffic go on, and whatever needs the
agreement of all hosts is refused at once.

Hosts of different versions. The key `schema` has the newest schema version that any host writes. A host reads it before
anything else, raises it if its own is newer, and writes its node record in a transaction that compares it, so that no host
joins a cluster that has become newer meanwhile. Then:

* A host that is older than the key does not join. It says both versions, goes on alone, and its local networks are unaffected.
* When a newer host joins older ones, it raises the key and joins at once: it reads what they wrote, since every record
  carries its version (`netcore.store.upgrade`). The older hosts see the key change before anything else of the newer host, and
  stop following: their endpoints stay published and reachable and what they knew stays as it was, but they refuse whatever needs
  the agreement of all hosts, see no later change, and learn no later encryption key. So upgrade all hosts soon after the first.
* berth 0.2.0 and earlier do not know the key. They can read what version 3 writes and go on following.

The key is never lowered: to go back to an older berth, stop all hosts and delete it.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from netcore import limits
from netcore.cluster import state as records
from netcore.cluster.encryption import Key, KeyAges
from netcore.cluster.publications import Publications
from netcore.cluster.shared_pools import SharedPools
from netcore.cluster.state import ClusterChange, ClusterState, Description, KeysChanged, Node
from netcore.errors import Conflict, Exhausted, NetcoreError, Unavailable
from netcore.model import Endpoint, IPAddress, Network, NetworkId, Sandbox
from netcore.store.codec import encode_shared
from netcore.store.protocol import Change, Compacted, CompareFailed, SharedStore, Snapshot, Transaction
from netcore.store.upgrade import SCHEMA_VERSION, why_unreadable

log = logging.getLogger(__name__)

OnChange = Callable[[set[ClusterChange]], None]
OnEvent = Callable[[str, str, str, str | None, str | None], None]
"""(kind, action, name, network, node)."""
_ACTIONS = {"node": ("join", "leave"), "network": ("create", "remove"), "endpoint": ("connect", "disconnect")}
"""Kind of a record → what it is called when one comes, and when one goes."""


class Cluster:
    """See the module. *open_store*: returns the store, or raises Unavailable and is called again. *clock*: for addresses in quarantine.

    `state` has what is known of all hosts, this one included.
    """

    def __init__(self, open_store: Callable[[], Awaitable[SharedStore]], node: Node, clock: Callable[[], float]) -> None:
        self.node = node
        self.state = ClusterState()
        self._open_store = open_store
        self._clock = clock
        self._on_change: OnChange = _ignore
        self._on_event: OnEvent = _ignore
        self._store: SharedStore | None = None
        # The sessions of the node and its endpoints, and of its addresses, which outlasts the first.
        self._lease, self._address_lease = f"node/{node.id}", f"hold/{node.id}"
        self._published = Publications(node.id)
        self._pools = SharedPools()
        self._key_ages = KeyAges()
        self._sending_key: Key | None = None
        self._unreachable: str | None = "the store has not answered yet"
        self._superseded: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._loaded = asyncio.Event()

    async def start(self, on_change: OnChange, on_event: OnEvent) -> None:
        """Begin to follow; waits for the store for a moment only, and goes on trying behind that.

        *on_change*: is told on the loop what changed, in order. *on_event*: is told what happened on other hosts.
        """
        self._on_change, self._on_event = on_change, on_event
        self._spawn(self._follow())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.STORE_FIRST_WAIT):
                await self._loaded.wait()

    async def close(self) -> None:
        """Stop; what this host has published stays until its lease ends or it publishes something else."""
        for task in self._tasks:
            task.cancel()
        if self._store is not None:
            await self._store.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- following ----------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Connect, publish what is here, and apply all changes, until a newer berth has taken over."""
        while self._store is None:
            try:
                self._store = await self._open_store()
            except NetcoreError as error:
                self._note_reachability(str(error))
                await asyncio.sleep(limits.STORE_RETRY)
        self._spawn(self._probe(self._store))
        while self._superseded is None:
            try:
                await self._load_and_watch(self._store)
            except Compacted:
                log.warning("changes were missed, everything is loaded again")
            except CompareFailed:
                log.warning("another host wrote the schema version at the same time; everything is loaded again")
            except NetcoreError as error:
                self._note_reachability(str(error))
                await asyncio.sleep(limits.STORE_RETRY)

    async def _load_and_watch(self, store: SharedStore) -> None:
        """Apply everything and then every change; returns when a newer berth has taken over."""
        snapshot = await store.load()
        schema = snapshot.items.get(records.SCHEMA_KEY)
        if schema is None or not self._is_superseded(schema.value):
            self._replace_all(snapshot)
            if not self._loaded.is_set():
                # A daemon before this one was killed in the middle of something, and left these behind.
                self._published.withdrawn |= self.state.keys_of_node(self.node.id) - self._published.keys()
            await self._publish_all(store)
        self._note_reachability(None)
        self._loaded.set()
        if self._superseded is not None:
            return
        async for change in store.watch(snapshot.revision):
            if change.key == records.SCHEMA_KEY and self._is_superseded(change.value):
                return
            self._apply(change)

    def _is_superseded(self, schema: bytes | None) -> bool:
        """Return whether a newer berth writes to the store, as the value of the key `schema` says; from then on nothing is followed."""
        reason = why_unreadable(int(schema)) if schema is not None else None
        if reason is not None:
            log.error("cluster is not followed any more reason=%s", reason)
            self._superseded = reason
        return reason is not None

    def _replace_all(self, snapshot: Snapshot) -> None:
        before = self.state.all_changes()
        self.state.replace_all(snapshot.items)
        self._pools.clear()
        self._on_change(before | self.state.all_changes())

    def _apply(self, change: Change) -> None:
        before = self.state.describe(change.key)
        touched = self.state.take(change.key, change.value, change.revision)
        if change.key in self.state.unreadable:
            log.warning("a record of the cluster can't be read key=%s reason=%s", change.key, self.state.unreadable[change.key])
            return
        self._emit(before, self.state.describe(change.key))
        if change.key.startswith("address/"):
            network_id, address = records.parse_address_key(change.key)
            if change.value is None:
                self._pools.release(network_id, address, self._clock())
            else:
                self._pools.take(network_id, address)
        elif change.key == records.node_key(self.node.id) and change.value is None:
            log.warning("this node's lease ran out while it was cut off; everything is published again")
            self._spawn(self._publish_again())
        if touched:
            self._on_change(touched)

    def _emit(self, before: Description | None, after: Description | None) -> None:
        """Tell listeners of events what happened on another host: something came, or went."""
        subject = after or before
        if subject is None or (before is None) == (after is None) or subject.node_id == self.node.id:
            return
        node = self.state.nodes.get(subject.node_id) if subject.node_id is not None else None
        action = _ACTIONS[subject.kind][after is None]
        self._on_event(subject.kind, action, subject.name, subject.network, node.name if node is not None else subject.node_id)

    async def _probe(self, store: SharedStore) -> None:
        """Ask the store now and then whether it answers, so that no operation has to wait to find out."""
        while True:
            await asyncio.sleep(limits.STORE_PROBE)
            try:
                await store.probe()
                if self._loaded.is_set() and self._unreachable is not None:
                    self._note_reachability(None)
                    if self._superseded is None:
                        await self._publish_all(store)
                if self._superseded is None:
                    await self._rotate_keys()
            except NetcoreError as error:
                self._note_reachability(str(error))

    def _note_reachability(self, unreachable: str | None) -> None:
        """Note that the store is reachable, or why not, and log it when that is new."""
        if unreachable is not None and self._unreachable is None:
            log.warning("cluster is not reachable reason=%s", unreachable)
        elif unreachable is None and self._unreachable is not None:
            log.warning("cluster is reachable again" if self._loaded.is_set() else "cluster is reachable")
        self._unreachable = unreachable

    # --- keys ---------------------------------------------------------------------------------------------------

    def sending_key(self) -> Key | None:
        """Return the key that this host encrypts with now."""
        return self._key_ages.sending_key(self.state.keys, asyncio.get_running_loop().time())

    async def ensure_key(self) -> None:
        """Make the first key, unless there is one; of several hosts that try, one makes it."""
        if not self.state.keys:
            await self._make_key(1)

    async def _make_key(self, number: int) -> None:
        key = records.secret_key(number)
        value = encode_shared(Key(number=number, secret=secrets.token_hex(32)))
        with contextlib.suppress(CompareFailed):
            revision = await self._agreeing().commit(Transaction({key: value}, {key: 0}))
            self._apply(Change(key, value, revision))

    async def _rotate_keys(self) -> None:
        """Notice when this host is to send with another key. One host of all makes new keys and deletes old ones."""
        current = self.sending_key()
        if current != self._sending_key:
            self._sending_key = current
            self._on_change({KeysChanged()})
        if min(self.state.nodes, default=None) != self.node.id:
            return
        rotation = self._key_ages.rotation(self.state.keys, asyncio.get_running_loop().time())
        if rotation.make is not None:
            await self._make_key(rotation.make)
        for number in rotation.delete:
            await self._agreeing().commit(Transaction({records.secret_key(number): None}))

    # --- publishing ---------------------------------------------------------------------------------------------

    def _reached(self) -> SharedStore:
        """Return the store; Unavailable while it can't be reached."""
        if self._store is None or self._unreachable is not None:
            raise Unavailable("the cluster", f"{self._unreachable}; local networks are unaffected")
        return self._store

    def _agreeing(self) -> SharedStore:
        """Return the store for what needs the agreement of all hosts; Unavailable if this host does not take part."""
        if self._superseded is not None:
            raise Unavailable("the cluster", f"{self._superseded}; local networks are unaffected")
        return self._reached()

    async def _publish_all(self, store: SharedStore) -> None:
        """Publish this node and its endpoints, withdraw what is to be withdrawn; CompareFailed if a newer host came first."""
        if self.state.schema is None or self.state.schema < SCHEMA_VERSION:
            await self._raise_schema(store)
        compares = {records.SCHEMA_KEY: self.state.revisions[records.SCHEMA_KEY]}
        writes = {records.node_key(self.node.id): encode_shared(self.node)}
        await store.commit(Transaction(writes, compares, session=self._lease))
        for key, record in [*self._published.records.items()]:
            await store.commit(Transaction({key: record}, session=self._lease))
        for key in [*self._published.withdrawn]:
            await store.commit(Transaction({key: None}))
            self._published.withdrawn.discard(key)

    async def _raise_schema(self, store: SharedStore) -> None:
        """Let all hosts know that this one writes SCHEMA_VERSION. By itself: the node record ends with the node, this stays."""
        key, value = records.SCHEMA_KEY, str(SCHEMA_VERSION).encode()
        revision = await store.commit(Transaction({key: value}, {key: self.state.revisions.get(key, 0)}))
        if self.state.schema is not None:
            log.warning("hosts with an older berth stop following until they are upgraded schema=%d->%d", self.state.schema, SCHEMA_VERSION)
        self.state.apply(key, value, revision)

    async def _publish_again(self) -> None:
        try:
            await self._publish_all(self._agreeing())
        except NetcoreError as error:
            # The probe publishes once the store is reached again.
            self._note_reachability(str(error))

    async def publish(self, sandbox: Sandbox, endpoint: Endpoint, network: Network) -> None:
        """Tell all hosts of an endpoint; its names are answered there soon after."""
        key = self._published.add(sandbox, endpoint, network)
        await self._agreeing().commit(Transaction({key: self._published.records[key]}, session=self._lease))

    def publish_restored(self, sandbox: Sandbox, endpoint: Endpoint, network: Network) -> None:
        """Remember an endpoint that survived a restart; it is published with all others once the store is reached."""
        self._published.add(sandbox, endpoint, network)

    async def withdraw(self, endpoint: Endpoint) -> None:
        """Tell all hosts that an endpoint is about to go. If they can't be told, they learn it when the lease ends or the store is back."""
        await self._delete(self._published.remove(endpoint))

    async def create_network(self, network: Network) -> None:
        """Make *network* known to all hosts; Conflict if its name is taken, CompareFailed if another was made meanwhile."""
        store, network_key, name_key = self._agreeing(), records.network_key(network.id), records.name_key(network.name)
        if any(other.name == network.name for other in self.state.networks.values()):
            raise Conflict("network", network.name, "already exists")
        network_id = network.id.encode()
        writes = {network_key: encode_shared(network), name_key: network_id, records.NETWORKS_KEY: network_id}
        compares = {name_key: 0, network_key: 0, records.NETWORKS_KEY: self.state.revisions.get(records.NETWORKS_KEY, 0)}
        revision = await store.commit(Transaction(writes, compares))
        for key, value in writes.items():
            self.state.apply(key, value, revision)

    async def remove_network(self, network: Network) -> None:
        """Remove *network* from all hosts; Conflict if some host has an endpoint on it."""
        store = self._agreeing()
        members = self.state.members(network.id)
        if members or self.state.addresses.get(network.id):
            listed = ", ".join(f'name:"{record.sandbox}" on {node}' for node, record in members) or "one is about to be made"
            raise Conflict("network", network.name, f"has active endpoints ({listed}); disconnect them first")
        key = records.network_key(network.id)
        writes = {key: None, records.name_key(network.name): None, records.NETWORKS_KEY: b""}
        revision = await store.commit(Transaction(writes, {key: self.state.revisions.get(key, 0)}))
        self.state.apply(key, None, revision)
        self._pools.forget(network.id)

    # --- addresses ----------------------------------------------------------------------------------------------

    async def take_address(self, network: Network, family: int, wish: IPAddress | None) -> IPAddress:
        """Take *wish*, or a free address, for no other host to have; Conflict, Exhausted, InvalidRequest, Unavailable."""
        field = "ip" if family == 4 else "ip6"
        network_key = records.network_key(network.id)
        for _ in range(limits.ADDRESS_ATTEMPTS):
            store = self._agreeing()
            pool = self._pools.pool(network, family, self.state.addresses.get(network.id, ()))
            if wish is not None:
                pool.reserve(wish, field=field)
            address = wish or pool.allocate(self._clock())
            key = records.address_key(network.id, address)
            self._published.withdrawn.discard(key)
            compares = {key: 0, network_key: self.state.revisions.get(network_key, 0)}
            try:
                await store.commit(Transaction({key: self.node.id.encode()}, compares, session=self._address_lease))
            except CompareFailed as error:
                if network.id not in self.state.networks:
                    raise Conflict("network", network.name, "was removed meanwhile") from error
                if wish is not None:
                    raise Conflict("address", str(wish), because=f"address already in use on network {network.name}") from error
                # Another host was first; the pool keeps the address as taken and proposes the next.
                continue
            except BaseException:
                pool.give_back(address)
                raise
            return address
        attempts = limits.ADDRESS_ATTEMPTS
        raise Exhausted("network", network.name, because=f"no address could be had in {attempts} attempts: other hosts were first")

    def peek_address(self, network: Network, family: int, wish: IPAddress | None) -> IPAddress:
        """Return what `take_address` would ask for now; nothing is taken and no other host is asked."""
        pool = copy.deepcopy(self._pools.pool(network, family, self.state.addresses.get(network.id, ())))
        if wish is None:
            return pool.allocate(self._clock())
        pool.reserve(wish, field="ip" if family == 4 else "ip6")
        return wish

    async def give_address(self, network_id: NetworkId, address: IPAddress) -> None:
        """Give an address back to all hosts; it stays this host's while the store can't be reached."""
        with contextlib.suppress(Unavailable):
            await self._delete(records.address_key(network_id, address))

    async def _delete(self, key: str) -> None:
        """Delete *key* now, or as soon as that is possible: a record that is gone has no schema, so any host may."""
        self._published.withdrawn.add(key)
        await self._reached().commit(Transaction({key: None}))
        self._published.withdrawn.discard(key)


def _ignore(*_: object) -> None:
    """Before the start nobody listens."""
