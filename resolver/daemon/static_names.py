"""The static names of this host's networks, as they are stored. The one writer of their records.

They are of this host: on an overlay network each host has its own. Key: `static/NETWORK/NAME`, with all records of the name.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from netcore.errors import Exhausted, NetcoreError
from netcore.model import Network, NetworkId
from netcore.store.codec import Undecodable, decode, encode
from netcore.store.protocol import Store, Transaction
from resolver import limits
from resolver.errors import BadName
from resolver.wire import name as names
from resolver.zone.static_names import StaticRecord

log = logging.getLogger(__name__)

RecordsByName = Mapping[str, tuple[StaticRecord, ...]]
"""Name → its records; none: it has no static records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoredName:
    records: tuple[StaticRecord, ...]


class StaticNames:
    """See the module. *on_change*: is told of each change that is stored, with the names that changed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._records: dict[NetworkId, dict[str, tuple[StaticRecord, ...]]] = {}
        self._writing = asyncio.Lock()
        self.on_change: Callable[[Network, RecordsByName], None] = lambda _network, _changed: None

    async def load(self) -> None:
        """Read all records; what can't be read stays as it is, and is told of in the log."""
        for key, item in (await self._store.load()).items.items():
            if not key.startswith("static/"):
                continue
            _, network_id, name = key.split("/", 2)
            try:
                names.from_text(name)
                stored = decode(_StoredName, item.value)
                for record in stored.records:
                    bytes.fromhex(record.data)
            except (Undecodable, BadName, ValueError) as error:
                log.error("the static records of a name can't be read key=%s reason=%s", key, error)
                continue
            self._records.setdefault(NetworkId(network_id), {})[name] = stored.records

    def of(self, network_id: NetworkId) -> tuple[StaticRecord, ...]:
        """Return the static records of a network, by name."""
        return tuple(record for _, records in sorted(self._records.get(network_id, {}).items()) for record in records)

    async def change(self, network: Network, decide: Callable[[RecordsByName], RecordsByName]) -> None:
        """Replace the records of the names that *decide* returns, given those of all names; all of them, or none if that fails."""
        async with self._writing:
            existing = self._records.get(network.id, {})
            changed = {name: records for name, records in decide(existing).items() if records != existing.get(name, ())}
            after = {name: records for name, records in {**existing, **changed}.items() if records}
            count = sum(map(len, after.values()))
            if count > limits.STATIC_RECORDS and count > sum(map(len, existing.values())):
                raise Exhausted("network", network.name, because=f"it has {limits.STATIC_RECORDS} static records, which is the most")
            octets = sum(len(record.data) // 2 for records in after.values() for record in records)
            if octets > limits.STATIC_OCTETS and octets > sum(len(one.data) // 2 for has in existing.values() for one in has):
                raise Exhausted(
                    "network", network.name, because=f"its static records have {limits.STATIC_OCTETS} octets, which is the most"
                )
            if not changed:
                return
            await self._write(network.id, changed)
            self._records[network.id] = after
            self.on_change(network, changed)

    async def drop(self, network_id: NetworkId) -> None:
        """Forget the static records of a network that is gone."""
        async with self._writing:
            gone = self._records.get(network_id, {})
            if gone:
                del self._records[network_id]
                try:
                    await self._write(network_id, dict.fromkeys(gone, ()))
                except NetcoreError as error:
                    # The network is gone, and its id never comes back.
                    log.warning("static names of a removed network stay stored network=%s reason=%s", network_id[:12], error)

    async def _write(self, network_id: NetworkId, changed: RecordsByName) -> None:
        writes = {
            f"static/{network_id}/{name}": encode(_StoredName(records=records)) if records else None for name, records in changed.items()
        }
        await self._store.commit(Transaction(writes))


async def load_static_names(store: Store) -> StaticNames:
    """Return the static names that *store* has."""
    made = StaticNames(store)
    await made.load()
    return made
