"""What may be added to the static records of a name, and what is left of them (rules SN-3, SN-4). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from resolver import limits
from resolver.zone.static_names import CNAME, StaticRecord


def added(existing: Sequence[StaticRecord], record: StaticRecord) -> tuple[StaticRecord, ...]:
    """Return the records of one name with *record*; ValueError if it can't stand beside them.

    All records of one type have one TTL (RFC 2181 section 5.2): the one given last, else the one that they have.
    """
    others = [one for one in existing if one.rtype == record.rtype and one.key != record.key]
    if record.rtype == CNAME:
        if others:
            raise ValueError(f"{record.name} is an alias already; remove its CNAME first")
        if any(one.rtype != CNAME for one in existing):
            raise ValueError(f"{record.name} has other records, beside which a CNAME can't be (RFC 1034 section 3.6.2); remove them first")
    elif any(one.rtype == CNAME for one in existing):
        raise ValueError(f"{record.name} is an alias, beside which nothing else can be (RFC 1034 section 3.6.2); remove its CNAME first")
    same_type = [one for one in existing if one.rtype == record.rtype]
    ttl = record.ttl if record.ttl is not None or not same_type else same_type[0].ttl
    size = sum(len(one.data) // 2 for one in (*others, record))
    if size > limits.STATIC_DATA:
        raise ValueError(f"{record.name} would have {size} octets of data of this type; at most {limits.STATIC_DATA} fit into a response")
    if len(others) >= limits.STATIC_VALUES:
        raise ValueError(f"{record.name} has {len(others)} records of this type, which is the most")
    kept = [replace(one, ttl=ttl) if one.rtype == record.rtype and one.ttl != ttl else one for one in existing]
    return tuple(kept) if any(one.key == record.key for one in kept) else (*kept, replace(record, ttl=ttl))


def without(existing: Sequence[StaticRecord], rtype: int | None = None, data: str | None = None) -> tuple[StaticRecord, ...]:
    """Return the records of one name without those of *rtype* with *data*; None: of every type, with any data."""
    return tuple(one for one in existing if (rtype is not None and one.rtype != rtype) or (data is not None and one.data != data))
