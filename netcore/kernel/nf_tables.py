"""Messages of nf_tables: their numbers, what each begins with, and what a table of ours is called. Pure.

Spec: Linux include/uapi/linux/netfilter/nf_tables.h, nfnetlink.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from netcore.kernel.netlink import NetlinkSocket, Request, attr, find, walk

SUBSYSTEM = 10
_MESSAGE = SUBSYSTEM << 8
NEWTABLE, GETTABLE, DELTABLE = (_MESSAGE | number for number in (0, 1, 2))
NEWCHAIN, GETCHAIN = (_MESSAGE | number for number in (3, 4))
NEWRULE, GETRULE = (_MESSAGE | number for number in (6, 7))
NEWSET, GETSET = (_MESSAGE | number for number in (9, 10))
NEWELEM, GETELEM, DELELEM = (_MESSAGE | number for number in (12, 13, 14))
NEWGEN, GETGEN = (_MESSAGE | number for number in (15, 16))
NEWOBJ, GETOBJ = (_MESSAGE | number for number in (18, 19))
DESTROYELEM = _MESSAGE | 30
"""Deletes an element, or finds that there is none (since Linux 6.3)."""

TABLE_OWNER, TABLE_PERSIST = 0x2, 0x4
"""Flags of a table: only the socket that made it may change it (since Linux 5.12); it outlives that socket (since 6.9)."""

FAMILIES = {"inet": 1, "ip": 2, "bridge": 7, "ip6": 10}
OURS = "berth"
"""The name of our table in each family."""

BODY = 20
"""Where the attributes of a message begin, its header included; the family is at 16."""

_HEAD = struct.Struct("!BBH")
_TABLE, _TABLE_FLAGS, _SET, _ELEMENTS = 1, 2, 2, 3
_RULE_EXPRESSIONS = 4
_ATTRIBUTE = 4
"""Octets before the value of an attribute."""


def head(family: str | None = None, resource: int = 0) -> bytes:
    """Return what every message begins with; None stands for all families."""
    return _HEAD.pack(FAMILIES[family] if family is not None else 0, 0, resource)


def of_table(family: str, table: str = OURS) -> bytes:
    """Return the body of a message that is about *table*, to which more attributes may be added."""
    return head(family) + attr(_TABLE, table.encode() + b"\0")


def of_set(family: str, name: str, table: str = OURS, *, elements: bytes = b"") -> bytes:
    """Return the body of a message that is about a set or map, and perhaps about *elements* of it (`NFTA_SET_ELEM_LIST_ELEMENTS`)."""
    return of_table(family, table) + attr(_SET, name.encode() + b"\0") + elements


def new_table(family: str, table: str, flags: int) -> bytes:
    """Return the body of the message that makes *table*."""
    return of_table(family, table) + attr(_TABLE_FLAGS, struct.pack("!I", flags))


def expression_at(body: bytes, place: int) -> str | None:
    """Return the kind of the expression of a rule that is at *place* in the body of the message that makes it."""
    at = _HEAD.size
    for type_, value in walk(body[at:]):
        if type_ != _RULE_EXPRESSIONS:
            at += len(value) + _ATTRIBUTE + 3 & ~3
            continue
        at += _ATTRIBUTE
        for _, expression in walk(value):
            at += len(expression) + _ATTRIBUTE + 3 & ~3
            if place < at:
                return (find(expression, 1) or b"").rstrip(b"\0").decode() or None
    return None


def list_elements(netlink: NetlinkSocket, family: str, name: str) -> Iterator[bytes]:
    """Yield the attributes of each element of one of our sets."""
    for message in netlink.dump(Request(GETELEM, 0, of_set(family, name), "list", f"set {name}")):
        for _, element in walk(find(message[BODY:], _ELEMENTS) or b""):
            yield element
