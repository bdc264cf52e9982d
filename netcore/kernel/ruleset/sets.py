"""Sets and maps: the messages that make them and their constant elements. Pure.

Spec: Linux include/uapi/linux/netfilter/nf_tables.h, NFTA_SET_*; libnftnl, include/udata.h for what only `nft list` reads.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from netcore.kernel import nf_tables
from netcore.kernel.netlink import CREATE, Request, attr, nested
from netcore.kernel.ruleset import fields
from netcore.kernel.ruleset.data_types import NO_ORDER, TYPES, DataType, length_of, number_of
from netcore.kernel.ruleset.expressions import SetReference, u32

ANONYMOUS, CONSTANT, INTERVAL, MAP, TIMEOUT, DYNAMIC, CONCATENATION = 0x1, 0x2, 0x4, 0x8, 0x10, 0x20, 0x80
FLAGS = {"constant": CONSTANT, "interval": INTERVAL, "timeout": TIMEOUT, "dynamic": DYNAMIC}


@dataclass(frozen=True, slots=True, kw_only=True)
class Set:
    """A set, or a map if it has *data*. *number*: which it is in its transaction. *listed*: what says of which fields it is.

    *timeout*: of its elements, in milliseconds. *order*: in which its key has its octets, if it is not that of its one type.
    """

    family: str
    table: str
    name: str
    number: int
    key: tuple[DataType, ...]
    data: tuple[DataType, ...] = ()
    flags: int = 0
    size: int | None = None
    timeout: int | None = None
    listed: bytes = b""
    order: int | None = None

    @property
    def reference(self) -> SetReference:
        return SetReference(self.name, self.number)


def creation(made: Set) -> Request:
    """Return the request that makes a set without elements."""
    concatenated = CONCATENATION if made.flags & INTERVAL and len(made.key) > 1 else 0
    parts = [
        nf_tables.of_set(made.family, made.name, made.table),
        u32(3, made.flags | concatenated | (MAP if made.data else 0)),
        u32(4, number_of(made.key)),
        u32(5, length_of(made.key)),
    ]
    if made.data:
        parts += [u32(6, number_of(made.data)), u32(7, length_of(made.data))]
    parts.append(u32(10, made.number))
    description = [] if made.size is None else [u32(1, made.size)]
    if concatenated:
        description.append(nested(2, *(nested(1, u32(1, one.length)) for one in made.key)))
    if description:
        parts.append(nested(9, *description))
    if made.timeout is not None:
        parts.append(attr(11, struct.pack("!Q", made.timeout)))
    parts.append(attr(13, _user_data(made)))
    return Request(nf_tables.NEWSET, CREATE, b"".join(parts), "create", _described(made))


def filling(made: Set, elements: Sequence[tuple[bytes, bytes | None]]) -> Request:
    """Return the request that adds constant elements: (key, datum as `expressions` makes it, None in a set)."""
    return filling_encoded(made, [nested(1, attr(1, key)) + (b"" if datum is None else nested(2, datum)) for key, datum in elements])


def filling_encoded(made: Set, elements: Iterable[bytes]) -> Request:
    """Return the request that adds constant elements, each given as its attributes."""
    encoded = [nested(at, element) for at, element in enumerate(elements, 1)]
    body = nf_tables.of_set(made.family, made.name, made.table, elements=u32(4, made.number) + nested(3, *encoded))
    return Request(nf_tables.NEWELEM, CREATE, body, "add elements to", _described(made))


def _described(made: Set) -> str:
    if made.flags & ANONYMOUS:
        return f"a set without a name in table {made.family} {made.table}"
    return f"{'map' if made.data else 'set'} {made.name} of table {made.family} {made.table}"


def _user_data(made: Set) -> bytes:
    """Return what `nft list` needs to show keys and data as they were written."""
    order = made.order if made.order is not None else _order(made.key)
    records = [fields.record_of_number(0, order)]
    if made.data:
        records.append(fields.record_of_number(1, _order(made.data)))
    if made.flags & INTERVAL and made.flags & ANONYMOUS:
        # Neighbours are made one.
        records.append(fields.record_of_number(2, 1))
    if made.listed or len(made.key) > 1:
        records.append(fields.record(3, made.listed or fields.CONCATENATION))
    if len(made.data) > 1:
        records.append(fields.record(4, fields.CONCATENATION))
    elif made.data == (TYPES["verdict"],):
        records.append(fields.record(4, fields.VERDICT))
    if made.data:
        records.append(fields.record_of_number(6, 0))
    return b"".join(records)


def _order(types: Sequence[DataType]) -> int:
    return types[0].order if len(types) == 1 else NO_ORDER
