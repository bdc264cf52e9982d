"""What the controller records in its store: networks, sandboxes, endpoints, addresses in quarantine, changed sysctls.

A record is `pending` from before an operation's first effect until after its last one, so that a start after a crash knows what
to undo. Sandboxes and what belongs to them end with the boot, which is a session of the store; networks outlive it.

Keys: `network/ID`, `sandbox/ID`, `endpoints/SANDBOX`, `rest/NETWORK/ADDRESS`, `sysctl/PATH`. Older forms: `netcore.store.upgrade`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple

from netcore.drivers.uplinks import SwitchedSysctl
from netcore.model import Endpoint, IPAddress, Network, NetworkId, Sandbox
from netcore.store.codec import decode, encode
from netcore.store.protocol import Store, Transaction


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
    """All endpoints of a sandbox, in the order they were connected. *before*: those of the last operation that finished."""

    endpoints: tuple[Endpoint, ...]
    pending: bool = False
    before: tuple[Endpoint, ...] = ()


class Quarantined(NamedTuple):
    """An address that was released and is not handed out again until *until*, in seconds since the epoch."""

    network_id: NetworkId
    address: IPAddress
    until: float


@dataclass(frozen=True, slots=True)
class Everything:
    """What the store has at a start."""

    networks: tuple[NetworkRecord, ...]
    sandboxes: tuple[tuple[SandboxRecord, EndpointsRecord], ...]
    quarantined: tuple[Quarantined, ...]
    switched: tuple[SwitchedSysctl, ...] = ()


class Records:
    """Writes and reads records. *boot*: the session of what ends with the boot."""

    def __init__(self, store: Store, boot: str) -> None:
        self._store = store
        self._boot = boot
        self._finished: dict[str, tuple[Endpoint, ...]] = {}

    async def put_network(self, network: Network, *, pending: bool = False) -> None:
        record = NetworkRecord(network=network, pending=pending)
        await self._store.commit(Transaction({f"network/{network.id}": encode(record)}))

    async def drop_network(self, network: Network) -> None:
        await self._store.commit(Transaction({f"network/{network.id}": None}))

    async def put_sandbox(self, sandbox: Sandbox, *, pending: bool = False) -> None:
        record = SandboxRecord(sandbox=sandbox, pending=pending)
        await self._commit({f"sandbox/{sandbox.id}": encode(record)})

    async def put_endpoints(self, sandbox: Sandbox, endpoints: Sequence[Endpoint], *, pending: bool = False) -> None:
        before = self._finished.get(sandbox.id, ()) if pending else ()
        record = EndpointsRecord(endpoints=tuple(endpoints), pending=pending, before=before)
        if not pending:
            self._finished[sandbox.id] = tuple(endpoints)
        await self._commit({f"endpoints/{sandbox.id}": encode(record)})

    async def put_all(self, sandbox: Sandbox, endpoints: Sequence[Endpoint]) -> None:
        """Record a finished operation in one transaction."""
        await self.put_several([(sandbox, endpoints)])

    async def put_several(self, finished: Iterable[tuple[Sandbox, Sequence[Endpoint]]]) -> None:
        """Record a finished operation on several sandboxes in one transaction."""
        changes: dict[str, bytes | None] = {}
        for sandbox, endpoints in finished:
            self._finished[sandbox.id] = tuple(endpoints)
            changes[f"sandbox/{sandbox.id}"] = encode(SandboxRecord(sandbox=sandbox))
            changes[f"endpoints/{sandbox.id}"] = encode(EndpointsRecord(endpoints=tuple(endpoints)))
        await self._commit(changes)

    async def drop_sandbox(self, sandbox: Sandbox) -> None:
        self._finished.pop(sandbox.id, None)
        await self._commit({f"sandbox/{sandbox.id}": None, f"endpoints/{sandbox.id}": None})

    async def put_quarantined(self, network_id: NetworkId, address: IPAddress, until: float) -> None:
        await self._commit({f"rest/{network_id}/{address}": encode(until)})

    async def drop_quarantined(self, addresses: Sequence[tuple[NetworkId, IPAddress]]) -> None:
        await self._commit({f"rest/{network_id}/{address}": None for network_id, address in addresses})

    async def put_switched(self, switched: Sequence[SwitchedSysctl]) -> None:
        """Record sysctls of the host before they are changed for the first time; as in the kernel, they end with the boot."""
        await self._commit({f"sysctl/{one.path}": encode(one) for one in switched})

    async def drop_switched(self, switched: Sequence[SwitchedSysctl]) -> None:
        await self._commit({f"sysctl/{one.path}": None for one in switched})

    async def load(self) -> Everything:
        """Return all records. What ended with an earlier boot is deleted first."""
        sessions = {item.session for item in (await self._store.load()).items.values() if item.session is not None}
        for session in sessions - {self._boot}:
            await self._store.end_session(session)
        items = (await self._store.load()).items
        sandboxes = []
        for key, item in items.items():
            if key.startswith("sandbox/"):
                stored = items.get(f"endpoints/{key.removeprefix('sandbox/')}")
                endpoints = decode(EndpointsRecord, stored.value) if stored else EndpointsRecord(endpoints=())
                record = decode(SandboxRecord, item.value)
                self._finished[record.sandbox.id] = endpoints.before if endpoints.pending else endpoints.endpoints
                sandboxes.append((record, endpoints))
        return Everything(
            tuple(decode(NetworkRecord, item.value) for key, item in items.items() if key.startswith("network/")),
            tuple(sandboxes),
            tuple(
                Quarantined(NetworkId(key.split("/")[1]), ip_address(key.split("/", 2)[2]), decode(float, item.value))
                for key, item in items.items()
                if key.startswith("rest/")
            ),
            tuple(decode(SwitchedSysctl, item.value) for key, item in items.items() if key.startswith("sysctl/")),
        )

    async def _commit(self, writes: dict[str, bytes | None]) -> None:
        await self._store.commit(Transaction(writes, session=self._boot))
