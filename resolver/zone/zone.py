"""The zone of one network: which names have which addresses, and which address has which name. Frozen.

A change gives a new zone that shares all but one of its shards with the old one, so that it costs the same with ten
names and with a hundred thousand.

A name is kept as a multiset {(address, owner)} (docker-behaviour DNS-43): two owners of one name give both addresses,
and an address stays until its last owner withdraws it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_SHARDS = 64
_Shard = Mapping[bytes, tuple[tuple[bytes, str], ...]]
_EMPTY: _Shard = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Entry:
    """One name of one endpoint: *owner* tells registrations apart; *value*: packed address, or target name of a PTR."""

    name: bytes
    value: bytes
    owner: str


@dataclass(frozen=True, slots=True)
class Zone:
    """The names of one network. *label*: its name as wire octets; *ttl* in seconds."""

    network_id: str
    label: bytes
    ttl: int
    forward_single_label: bool = True
    shards: tuple[_Shard, ...] = field(default=(_EMPTY,) * _SHARDS)
    size: int = 0

    def find(self, name: bytes) -> tuple[bytes, ...] | None:
        """Return the values of *name* without repetition, in the order of registration; None if it does not exist."""
        found = self.shards[hash(name) % _SHARDS].get(name)
        return None if found is None else tuple(dict.fromkeys(value for value, _ in found))

    def with_changes(self, remove: Iterable[Entry], add: Iterable[Entry]) -> Zone:
        """Return this zone without the entries *remove* and with the entries *add*."""
        changed: dict[int, dict[bytes, tuple[tuple[bytes, str], ...]]] = {}
        size = self.size
        for entry in remove:
            shard = self._shard(changed, entry.name)
            left = tuple(item for item in shard.get(entry.name, ()) if item != (entry.value, entry.owner))
            size -= len(shard.get(entry.name, ())) - len(left)
            if left:
                shard[entry.name] = left
            else:
                shard.pop(entry.name, None)
        for entry in add:
            shard = self._shard(changed, entry.name)
            present = shard.get(entry.name, ())
            if (entry.value, entry.owner) not in present:
                shard[entry.name] = (*present, (entry.value, entry.owner))
                size += 1
        shards = tuple(MappingProxyType(changed[i]) if i in changed else shard for i, shard in enumerate(self.shards))
        return Zone(self.network_id, self.label, self.ttl, self.forward_single_label, shards, size)

    def _shard(
        self, changed: dict[int, dict[bytes, tuple[tuple[bytes, str], ...]]], name: bytes
    ) -> dict[bytes, tuple[tuple[bytes, str], ...]]:
        number = hash(name) % _SHARDS
        if number not in changed:
            changed[number] = dict(self.shards[number])
        return changed[number]
