"""The zone of one network: which names have which addresses, and which address has which name. Frozen.

A change gives a new zone that shares all but the shards it touches with the old one. So a change costs the same in a zone
of ten names and in one of a hundred thousand.

A name has a multiset {(address, endpoint)} (rule DNS-43): two endpoints with one name give both addresses, and
an address stays until the last endpoint that published it withdraws it. Beside them it may have static records.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from resolver.wire import name as names
from resolver.zone.static_names import PTR, WILDCARD, StaticName

_SHARDS = 512
_Shard = Mapping[bytes, "NameRecords"]
_EMPTY: _Shard = {}
"""Shards are never written once they are in a zone."""
_NONE_BELOW: Mapping[bytes, int] = {}


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
    """The records of one name: all that are *published*; the values that are answered, without repetition, also by address family.

    *static*: what somebody wrote down, if anything. Where that has addresses or is an alias, no others are answered (rule SN-2).
    """

    published: tuple[_Published, ...]
    values: tuple[bytes, ...]
    ipv4: tuple[bytes, ...]
    ipv6: tuple[bytes, ...]
    static: StaticName | None = None

    @classmethod
    def of(cls, published: tuple[_Published, ...], static: StaticName | None = None) -> NameRecords:
        """Return the records *published*, which are in the order of their publication, and those that are *static*."""
        if static is not None and (static.replaces_addresses or static.replaces(PTR)):
            return cls(published, (), (), (), static)
        well = [value for value, _, unhealthy in published if not unhealthy]
        values = tuple(dict.fromkeys(well or [value for value, _, _ in published]))
        ipv4, ipv6 = (tuple(value for value in values if len(value) == size) for size in (4, 16))
        return cls(published, values, ipv4, ipv6, static)

    def of_size(self, size: int) -> tuple[bytes, ...]:
        """Return the addresses of *size* octets: 4 or 16; none for any other size."""
        return self.ipv4 if size == 4 else self.ipv6 if size == 16 else ()


@dataclass(slots=True)
class _Changing:
    """The records of one name while they are changed."""

    published: list[_Published]
    static: StaticName | None
    existed: bool


@dataclass(frozen=True, slots=True)
class Zone:
    """The names of one network. *label*: its name as wire octets; *ttl* in seconds; *source*: how `explain` refers to it.

    *wildcards*: how many of its names are some. *below*: name → how many names are below it, of names that are below a name.
    """

    network_id: str
    label: bytes
    ttl: int
    forward_single_label: bool = True
    shards: tuple[_Shard, ...] = field(default=(_EMPTY,) * _SHARDS)
    size: int = 0
    source: str = ""
    wildcards: int = 0
    below: tuple[Mapping[bytes, int], ...] = field(default=(_NONE_BELOW,) * _SHARDS)

    def __post_init__(self) -> None:
        if not self.source:
            object.__setattr__(self, "source", f"network {names.to_text(self.label)[:-1]}")

    def look(self, name: bytes) -> NameRecords | None:
        """Return the records of *name*; None if it has none."""
        return self.shards[hash(name) % _SHARDS].get(name)

    def find(self, name: bytes) -> tuple[bytes, ...] | None:
        """Return the values of *name* without repetition, in the order of publication; None if it does not exist."""
        records = self.look(name)
        return None if records is None else records.values

    def has_below(self, name: bytes) -> bool:
        """Return whether there are names below *name*: then it exists, even without records (RFC 8020)."""
        return name in self.below[hash(name) % _SHARDS]

    def find_wildcard(self, name: bytes) -> tuple[bytes, NameRecords] | None:
        """Return the wildcard that answers for *name*, which has no records, and its records; None if none does.

        That is the one right below the closest encloser, the longest existing name that *name* is below (RFC 4592 section 3.3.1).
        """
        if not self.wildcards or self.has_below(name):
            return None
        at = 0
        while name[at]:
            at += 1 + name[at]
            encloser = name[at:]
            wildcard = WILDCARD + encloser
            records = self.look(wildcard)
            if records is not None:
                return wildcard, records
            if self.look(encloser) is not None or self.has_below(encloser):
                return None
        return None

    def has(self, name: bytes) -> bool:
        """Return whether a query for *name* finds something here: records, or a wildcard's."""
        return self.look(name) is not None or self.find_wildcard(name) is not None

    def with_changes(self, remove: Iterable[Record], add: Iterable[Record]) -> Zone:
        """Return this zone without the records *remove* and with the records *add*."""
        changed: dict[bytes, _Changing] = {}
        size = self.size
        for record in remove:
            left, entry = self._changing(changed, record.name).published, (record.value, record.endpoint, record.unhealthy)
            if entry in left:
                left.remove(entry)
                size -= 1
        for record in add:
            present, entry = self._changing(changed, record.name).published, (record.value, record.endpoint, record.unhealthy)
            if entry not in present:
                present.append(entry)
                size += 1
        return self._with(changed, size)

    def with_static(self, given: Mapping[bytes, StaticName | None]) -> Zone:
        """Return this zone with these static records of the names in *given*, in the place of those that they had; None: with none."""
        changed: dict[bytes, _Changing] = {}
        size = self.size
        for name, static in given.items():
            entry = self._changing(changed, name)
            size += _count(static) - _count(entry.static)
            entry.static = static
        return self._with(changed, size)

    def _changing(self, changed: dict[bytes, _Changing], name: bytes) -> _Changing:
        if name not in changed:
            records = self.look(name)
            changed[name] = _Changing([], None, False) if records is None else _Changing([*records.published], records.static, True)
        return changed[name]

    def _with(self, changed: Mapping[bytes, _Changing], size: int) -> Zone:
        shards: dict[int, dict[bytes, NameRecords]] = {}
        came_and_went: list[tuple[bytes, int]] = []
        for name, entry in changed.items():
            number = hash(name) % _SHARDS
            if number not in shards:
                shards[number] = dict(self.shards[number])
            shard = shards[number]
            exists = bool(entry.published) or entry.static is not None
            if exists:
                shard[name] = NameRecords.of(tuple(entry.published), entry.static)
            else:
                shard.pop(name, None)
            if exists != entry.existed:
                came_and_went.append((name, 1 if exists else -1))
        merged = [*self.shards]
        for number, shard in shards.items():
            merged[number] = shard
        wildcards = self.wildcards + sum(change for name, change in came_and_went if name.startswith(WILDCARD))
        return replace(self, shards=tuple(merged), size=size, wildcards=wildcards, below=_counted(self.below, came_and_went))


def _count(static: StaticName | None) -> int:
    return 0 if static is None else sum(len(one.values) for one in static.sets)


def _counted(below: tuple[Mapping[bytes, int], ...], came_and_went: Iterable[tuple[bytes, int]]) -> tuple[Mapping[bytes, int], ...]:
    """Return *below* as it is once these names have come (1) or gone (-1)."""
    shards: dict[int, dict[bytes, int]] = {}
    for name, change in came_and_went:
        for above in _names_above(name):
            number = hash(above) % _SHARDS
            if number not in shards:
                shards[number] = dict(below[number])
            shard = shards[number]
            shard[above] = shard.get(above, 0) + change
            if not shard[above]:
                del shard[above]
    return tuple(shards.get(number, shard) for number, shard in enumerate(below)) if shards else below


def _names_above(name: bytes) -> Iterator[bytes]:
    """Yield the names that *name* is below, but for the root; none of a reverse-mapping name, which no wildcard is above."""
    at = 1 + name[0]
    if not name[0] or name.endswith((names.IN_ADDR_ARPA, names.IP6_ARPA)):
        return
    while name[at]:
        yield name[at:]
        at += 1 + name[at]
