"""This host's part in what hosts share: it publishes what is here, takes addresses, and follows what other hosts publish.

While the store is not reachable, what was last known is kept (fail static): names and traffic go on, and whatever needs the
agreement of all hosts is refused at once.

A host follows nodes, networks and keys, and of the endpoints and addresses only those on networks that it has.

Hosts of different versions. The key `schema` has the newest schema version that any host writes. A host reads it before
anything else, raises it if its own is newer, and writes its node record in a transaction that compares it, so that no host
joins a cluster that has become newer meanwhile. Then:

* A host that is older than the key does not join. It says both versions, goes on alone, and its local networks are unaffected.
* When a newer host joins older ones, it raises the key and joins at once: it reads what they wrote, since every record
  carries its version (`netcore.store.upgrade`). The older hosts see the key change before anything else of the newer host, and
  stop following: their endpoints stay published and reachable and what they knew stays as it was, but they refuse whatever needs
  the agreement of all hosts, see no later change, and learn no later encryption key. So upgrade all hosts soon after the first.
* Hosts that run take a key that is no version like a newer one, since nobody can know who wrote it. A host that starts writes it again.
* Hosts that stopped following go on by themselves when the key has a version that they read, or is deleted: then one writes it again.
* berth 0.2.0 and earlier do not know the key. They can read what version 3 writes and go on following.

The key is never lowered: to go back to an older berth, stop all hosts and delete it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from itertools import islice
from typing import Any

from netcore import limits
from netcore.cluster import state as records
from netcore.cluster.announcements import Announcements, Lost
from netcore.cluster.encryption import Key
from netcore.cluster.followed_networks import FollowedNetworks, OnChange
from netcore.cluster.shared_addresses import SharedAddresses
from netcore.cluster.shared_keys import SharedKeys
from netcore.cluster.state import ClusterState, Description, Node
from netcore.cluster.store_access import StoreAccess
from netcore.errors import Conflict, NetcoreError, Unavailable
from netcore.model import Endpoint, IPAddress, Network, NetworkId, Sandbox
from netcore.store.protocol import Change, Compacted, CompareFailed, Conditions, KeyRange, SharedStore, Transaction, beginning_with, only
from netcore.store.upgrade import SCHEMA_VERSION

log = logging.getLogger(__name__)

OnEvent = Callable[[str, str, str, str | None, str | None], None]
"""(kind, action, name, network, node)."""
OnLost = Callable[[Lost], None]
_ACTIONS = {"node": ("join", "leave"), "network": ("create", "remove"), "endpoint": ("connect", "disconnect")}
"""Kind of a record → what it is called when one comes, and when one goes."""


class Cluster:
    """See the module. *open_store*: returns the store, or raises Unavailable and is called again.

    *clock*: seconds since the epoch. *review_period*: seconds between comparisons of what this host has with what the store holds.
    `state` has what is known of all hosts, this one included. `apart` returns why this host takes no part now, None if it does.
    `open` begins to open the store before `start` needs it.
    """

    def __init__(
        self, open_store: Callable[[], Awaitable[SharedStore]], node: Node, clock: Callable[[], float], review_period: float = 15.0
    ) -> None:
        self.node = node
        self.state = ClusterState()
        self._review_period = review_period
        self._on_change: OnChange = _ignore
        self._on_event: OnEvent = _ignore
        self._access = StoreAccess(open_store)
        self.open, self.apart = self._access.open, self._access.apart
        self._announcements = Announcements(node, self._access, self.state)
        self._addresses = SharedAddresses(self.state, self._announcements, clock)
        self._followed = FollowedNetworks(self._access, self.state, self._addresses, self._apply)
        self._keys = SharedKeys(node.id, self._access, self.state, clock)
        self._unreadable_before: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._known = asyncio.Event()
        self._loaded = asyncio.Event()
        self._review_wanted = asyncio.Event()
        self._networks_changed = asyncio.Event()

    async def start(self, on_change: OnChange, on_event: OnEvent, on_lost: OnLost, is_kept: Callable[[], bool] = lambda: False) -> None:
        """Begin to follow; waits for a moment only until what other hosts published is known, and goes on trying behind that.

        *on_change*: is told on the loop what changed, in order. *on_event*: is told what happened on other hosts.
        *on_lost*: is told which endpoints of this host must be disconnected, again on each review until they are withdrawn.
        *is_kept*: whether what an earlier run has said stays, because not everything that this host has can be read.
        """
        self._on_change, self._on_event = on_change, on_event
        self._followed.on_change = self._keys.on_change = on_change
        self._announcements.on_lost, self._announcements.is_kept = on_lost, is_kept
        self._spawn(self._follow())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.STORE_FIRST_WAIT):
                await self._known.wait()

    async def close(self) -> None:
        """Stop; what this host has published stays until its lease ends or it publishes something else."""
        self._followed.stop()
        for task in self._tasks:
            task.cancel()
        await self._access.close()

    def warnings(self) -> tuple[str, ...]:
        """Return what in the store is not as it should be, for the status."""
        unreadable = self.state.unreadable
        lines = [
            f"record {key} of the cluster can't be read and is left out: {reason}"
            for key, reason in islice(unreadable.items(), limits.UNREADABLE_WARNINGS)
        ]
        more = len(unreadable) - limits.UNREADABLE_WARNINGS
        if more > 0:
            lines.append(f"{more} more records of the cluster can't be read and are left out")
        return (*self._access.warnings(), *lines)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- following ----------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Connect, publish what is here, and apply all changes."""
        store = await self._access.opened()
        self._spawn(self._probe(store))
        self._spawn(self._review_again_and_again(store))
        while True:
            try:
                await self._load_and_watch(store)
            except Compacted:
                log.warning("changes were missed, everything is loaded again")
            except CompareFailed:
                log.warning("another host wrote the schema version at the same time; everything is loaded again")
            except NetcoreError as error:
                self._access.note(str(error))
                await asyncio.sleep(limits.STORE_RETRY)

    async def _load_and_watch(self, store: SharedStore) -> None:
        """Apply everything and then every change; returns when this host may not take part any more, or may again."""
        snapshot = await store.load(records.COMMON)
        schema = snapshot.items.get(records.SCHEMA_KEY)
        may_follow = self._access.judge(schema.value if schema is not None else None)
        if may_follow:
            self._on_change(self.state.replace_common(snapshot.items))
            self._networks_changed.set()
            self._report_unreadable()
            if self.state.schema is None or self.state.schema < SCHEMA_VERSION:
                await self._raise_schema(store)
            await self._announcements.say_node(store)
            # What this host has from before a restart; other networks are followed from their first endpoint on.
            for network_id in {*self._announcements.published.networks(), *self._followed.stopped()}:
                await self._followed.follow(store, network_id)
            self._access.note(None)
            # Others are known now; saying again what is here takes a while for each endpoint.
            self._known.set()
            await self._announcements.review(store)
        else:
            self._followed.stop()
        self._access.note(None)
        self._access.is_loaded = True
        self._known.set()
        self._loaded.set()
        async for change in store.watch(snapshot.revision, records.COMMON if may_follow else only(records.SCHEMA_KEY)):
            if change.key == records.SCHEMA_KEY and self._access.judge(change.value) is not may_follow:
                break
            if may_follow:
                self._apply(change)

    def _apply(self, change: Change) -> None:
        before = self.state.describe(change.key)
        touched = self.state.take(change.key, change.value, change.revision)
        self._report_unreadable()
        if change.key == records.NETWORKS_KEY:
            self._networks_changed.set()
        self._emit(before, self.state.describe(change.key))
        if change.key.startswith("address/") and records.is_address_key(change.key):
            is_taken = change.value is not None and change.key not in self.state.unreadable
            self._addresses.note(*records.parse_address_key(change.key), taken=is_taken)
        if change.key == records.node_key(self.node.id) and change.value is None:
            log.warning("this node's lease ran out while it was cut off; everything is published again")
            self._review_wanted.set()
        elif self._announcements.is_overtaken(change.key, change.value):
            self._review_wanted.set()
        if touched:
            self._on_change(touched)

    def _report_unreadable(self) -> None:
        for key in self.state.unreadable.keys() - self._unreadable_before:
            log.warning("a record of the cluster can't be read key=%s reason=%s", key, self.state.unreadable[key])
        self._unreadable_before = {*self.state.unreadable}

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
            except NetcoreError as error:
                self._access.note(str(error))
                continue
            if self._loaded.is_set() and not self._access.is_reachable:
                self._access.note(None)
                self._review_wanted.set()
            if self._access.superseded is None:
                # What fails is tried again with the next look.
                with contextlib.suppress(NetcoreError):
                    await self._keys.rotate()

    async def _review_again_and_again(self, store: SharedStore) -> None:
        """Compare what this host has with what the store holds of it: on a period, after a cut, and where something is missing."""
        await self._loaded.wait()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._review_period):
                    await self._review_wanted.wait()
            self._review_wanted.clear()
            try:
                if self._access.superseded is None:
                    await self._announcements.review(self._access.agreeing())
                else:
                    # Its endpoints stay, and so must their addresses.
                    await self._announcements.keep_sessions(self._access.reached())
            except NetcoreError as error:
                log.info("what this host has is compared again with the next review reason=%s", error)

    async def _raise_schema(self, store: SharedStore) -> None:
        """Let all hosts know that this one writes SCHEMA_VERSION. By itself: the node record ends with the node, this stays."""
        key, value = records.SCHEMA_KEY, str(SCHEMA_VERSION).encode()
        revision = await store.commit(Transaction({key: value}, {key: self.state.revisions.get(key, 0)}))
        if self.state.schema is not None:
            log.warning("hosts with an older berth stop following until they are upgraded schema=%d->%d", self.state.schema, SCHEMA_VERSION)
        self.state.write({key: value}, revision)

    async def catch_up(self) -> None:
        """Know the networks that all hosts have made and removed until now, if the watch is late; Unavailable."""
        key = records.NETWORKS_KEY
        item = (await self._access.agreeing().load(only(key))).items.get(key)
        try:
            async with asyncio.timeout(limits.STORE_DEADLINE):
                while item is not None and self.state.revisions.get(key, 0) < item.revision:
                    self._networks_changed.clear()
                    await self._networks_changed.wait()
        except TimeoutError:
            raise Unavailable("the cluster", "what other hosts changed does not arrive; local networks are unaffected") from None

    async def follow(self, network: Network) -> None:
        """Know all endpoints and addresses of a network from now on, because this host is about to have one; Unavailable."""
        if network.id not in self._followed:
            await self._followed.follow(self._access.agreeing(), network.id)

    def forget(self, network_id: NetworkId) -> None:
        """Follow a network no longer, because no endpoint is here."""
        self._followed.forget(network_id)

    async def look(self, network_id: NetworkId) -> ClusterState:
        """Return what is known of a network: asked of the store now, if this host does not follow it and the store is reached."""
        if network_id in self._followed or network_id in self._followed.stopped():
            return self.state
        return await self._read(records.endpoints_of(network_id), records.addresses_of(network_id))

    async def counts(self) -> dict[str, int]:
        """Return how many endpoints each node has, by its id, as far as the store is reached."""
        return (await self._read(beginning_with("endpoint/"))).counts()

    async def _read(self, *scopes: KeyRange) -> ClusterState:
        view = ClusterState()
        view.nodes = self.state.nodes
        with contextlib.suppress(NetcoreError):
            for scope in scopes:
                for key, item in (await self._access.reached().load(scope)).items.items():
                    view.take(key, item.value, item.revision)
        return view

    # --- keys ---------------------------------------------------------------------------------------------------

    def sending_key(self) -> Key | None:
        """Return the key that this host encrypts with now."""
        return self._keys.sending_key()

    async def ensure_key(self) -> None:
        """Make the first key, unless there is one; of several hosts that try, one makes it."""
        await self._keys.ensure()

    # --- publishing ---------------------------------------------------------------------------------------------

    async def publish(self, sandbox: Sandbox, endpoint: Endpoint, network: Network) -> None:
        """Tell all hosts of an endpoint; its names are answered there soon after."""
        key = self._announcements.published.add(sandbox, endpoint, network)
        await self._announcements.settle(key)

    def publish_restored(self, sandbox: Sandbox, endpoint: Endpoint, network: Network) -> None:
        """Remember an endpoint that survived a restart; it is published with all others once the store is reached."""
        self._announcements.published.add(sandbox, endpoint, network)

    async def withdraw(self, endpoint: Endpoint) -> None:
        """Tell all hosts that an endpoint is about to go. If they can't be told, they learn it when the lease ends or the store is back."""
        await self._announcements.settle(self._announcements.published.remove(endpoint))

    async def give_up(self, endpoint: Endpoint) -> None:
        """Withdraw an endpoint and give its addresses back, if other hosts were told of it; where they can't be told now, later."""
        if self._announcements.published.has(endpoint):
            with contextlib.suppress(NetcoreError):
                await self.withdraw(endpoint)
            for address in endpoint.addresses():
                await self._addresses.give(endpoint.network_id, address)

    async def create_network(self, network: Network) -> None:
        """Make *network* known to all hosts; Conflict if its name is taken, CompareFailed if another was made meanwhile."""
        store = self._access.agreeing()
        if any(other.name == network.name for other in self.state.networks.values()):
            raise Conflict("network", network.name, "already exists")
        await self._announcements.create_network(store, network)

    async def remove_network(self, network: Network) -> None:
        """Remove *network* from all hosts; Conflict if some host has an endpoint on it."""
        store, key = self._access.agreeing(), records.network_key(network.id)
        writes = {key: None, records.name_key(network.name): None, records.NETWORKS_KEY: b""}
        compares = {key: self.state.revisions.get(key, 0)}
        nobody = Conditions(empty=(records.addresses_of(network.id), records.endpoints_of(network.id)))
        try:
            revision = await store.commit(Transaction(writes, compares), nobody)
        except CompareFailed:
            known = await self.look(network.id)
            members = known.members(network.id)
            unreadable = sorted(key for key in known.unreadable if any(key in keys for keys in nobody.empty))
            if not members and not known.addresses.get(network.id):
                if not unreadable:
                    raise
                because = f"has records in etcd that can't be read ({', '.join(unreadable)}); delete them there first"
                raise Conflict("network", network.name, because) from None
            listed = ", ".join(f'name:"{record.sandbox}" on {node}' for node, record in members) or "one is about to be made"
            raise Conflict("network", network.name, f"has active endpoints ({listed}); disconnect them first") from None
        self.state.write(writes, revision)
        self._followed.forget(network.id)

    # --- addresses ----------------------------------------------------------------------------------------------

    async def take_address(self, network: Network, family: int, wish: IPAddress | None) -> IPAddress:
        """Take *wish*, or a free address, for no other host to have; Conflict, Exhausted, InvalidRequest, Unavailable."""
        await self.follow(network)
        return await self._addresses.take(network, family, wish)

    async def peek_address(self, network: Network, family: int, wish: IPAddress | None) -> IPAddress:
        """Return what `take_address` would ask for now; nothing is taken."""
        if network.id in self._followed or network.id in self._followed.stopped():
            return self._addresses.peek(network, family, wish)
        addresses = SharedAddresses(await self.look(network.id), self._announcements, lambda: 0.0)
        return addresses.peek(network, family, wish)

    async def give_address(self, network_id: NetworkId, address: IPAddress) -> None:
        """Give an address back to all hosts; it stays this host's while the store can't be reached."""
        await self._addresses.give(network_id, address)


def _ignore(*_: object) -> None:
    """Before the start nobody listens."""
