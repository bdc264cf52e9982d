"""The zone of one network: which names have which addresses, and which address has which name. Frozen.

A change gives a new zone that shares all but one of its shards with the old one, so that it costs the same with ten
names and with a hundred thousand.

A name is kept as a multiset {(address, owner)} (rule DNS-43): two owners of one name give both addresses,
and an address stays until its last owner withdraws it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from resolver.wire import name as names

_SHARDS = 512
_Shard = Mapping[bytes, "Registered"]
_EMPTY: _Shard = {}
"""Shards are never written once they are in a zone."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One name of one endpoint: *owner* tells registrations apart; *value*: packed address, or target name of a PTR."""

    name: bytes
    value: bytes
    owner: str


@dataclass(frozen=True, slots=True)
class Registered:
    """One name: who registered which value, and the values without repetition, by their size in octets."""

    entries: tuple[tuple[bytes, str], ...]
    values: tuple[bytes, ...]
    ipv4: tuple[bytes, ...]
    ipv6: tuple[bytes, ...]

    @classmethod
    def of(cls, entries: tuple[tuple[bytes, str], ...]) -> Registered:
        """Return the name that has *entries*, in the order of registration."""
        values = tuple(dict.fromkeys(value for value, _ in entries))
        return cls(entries, values, tuple(item for item in values if len(item) == 4), tuple(item for item in values if len(item) == 16))

    def of_size(self, size: int) -> tuple[bytes, ...]:
        """Return the addresses of *size* octets: 4 or 16; none for any other."""
        return self.ipv4 if size == 4 else self.ipv6 if size == 16 else ()


@dataclass(frozen=True, slots=True)
class Zone:
    """The names of one network. *label*: its name as wire octets; *ttl* in seconds; *source*: what `explain` calls it."""

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

    def look(self, name: bytes) -> Registered | None:
        """Return what is registered under *name*; None if it does not exist."""
        return self.shards[hash(name) % _SHARDS].get(name)

    def find(self, name: bytes) -> tuple[bytes, ...] | None:
        """Return the values of *name* without repetition, in the order of registration; None if it does not exist."""
        found = self.look(name)
        return None if found is None else found.values

    def with_changes(self, remove: Iterable[Entry], add: Iterable[Entry]) -> Zone:
        """Return this zone without the entries *remove* and with the entries *add*."""
        changed: dict[bytes, list[tuple[bytes, str]]] = {}
        size = self.size
        for entry in remove:
            left = self._changing(changed, entry.name)
            if (entry.value, entry.owner) in left:
                left.remove((entry.value, entry.owner))
                size -= 1
        for entry in add:
            present = self._changing(changed, entry.name)
            if (entry.value, entry.owner) not in present:
                present.append((entry.value, entry.owner))
                size += 1
        shards: dict[int, dict[bytes, Registered]] = {}
        for name, entries in changed.items():
            number = hash(name) % _SHARDS
            if number not in shards:
                shards[number] = dict(self.shards[number])
            shard = shards[number]
            if entries:
                shard[name] = Registered.of(tuple(entries))
            else:
                shard.pop(name, None)
        merged = tuple(shards.get(number, shard) for number, shard in enumerate(self.shards))
        return replace(self, shards=merged, size=size)

    def _changing(self, changed: dict[bytes, list[tuple[bytes, str]]], name: bytes) -> list[tuple[bytes, str]]:
        if name not in changed:
            found = self.look(name)
            changed[name] = list(found.entries) if found is not None else []
        return changed[name]
