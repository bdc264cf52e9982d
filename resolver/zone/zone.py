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

    *endpoint* tells apart who published it. Type and TTL follow from the value and the zone. *unhealthy*: it is left out of answers
    as long as the name has a record of somebody who is not (rule DNS-49).
    """

    name: bytes
    value: bytes
    endpoint: str
    unhealthy: bool = False


_Published = tuple[bytes, str, bool]
"""The value, endpoint and *unhealthy* of a record."""


@dataclass(frozen=True, slots=True)
class NameRecords:
    """The records of one name: all that are *published*; the values that are answered, without repetition, also by address family."""

    published: tuple[_Published, ...]
    values: tuple[bytes, ...]
    ipv4: tuple[bytes, ...]
    ipv6: tuple[bytes, ...]

    @classmethod
    def of(cls, published: tuple[_Published, ...]) -> NameRecords:
        """Return the records *published*, which are in the order of their publication."""
        well = [value for value, _, unhealthy in published if not unhealthy]
        values = tuple(dict.fromkeys(well or [value for value, _, _ in published]))
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
        changed: dict[bytes, list[_Published]] = {}
        size = self.size
        for record in remove:
            left, entry = self._changing(changed, record.name), (record.value, record.endpoint, record.unhealthy)
            if entry in left:
                left.remove(entry)
                size -= 1
        for record in add:
            present, entry = self._changing(changed, record.name), (record.value, record.endpoint, record.unhealthy)
            if entry not in present:
                present.append(entry)
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

    def _changing(self, changed: dict[bytes, list[_Published]], name: bytes) -> list[_Published]:
        if name not in changed:
            records = self.look(name)
            changed[name] = list(records.published) if records is not None else []
        return changed[name]
