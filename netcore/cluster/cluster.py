"""This host's part in what hosts share: it says what is here, takes addresses, and follows what others say.

What was last known is kept while etcd is not reachable (fail static): names and traffic go on, and whatever needs the
agreement of all is refused at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import secrets
from collections.abc import Callable, Coroutine
from ipaddress import ip_address
from typing import Any

from netcore import limits
from netcore.cluster import encryption
from netcore.cluster import state as records
from netcore.cluster.encryption import Key
from netcore.cluster.state import ClusterState, Described, Node, Touched
from netcore.errors import Conflict, Exhausted, InvalidRequest, NetcoreError, Unavailable
from netcore.model import Endpoint, IPAddress, Network, Sandbox
from netcore.plan import ipam
from netcore.store.codec import encode
from netcore.store.etcd import EtcdSettings, EtcdStore, open_etcd
from netcore.store.protocol import Compacted, CompareFailed, Snapshot, Transaction

log = logging.getLogger(__name__)

OnChange = Callable[[set[Touched]], None]
OnEvent = Callable[[str, str, str, str | None, str | None], None]
"""(kind, action, name, network, node)."""
_ACTIONS = {"node": ("join", "leave"), "network": ("create", "remove"), "endpoint": ("connect", "disconnect")}


def _reserve(pool: ipam.AddressPool, address: IPAddress) -> None:
    """Keep *address*, which some host has, from being handed out here; it may be kept already."""
    with contextlib.suppress(Conflict, InvalidRequest):
        pool.reserve(address, field="address")


class Cluster:
    """See the module. *on_change*: told what changed, in order, on the loop. *clock*: for addresses at rest."""

    def __init__(self, settings: EtcdSettings, node: Node, on_change: OnChange, clock: Callable[[], float]) -> None:
        self.node = node
        self.state = ClusterState()
        self._settings = settings
        self._on_change = on_change
        self._clock = clock
        self.on_event: OnEvent | None = None
        self._seen: dict[int, float] = {}
        self._sender: Key | None = None
        self._store: EtcdStore | None = None
        self._own: dict[str, bytes] = {}
        self._own_addresses: dict[str, tuple[IPAddress, ...]] = {}
        self._to_delete: set[str] = set()
        self._pools: dict[str, tuple[ipam.AddressPool, ...]] = {}
        self._reason = "etcd has not answered yet"
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = asyncio.Event()

    async def start(self) -> None:
        """Begin; waits for etcd for a moment only, and goes on trying behind that."""
        self._do(self._follow())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.STORE_FIRST_WAIT):
                await self._ready.wait()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop; what this host has said stays until its lease ends or it says something else."""
        for task in self._tasks:
            task.cancel()
        if self._store is not None:
            await self._store.close()

    async def leave(self) -> None:
        """Withdraw this node and its endpoints at once, addresses too."""
        if self._store is not None:
            await self._store.end_session(self._lease)
            await self._store.end_session(self._hold)

    @property
    def reason(self) -> str:
        """Why the cluster can't be asked now, "" if it can."""
        return self._reason

    @property
    def _lease(self) -> str:
        return f"node/{self.node.id}"

    @property
    def _hold(self) -> str:
        return f"hold/{self.node.id}"

    # --- following ----------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Connect, say that this node is here, and take in all changes, for ever."""
        while self._store is None:
            try:
                self._store = await open_etcd(self._settings)
            except NetcoreError as error:
                self._note(str(error))
                await asyncio.sleep(limits.STORE_RETRY)
        self._do(self._probe(self._store))
        while True:
            try:
                snapshot = await self._store.load()
                self._begin_anew(snapshot)
                if not self._ready.is_set():
                    # What a daemon before us left behind when it was killed in the middle of something.
                    self._to_delete |= self.state.keys_of(self.node.id) - self._own_keys()
                await self._say_all()
                self._note("")
                self._ready.set()
                async for change in self._store.watch(snapshot.revision):
                    self._take_in(change.key, change.value, change.revision)
            except Compacted:
                log.warning("history is gone, everything is loaded again")
            except NetcoreError as error:
                self._note(str(error))
                await asyncio.sleep(limits.STORE_RETRY)

    def _begin_anew(self, snapshot: Snapshot) -> None:
        before = self.state.everything()
        fresh = ClusterState()
        fresh.fill(snapshot.items)
        # Readers hold on to the picture itself.
        self.state.__dict__.update(fresh.__dict__)
        self._pools.clear()
        self._on_change(before | self.state.everything())

    def _take_in(self, key: str, value: bytes | None, revision: int) -> None:
        before = self.state.described(key)
        touched = self.state.apply(key, value, revision)
        self._tell_of(before, self.state.described(key))
        if key.startswith("address/"):
            self._follow_address(key, value is None)
        elif key == records.node_key(self.node.id) and value is None:
            # Others think this host is gone: the lease ran out while it was cut off.
            log.warning("this node's lease had run out; all is said again")
            self._do(self._say_all())
        if touched:
            self._on_change(touched)

    def _tell_of(self, before: Described | None, after: Described | None) -> None:
        """Tell who listens to events what happened on another host."""
        what = after or before
        if what is None or (before is None) == (after is None) or what[3] == self.node.id or self.on_event is None:
            return
        kind, name, network, node = what
        here = self.state.nodes.get(node)
        self.on_event(kind, _ACTIONS[kind][after is None], name, network, here.name if here is not None else node or None)

    def _follow_address(self, key: str, gone: bool) -> None:
        _, network_id, text = key.split("/", 2)
        address = ip_address(text)
        for pool in self._pools.get(network_id, ()):
            if address not in pool.pool.subnet:
                continue
            if gone:
                pool.release(address, self._clock())
            else:
                _reserve(pool, address)

    async def _probe(self, store: EtcdStore) -> None:
        """Look now and then whether etcd answers, so that nobody has to wait to find out."""
        while True:
            await asyncio.sleep(limits.STORE_PROBE)
            try:
                await store.probe()
                if self._ready.is_set() and self._reason:
                    self._note("")
                    await self._say_all()
                await self._rotate()
            except NetcoreError as error:
                self._note(str(error))

    # --- keys ---------------------------------------------------------------------------------------------------

    def sender(self) -> Key | None:
        """Return the key that this host sends with now."""
        now = asyncio.get_running_loop().time()
        for number in self.state.keys:
            self._seen.setdefault(number, now)
        return encryption.sending([*self.state.keys.values()], self._seen, now)

    async def ensure_key(self) -> None:
        """See to it that there is a key; of several hosts that try one makes it."""
        if not self.state.keys:
            await self._make_key(1)

    async def _make_key(self, number: int) -> None:
        key = f"key/{number}"
        value = encode(Key(number=number, secret=secrets.token_hex(32)))
        with contextlib.suppress(CompareFailed):
            revision = await self._reachable().commit(Transaction({key: value}, {key: 0}))
            self._take_in(key, value, revision)

    async def _rotate(self) -> None:
        """Follow an old key by a new one, and let go of what no host sends with any more; one host of all does."""
        sender = self.sender()
        if sender != self._sender:
            self._sender = sender
            self._on_change({records.KEYS})
        if sender is None or min(self.state.nodes, default="") != self.node.id:
            return
        newest = max(self.state.keys)
        if sender.number == newest and asyncio.get_running_loop().time() - self._seen[newest] >= limits.KEY_LIFE:
            await self._make_key(newest + 1)
        for number in [item for item in self.state.keys if item < newest - 1]:
            await self._reachable().commit(Transaction({f"key/{number}": None}))

    def _note(self, reason: str) -> None:
        if bool(reason) != bool(self._reason):
            log.warning("cluster is %s reason=%s", "not reachable" if reason else "reachable again", reason)
        self._reason = reason

    def _own_keys(self) -> set[str]:
        """Return the keys that the endpoints of this host stand for: their own, and those of their addresses."""
        keys = set(self._own)
        for key, addresses in self._own_addresses.items():
            keys |= {records.address_key(key.split("/")[1], address) for address in addresses}
        return keys

    # --- saying -------------------------------------------------------------------------------------------------

    def _reachable(self) -> EtcdStore:
        if self._store is None or self._reason:
            raise Unavailable("the cluster", f"{self._reason}; networks of this host are not concerned")
        return self._store

    async def _say_all(self) -> None:
        assert self._store is not None
        await self._store.commit(Transaction({records.node_key(self.node.id): encode(self.node)}, session=self._lease))
        for key, value in [*self._own.items()]:
            await self._store.commit(Transaction({key: value}, session=self._lease))
        for key in [*self._to_delete]:
            await self._store.commit(Transaction({key: None}))
            self._to_delete.discard(key)

    async def publish(self, sandbox: Sandbox, endpoint: Endpoint, network: Network) -> None:
        """Tell all hosts of an endpoint; its names answer there soon after."""
        key = self._remember(sandbox, endpoint, network)
        self._to_delete.discard(key)
        await self._reachable().commit(Transaction({key: self._own[key]}, session=self._lease))

    def publish_again(self, sandbox: Sandbox, endpoint: Endpoint, network: Network) -> None:
        """Remember an endpoint that survived a restart; it is told with all others once the cluster is reached."""
        self._remember(sandbox, endpoint, network)

    def _remember(self, sandbox: Sandbox, endpoint: Endpoint, network: Network) -> str:
        key = records.endpoint_key(endpoint)
        self._own[key] = records.endpoint_record(self.node.id, sandbox, endpoint, network)
        self._own_addresses[key] = endpoint.addresses()
        return key

    async def withdraw(self, endpoint: Endpoint) -> None:
        """Tell all hosts that an endpoint is about to go; while they can't be told its lease does, and later this."""
        key = records.endpoint_key(endpoint)
        self._own.pop(key, None)
        self._own_addresses.pop(key, None)
        await self._delete(key)

    async def create_network(self, network: Network) -> None:
        """Make *network* known to all hosts; Conflict if its name is taken, CompareFailed if another was made meanwhile."""
        store, name = self._reachable(), records.name_key(network.name)
        writes = {records.network_key(network.id): encode(network), name: network.id.encode(), records.NETWORKS: network.id.encode()}
        compares = {name: 0, records.network_key(network.id): 0, records.NETWORKS: self.state.revisions.get(records.NETWORKS, 0)}
        if any(item.name == network.name for item in self.state.networks.values()):
            raise Conflict("network", network.name, f"network with name {network.name} already exists")
        revision = await store.commit(Transaction(writes, compares))
        for key, value in writes.items():
            self.state.apply(key, value, revision)

    async def remove_network(self, network: Network) -> None:
        """Take *network* away from all hosts; Conflict if some host has an endpoint on it."""
        store = self._reachable()
        members = self.state.members(network.id)
        if members or self.state.addresses.get(network.id):
            listed = ", ".join(f'name:"{item.sandbox}" on {node}' for node, item in members) or "one is about to be made"
            raise Conflict("network", network.name, f"has active endpoints ({listed}); disconnect them first")
        key = records.network_key(network.id)
        writes = {key: None, records.name_key(network.name): None, records.NETWORKS: b""}
        revision = await store.commit(Transaction(writes, {key: self.state.revisions.get(key, 0)}))
        self.state.apply(key, None, revision)
        self._pools.pop(network.id, None)

    # --- addresses ----------------------------------------------------------------------------------------------

    async def take_address(self, network: Network, family: int, wish: IPAddress | None) -> IPAddress:
        """Take *wish*, or a free address, for no other host to have; Conflict, Exhausted, InvalidRequest, Unavailable."""
        store = self._reachable()
        pool = next(item for item in self._pools_of(network) if item.pool.subnet.version == family)
        field = "ip" if family == 4 else "ip6"
        network_key = records.network_key(network.id)
        for _ in range(limits.ADDRESS_ATTEMPTS):
            if wish is not None:
                pool.reserve(wish, field=field)
            address = wish or pool.allocate(self._clock())
            key = records.address_key(network.id, address)
            self._to_delete.discard(key)
            compares = {key: 0, network_key: self.state.revisions.get(network_key, 0)}
            try:
                await store.commit(Transaction({key: self.node.id.encode()}, compares, session=self._hold))
            except CompareFailed as error:
                if network.id not in self.state.networks:
                    raise Conflict("network", network.name, "was removed meanwhile") from error
                if wish is not None:
                    raise Conflict("address", str(wish), f"address already in use on network {network.name}") from error
                # Another host was first; the pool keeps it as taken and gives the next.
                continue
            except BaseException:
                pool.give_back(address)
                raise
            return address
        raise Exhausted("network", network.name, f"no address could be had in {limits.ADDRESS_ATTEMPTS} attempts: other hosts were first")

    def peek_address(self, network: Network, family: int, wish: IPAddress | None) -> IPAddress:
        """Return what `take_address` would ask for now; nothing is taken and no other host is asked."""
        pool = copy.deepcopy(next(item for item in self._pools_of(network) if item.pool.subnet.version == family))
        if wish is None:
            return pool.allocate(self._clock())
        pool.reserve(wish, field="ip" if family == 4 else "ip6")
        return wish

    async def give_address(self, network_id: str, address: IPAddress) -> None:
        """Give an address back to all hosts; while they can't be told it stays ours."""
        with contextlib.suppress(Unavailable):
            await self._delete(records.address_key(network_id, address))

    async def _delete(self, key: str) -> None:
        self._to_delete.add(key)
        await self._reachable().commit(Transaction({key: None}))
        self._to_delete.discard(key)

    def _pools_of(self, network: Network) -> tuple[ipam.AddressPool, ...]:
        if network.id not in self._pools:
            made = tuple(ipam.AddressPool(pool, network.name) for pool in network.pools)
            for address in self.state.addresses.get(network.id, ()):
                for pool in made:
                    if address in pool.pool.subnet:
                        _reserve(pool, address)
            self._pools[network.id] = made
        return self._pools[network.id]
