"""The zone of one network: which names have which addresses, and which address has which name. Frozen.

A change gives a new zone that shares all but the shards it touches with the old one. So a change costs the same in a zone
of ten names and in one of a hundred thousand.

A name has a multiset {(address, endpoint)} (rule DNS-43): two endpoints with one name give both addresses, and
an address stays until the last endpoint that published it withdraws it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from resolver.wire import name as names

_SHARDS = 512
_Shard = Mapping[bytes, "NameRecords"]
_EMPTY: _Shard = {}
"""Shards are never written once they are in a zone."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a zone. *value*: a packed address, the target of a PTR, or port and target of an SRV.

    *endpoint* tells apart who published it. Type and TTL follow from the value and the zone.
    """

    name: bytes
    value: bytes
    endpoint: str


@dataclass(frozen=True, slots=True)
class NameRecords:
    """The records of one name. *published*: (value, endpoint) of each; the values without repetition, also by address family."""

    published: tuple[tuple[bytes, str], ...]
    values: tuple[bytes, ...]
    ipv4: tuple[bytes, ...]
    ipv6: tuple[bytes, ...]

    @classmethod
    def of(cls, published: tuple[tuple[bytes, str], ...]) -> NameRecords:
        """Return the records *published*, which are in the order of their publication."""
        values = tuple(dict.fromkeys(value for value, _ in published))
        ipv4, ipv6 = (tuple(value for value in values if len(value) == size) for size in (4, 16))
        return cls(published, values, ipv4, ipv6)

    def of_size(self, size: int) -> tuple[bytes, ...]:
        """Return the addresses of *size* octets: 4 or 16; none for any other size."""
        return self.ipv4 if size == 4 else self.ipv6 if size == 16 else ()


@dataclass(frozen=True, slots=True)
class Zone:
    """The names of one network. *label*: its name as wire octets; *ttl* in seconds; *source*: how `explain` refers to it."""

    network_id: str
    label: bytes
    ttl: int
    forward_single_label: bool = True
    shards: tuple[_Shard, ...] = field(default=(_EMPTY,) * _SHARDS)
    size: int = 0
    source: str = ""

    def __post_init__(self) -> None:
        if not self.source:
            object.__setattr__(self, "source", f"network {names.to_text(self.label)[:-1]}")

    def look(self, name: bytes) -> NameRecords | None:
        """Return the records of *name*; None if it does not exist."""
        return self.shards[hash(name) % _SHARDS].get(name)

    def find(self, name: bytes) -> tuple[bytes, ...] | None:
        """Return the values of *name* without repetition, in the order of publication; None if it does not exist."""
        records = self.look(name)
        return None if records is None else records.values

    def with_changes(self, remove: Iterable[Record], add: Iterable[Record]) -> Zone:
        """Return this zone without the records *remove* and with the records *add*."""
        changed: dict[bytes, list[tuple[bytes, str]]] = {}
        size = self.size
        for record in remove:
            left = self._changing(changed, record.name)
            if (record.value, record.endpoint) in left:
                left.remove((record.value, record.endpoint))
                size -= 1
        for record in add:
            present = self._changing(changed, record.name)
            if (record.value, record.endpoint) not in present:
                present.append((record.value, record.endpoint))
                size += 1
        shards: dict[int, dict[bytes, NameRecords]] = {}
        for name, published in changed.items():
            number = hash(name) % _SHARDS
            if number not in shards:
                shards[number] = dict(self.shards[number])
            shard = shards[number]
            if published:
                shard[name] = NameRecords.of(tuple(published))
            else:
                shard.pop(name, None)
        merged = tuple(shards.get(number, shard) for number, shard in enumerate(self.shards))
        return replace(self, shards=merged, size=size)

    def _changing(self, changed: dict[bytes, list[tuple[bytes, str]]], name: bytes) -> list[tuple[bytes, str]]:
        if name not in changed:
            records = self.look(name)
            changed[name] = list(records.published) if records is not None else []
        return changed[name]
