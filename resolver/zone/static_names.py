"""Static names: what somebody wrote down for a network, beside the names of its sandboxes (rules SN-1..SN-6). Frozen. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from resolver.wire import name as names
from resolver.wire.message import Type

CNAME, ANY, PTR = int(Type.CNAME), int(Type.ANY), int(Type.PTR)
_ADDRESSES = (int(Type.A), int(Type.AAAA), CNAME)
WILDCARD = b"\x01*"
"""The first label of a wildcard (RFC 4592 section 2.1.1)."""


@dataclass(frozen=True, slots=True)
class RecordSet:
    """Records of one name and one type (RFC 2181 section 5: an RRset). *values*: their data in wire form, without compression."""

    rtype: int
    ttl: int
    values: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class StaticName:
    """The static records of one name: a CNAME alone, or any others."""

    sets: tuple[RecordSet, ...]

    def answering(self, rtype: int) -> RecordSet | None:
        """Return what a query for *rtype* gets: the records of that type, or the CNAME; of ANY, one of them (RFC 8482)."""
        for one in self.sets:
            if one.rtype in (rtype, CNAME) or rtype == ANY:
                return one
        return None

    @property
    def replaces_addresses(self) -> bool:
        """Whether the addresses of sandboxes with this name are not answered: it has addresses, or is an alias."""
        return any(one.rtype in _ADDRESSES for one in self.sets)

    def replaces(self, rtype: int) -> bool:
        """Return whether records of *rtype* that sandboxes have under this name are not answered."""
        return any(one.rtype in (rtype, CNAME) for one in self.sets)


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticRecord:
    """One static record as it is kept. *name*: below the network, in lower case, or a reverse-mapping name with its `arpa`.

    *data*: in wire form, as hexadecimal digits. *ttl*: in seconds; None: that of the network.
    """

    name: str
    rtype: int
    data: str
    ttl: int | None = None

    @property
    def key(self) -> tuple[str, int, str]:
        """What tells it from others; the TTL does not (RFC 2181 section 5)."""
        return self.name, self.rtype, self.data


def by_name(records: Iterable[StaticRecord], ttl: int) -> dict[bytes, StaticName]:
    """Return what *records* say of each wire name. *ttl*: of those without one."""
    of_names: dict[str, dict[int, list[StaticRecord]]] = {}
    for record in records:
        of_names.setdefault(record.name, {}).setdefault(record.rtype, []).append(record)
    return {
        names.from_text(name): StaticName(tuple(_record_set(sets[rtype], ttl) for rtype in sorted(sets))) for name, sets in of_names.items()
    }


def _record_set(records: Sequence[StaticRecord], ttl: int) -> RecordSet:
    given = records[0].ttl
    return RecordSet(records[0].rtype, ttl if given is None else given, tuple(bytes.fromhex(record.data) for record in records))


NO_NAMES: Mapping[bytes, StaticName] = {}
