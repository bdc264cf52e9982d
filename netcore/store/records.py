"""What the controller records in its store: networks, sandboxes, endpoints, addresses in quarantine, changed sysctls.

A record is `pending` from before an operation's first effect until after its last one, so that a start after a crash knows what
to undo. Sandboxes and what belongs to them end with the boot, which is a session of the store; networks outlive it.

A record that can't be read is set aside and stays as it is. Endpoints whose network is set aside stay in their sandbox's record.
A removal is final once its intent is recorded. Its end is recorded behind the reply, with the next record or by itself a moment
later; a start that finds the intent alone removes what may be left. If it can't be written then, it goes with a later one.
What plugins are to take back behind a start is recorded until they were told, since the records of it are gone by then.

While a sandbox is renamed its namespace may be pinned at two paths, which are recorded.

Keys: `network/ID`, `sandbox/ID`, `endpoints/SANDBOX`, `rest/NETWORK/ADDRESS`, `sysctl/PATH`, `untold/ENDPOINT`,
`untold-network/ID`, `pin/PATH`. Older forms: `netcore.store.upgrade`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple, TypeVar

from netcore.drivers.uplinks import SwitchedSysctl
from netcore.model import Endpoint, IPAddress, NetnsPath, Network, NetworkId, Sandbox, SandboxId
from netcore.store.codec import Undecodable, decode, encode, name_in
from netcore.store.protocol import Item, Store
from netcore.store.record_writes import RecordWrites

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRecord:
    """A network of this host."""

    network: Network
    pending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxRecord:
    """A sandbox, without its endpoints."""

    sandbox: Sandbox
    pending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointsRecord:
    """All endpoints of a sandbox, in the order they were connected.

    *before*: those of the last operation that finished, while another is *pending*. *gone*: those that are being disconnected;
    what is left of them must go.
    """

    endpoints: tuple[Endpoint, ...]
    pending: bool = False
    before: tuple[Endpoint, ...] = ()
    gone: tuple[Endpoint, ...] = ()


class Quarantined(NamedTuple):
    """An address that was released and is not handed out again until *until*, in seconds since the epoch."""

    network_id: NetworkId
    address: IPAddress
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A record that can't be read: *kind* (network, sandbox, record) and *id* by its *key*, *name* as far as it can be made out.

    *path*: of the namespace of a sandbox. *endpoints*: those that its sandbox had, if they can be read.
    """

    key: str
    kind: str
    id: str
    reason: str
    name: str | None = None
    path: str | None = None
    endpoints: tuple[Endpoint, ...] = ()


@dataclass(frozen=True, slots=True)
class Everything:
    """What the store has at a start. *untold*, *untold_networks*: what is gone, and plugins were not told of yet.

    *pins*: where a sandbox that was being renamed may be pinned, besides the path in its record.
    """

    networks: tuple[NetworkRecord, ...]
    sandboxes: tuple[tuple[SandboxRecord, EndpointsRecord], ...]
    quarantined: tuple[Quarantined, ...]
    switched: tuple[SwitchedSysctl, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    untold: tuple[Endpoint, ...] = ()
    untold_networks: tuple[Network, ...] = ()
    pins: tuple[NetnsPath, ...] = ()


class Records:
    """Writes and reads records. *boot*: the session of what ends with the boot. *writes*: how they are written."""

    def __init__(self, store: Store, boot: str) -> None:
        self._store = store
        self._boot = boot
        self.writes = RecordWrites(store, boot)
        self._finished: dict[str, tuple[Endpoint, ...]] = {}
        self._kept_aside: dict[SandboxId, tuple[Endpoint, ...]] = {}

    async def put_network(self, network: Network, *, pending: bool = False) -> None:
        await self.writes.commit({f"network/{network.id}": encode(NetworkRecord(network=network, pending=pending))})

    async def put_network_back(self, network: Network) -> None:
        """Record a network whose removal was refused."""
        await self.writes.finish({f"network/{network.id}": encode(NetworkRecord(network=network))})

    async def drop_network(self, network_id: NetworkId) -> None:
        """Delete a network's record soon; its removal is recorded already."""
        self.writes.finish_soon({f"network/{network_id}": None})

    async def put_sandbox(self, sandbox: Sandbox, *, pending: bool = False) -> None:
        record = SandboxRecord(sandbox=sandbox, pending=pending)
        await self.writes.commit({f"sandbox/{sandbox.id}": encode(record)})

    async def put_endpoints(self, sandbox: Sandbox, endpoints: Sequence[Endpoint], *, pending: bool = False) -> None:
        before = self._finished.get(sandbox.id, ()) if pending else ()
        record = EndpointsRecord(
            endpoints=self._with_kept_aside(sandbox, endpoints), pending=pending, before=self._with_kept_aside(sandbox, before)
        )
        await self.writes.commit({f"endpoints/{sandbox.id}": encode(record)})
        if not pending:
            self._finished[sandbox.id] = tuple(endpoints)

    async def put_disconnect(self, sandbox: Sandbox, endpoints: Sequence[Endpoint], gone: Sequence[Endpoint]) -> None:
        """Record that *gone* are being disconnected from *sandbox*, which has only *endpoints* from now on: there is no way back."""
        record = EndpointsRecord(endpoints=self._with_kept_aside(sandbox, endpoints), gone=tuple(gone))
        await self.writes.commit(
            {f"sandbox/{sandbox.id}": encode(SandboxRecord(sandbox=sandbox)), f"endpoints/{sandbox.id}": encode(record)},
        )
        self._finished[sandbox.id] = tuple(endpoints)

    async def put_disconnected(self, sandbox: Sandbox, endpoints: Sequence[Endpoint], resting: Iterable[Quarantined] = ()) -> None:
        """Record soon that nothing is left of what was disconnected, but its addresses, which are *resting*."""
        record = EndpointsRecord(endpoints=self._with_kept_aside(sandbox, endpoints))
        self.writes.finish_soon({f"endpoints/{sandbox.id}": encode(record), **_resting(resting)})

    def keep_aside(self, sandbox_id: SandboxId, endpoints: Sequence[Endpoint]) -> None:
        """Leave *endpoints*, whose networks are set aside, in the record of their sandbox, whatever else is written there."""
        if endpoints:
            self._kept_aside[sandbox_id] = tuple(endpoints)
        else:
            self._kept_aside.pop(sandbox_id, None)

    def kept_aside(self) -> dict[SandboxId, tuple[Endpoint, ...]]:
        """Return sandbox id → its endpoints on networks that are set aside."""
        return dict(self._kept_aside)

    def _with_kept_aside(self, sandbox: Sandbox, endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
        return (*endpoints, *self._kept_aside.get(sandbox.id, ()))

    async def put_all(self, sandbox: Sandbox, endpoints: Sequence[Endpoint], *, pending: bool = False) -> None:
        """Record a finished operation in one transaction; *pending*: a new sandbox that is about to be made."""
        if not pending:
            await self.put_several([(sandbox, endpoints)])
            return
        records = SandboxRecord(sandbox=sandbox, pending=True), EndpointsRecord(endpoints=tuple(endpoints), pending=True)
        await self.writes.commit({f"sandbox/{sandbox.id}": encode(records[0]), f"endpoints/{sandbox.id}": encode(records[1])})

    async def put_several(self, finished: Iterable[tuple[Sandbox, Sequence[Endpoint]]]) -> None:
        """Record a finished operation on several sandboxes in one transaction."""
        done, changes = [*finished], dict[str, bytes | None]()
        for sandbox, endpoints in done:
            changes[f"sandbox/{sandbox.id}"] = encode(SandboxRecord(sandbox=sandbox))
            changes[f"endpoints/{sandbox.id}"] = encode(EndpointsRecord(endpoints=self._with_kept_aside(sandbox, endpoints)))
        await self.writes.commit(changes)
        self._finished |= {sandbox.id: tuple(endpoints) for sandbox, endpoints in done}

    async def put_back(self, sandbox: Sandbox, endpoints: Sequence[Endpoint]) -> None:
        """Record a sandbox as it was before an operation that has been undone."""
        self._finished[sandbox.id] = tuple(endpoints)
        record = EndpointsRecord(endpoints=self._with_kept_aside(sandbox, endpoints))
        await self.writes.finish(
            {f"sandbox/{sandbox.id}": encode(SandboxRecord(sandbox=sandbox)), f"endpoints/{sandbox.id}": encode(record)}
        )

    async def drop_sandbox(self, sandbox_id: SandboxId, resting: Iterable[Quarantined] = ()) -> None:
        """Delete the records of a sandbox soon; its removal is recorded already. *resting*: addresses that it had."""
        self._finished.pop(sandbox_id, None)
        self._kept_aside.pop(sandbox_id, None)
        self.writes.finish_soon({f"sandbox/{sandbox_id}": None, f"endpoints/{sandbox_id}": None, **_resting(resting)})

    async def drop_unreadable(self, unreadable: Unreadable) -> None:
        """Delete a record that can't be read, and what belongs to it."""
        keys = (
            [unreadable.key, f"sandbox/{unreadable.id}", f"endpoints/{unreadable.id}"] if unreadable.kind == "sandbox" else [unreadable.key]
        )
        await self.writes.commit(dict.fromkeys(keys))

    async def put_resting(self, resting: Iterable[Quarantined]) -> None:
        """Record that addresses are not handed out again for a while; if that can't be written now, with the next write."""
        await self.writes.finish(_resting(resting))

    async def drop_quarantined(self, addresses: Sequence[tuple[NetworkId, IPAddress]]) -> None:
        await self.writes.finish({f"rest/{network_id}/{address}": None for network_id, address in addresses})

    async def put_untold(self, endpoints: Iterable[Endpoint] = (), networks: Iterable[Network] = ()) -> None:
        """Record what plugins are to be told of that is gone, before its own records go."""
        writes: dict[str, bytes | None] = {f"untold/{endpoint.id}": encode(endpoint) for endpoint in endpoints}
        writes |= {f"untold-network/{network.id}": encode(network) for network in networks}
        if writes:
            await self.writes.finish(writes)

    async def drop_untold(self, endpoints: Iterable[Endpoint], networks: Iterable[Network]) -> None:
        """Record that plugins were told."""
        keys = [*(f"untold/{endpoint.id}" for endpoint in endpoints), *(f"untold-network/{network.id}" for network in networks)]
        if keys:
            await self.writes.finish(dict.fromkeys(keys))

    async def put_pins(self, paths: Sequence[NetnsPath]) -> None:
        """Record that a namespace may be pinned at each of *paths*, before it is."""
        await self.writes.commit({f"pin/{path}": encode(path) for path in paths})

    async def drop_pins(self, paths: Sequence[NetnsPath]) -> None:
        """Record that it is not, but for the path in the record of its sandbox."""
        await self.writes.finish({f"pin/{path}": None for path in paths})

    async def put_switched(self, switched: Sequence[SwitchedSysctl]) -> None:
        """Record sysctls of the host before they are changed for the first time; as in the kernel, they end with the boot."""
        await self.writes.commit({f"sysctl/{one.path}": encode(one) for one in switched})

    async def drop_switched(self, switched: Sequence[SwitchedSysctl]) -> None:
        await self.writes.finish({f"sysctl/{one.path}": None for one in switched})

    async def prove_writable(self) -> None:
        """Raise Unavailable if nothing can be recorded: before something that can't be undone, and that is recorded afterwards only."""
        await self.writes.commit({"written": None})

    async def load(self) -> Everything:
        """Return all records. What ended with an earlier boot is deleted first."""
        sessions = {item.session for item in (await self._store.load()).items.values() if item.session is not None}
        for session in sessions - {self._boot}:
            await self._store.end_session(session)
        everything = read_all((await self._store.load()).items)
        for record, endpoints in everything.sandboxes:
            self._finished[record.sandbox.id] = endpoints.before if endpoints.pending else endpoints.endpoints
        return everything


def _resting(resting: Iterable[Quarantined]) -> dict[str, bytes | None]:
    return {f"rest/{one.network_id}/{one.address}": encode(one.until) for one in resting}


def read_all(items: Mapping[str, Item]) -> Everything:
    """Return what *items* tell of, each record that can't be read by itself."""
    unreadable: list[Unreadable] = []
    return Everything(
        tuple(record for key, item in _below("network", items) if (record := _network(key, item, unreadable)) is not None),
        tuple(both for key, item in _below("sandbox", items) if (both := _sandbox(key, item, items, unreadable)) is not None),
        tuple(rest for key, item in _below("rest", items) if (rest := _quarantined(key, item, unreadable)) is not None),
        tuple(one for key, item in _below("sysctl", items) if (one := _read(SwitchedSysctl, key, item, unreadable)) is not None),
        untold=tuple(end for key, item in _below("untold", items) if (end := _read(Endpoint, key, item, unreadable)) is not None),
        untold_networks=tuple(
            network for key, item in _below("untold-network", items) if (network := _read(Network, key, item, unreadable)) is not None
        ),
        pins=tuple(path for key, item in _below("pin", items) if (path := _read(NetnsPath, key, item, unreadable)) is not None),
        # Last: those before have added to it.
        unreadable=tuple(unreadable),
    )


def _sandbox(key: str, item: Item, items: Mapping[str, Item], unreadable: list[Unreadable]) -> tuple[SandboxRecord, EndpointsRecord] | None:
    identity = key.partition("/")[2]
    stored = items.get(f"endpoints/{identity}")
    name, path = name_in(item.value, "sandbox", "name"), name_in(item.value, "sandbox", "netns_path")
    try:
        endpoints = decode(EndpointsRecord, stored.value) if stored else EndpointsRecord(endpoints=())
    except Undecodable as error:
        reason = f"its record endpoints/{identity} can't be read: {error}"
        unreadable.append(Unreadable(key=f"endpoints/{identity}", kind="sandbox", id=identity, reason=reason, name=name, path=path))
        return None
    try:
        record = decode(SandboxRecord, item.value)
        _check_id(record.sandbox.id, identity)
    except Undecodable as error:
        known = (*endpoints.endpoints, *endpoints.before, *endpoints.gone)
        reason = f"its record {key} can't be read: {error}"
        unreadable.append(Unreadable(key=key, kind="sandbox", id=identity, reason=reason, name=name, path=path, endpoints=known))
        return None
    return record, endpoints


def _below(kind: str, items: Mapping[str, Item]) -> list[tuple[str, Item]]:
    return [(key, item) for key, item in items.items() if key.startswith(f"{kind}/")]


def _network(key: str, item: Item, unreadable: list[Unreadable]) -> NetworkRecord | None:
    identity = key.partition("/")[2]
    try:
        record = decode(NetworkRecord, item.value)
        _check_id(record.network.id, identity)
    except Undecodable as error:
        name, reason = name_in(item.value, "network", "name"), f"its record {key} can't be read: {error}"
        unreadable.append(Unreadable(key=key, kind="network", id=identity, reason=reason, name=name))
        return None
    return record


def _quarantined(key: str, item: Item, unreadable: list[Unreadable]) -> Quarantined | None:
    until = _read(float, key, item, unreadable)
    _, network_id, address = (*key.split("/", 2), "", "")[:3]
    try:
        return None if until is None else Quarantined(NetworkId(network_id), ip_address(address), until)
    except ValueError as error:
        unreadable.append(Unreadable(key=key, kind="record", id=key, reason=str(error)))
        return None


def _read(kind: type[_T], key: str, item: Item, unreadable: list[Unreadable]) -> _T | None:
    try:
        return decode(kind, item.value)
    except Undecodable as error:
        unreadable.append(Unreadable(key=key, kind="record", id=key, reason=f"can't be read: {error}"))
        return None


def _check_id(found: str, expected: str) -> None:
    if found != expected:
        raise Undecodable(f"it has the id {found}")
