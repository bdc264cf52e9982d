"""What an answer gives to whoever asked: the addresses that belong to its question, and the names that it leads to. Pure.

Only records along the chain of aliases from the question count: what else an upstream adds opens nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

from resolver.engine.received import ADDRESS_HEADS, Received, Run, take_apart
from resolver.errors import DecodeError
from resolver.wire import name as names
from resolver.wire.message import HEADER, IN, Query, Type, skip_name

_RECORD = struct.Struct("!HHIH")
_SERVICES = (Type.SVCB, Type.HTTPS)
_MANDATORY, _IPV4_HINT, _ECH, _IPV6_HINT = 0, 4, 5, 6
_HINTS = {_IPV4_HINT: 4, _IPV6_HINT: 16}
_KEPT = (Type.A, Type.AAAA, Type.CNAME, Type.SVCB, Type.HTTPS, Type.SOA)


class Answered(msgspec.Struct, frozen=True):
    """*addresses*: packed, those of A and AAAA records and of hints. *targets*: wire names that SVCB records lead to. *ttl*: longest."""

    addresses: tuple[bytes, ...]
    targets: tuple[bytes, ...]
    ttl: int


NOTHING = Answered((), (), 0)


def answered(query: Query, received: Received) -> Answered:
    """Return what *received* gives to *query*."""
    if received.rcode or not received.counts[0]:
        return NOTHING
    message = _message(query, received)
    start = len(message) - len(received.body)
    owners = {query.qname}
    addresses: dict[bytes, None] = {}
    targets: dict[bytes, None] = {}
    ttl = 0
    for run, owner, rtype, rclass in _answers(message, start, received):
        if rclass != IN or owner not in owners:
            continue
        data = start + run.at + 6
        ttl = max(ttl, struct.unpack_from("!i", message, start + run.at)[0])
        if rtype == Type.CNAME:
            owners.add(names.expand(message, data))
        elif rtype in _SERVICES:
            target = names.expand(message, data + 2)
            if target != names.ROOT:
                targets[target] = None
            addresses.update(dict.fromkeys(_hints(message, data, start + run.end)))
        else:
            size = ADDRESS_HEADS.get(message[start + run.at - 4 : start + run.at])
            if size is not None and size == run.step - 12:
                ends = range(data, start + run.end, run.step)
                addresses.update(dict.fromkeys(message[at : at + size] for at in ends))
    return Answered(tuple(addresses), tuple(targets), ttl)


def _message(query: Query, received: Received) -> bytes:
    """Return the message that *received* was taken from, as far as compressed names need it."""
    return bytes(HEADER.size) + query.question + received.body


def _answers(message: bytes, start: int, received: Received) -> Iterator[tuple[Run, bytes, int, int]]:
    """Yield (run, owner, type, class) of the runs of the answer section: aliases first, whatever order they came in."""
    found: list[tuple[Run, bytes, int, int]] = []
    owner_at = start
    for run in received.runs:
        if run.before >= received.counts[0]:
            break
        rtype, rclass = struct.unpack_from("!HH", message, start + run.at - 4)
        found.append((run, names.expand(message, owner_at), rtype, rclass))
        owner_at = start + run.end
    aliases = {owner: record for record in found if (owner := record[1]) and record[2] == Type.CNAME}
    at, seen = names.ROOT if not found else message[HEADER.size : start - 4].lower(), set()
    while at in aliases and at not in seen:
        seen.add(at)
        yield aliases[at]
        at = names.expand(message, start + aliases[at][0].at + 6)
    yield from (record for record in found if record[2] != Type.CNAME)


def _hints(message: bytes, data: int, end: int) -> Iterator[bytes]:
    for key, value in _parameters(message, data, end):
        size = _HINTS.get(key)
        if size is not None:
            yield from (value[at : at + size] for at in range(0, len(value) - size + 1, size))


def _parameters(message: bytes, data: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield (key, value) of the parameters of an SVCB record (RFC 9460 section 2.2)."""
    at = skip_name(message, data + 2)
    while at + 4 <= end:
        key, size = struct.unpack_from("!HH", message, at)
        yield key, message[at + 4 : min(at + 4 + size, end)]
        at += 4 + size


# --- without encrypted names ----------------------------------------------------------------------------------------


def without_ech(query: Query, received: Received) -> Received:
    """Return *received* without the parameter `ech` of SVCB and HTTPS records; the same object if it has none.

    A server name that is encrypted can't be looked at (draft-ietf-tls-svcb-ech). What was changed is signed no longer: signatures and
    AD go, and every record but addresses, aliases, services and the SOA. Names are written out, because offsets change.
    """
    if not received.aliases:
        # Without a service there is none.
        return received
    message = _message(query, received)
    start = len(message) - len(received.body)
    try:
        if not any(_has_ech(message, start, run) for run in received.runs):
            return received
        return _rebuilt(query, received, message, start)
    except (IndexError, struct.error) as error:
        raise DecodeError(start, "a record is cut off") from error


def _has_ech(message: bytes, start: int, run: Run) -> bool:
    rtype = int.from_bytes(message[start + run.at - 4 : start + run.at - 2], "big")
    return rtype in _SERVICES and any(key == _ECH for key, _ in _parameters(message, start + run.at + 6, start + run.end))


def _rebuilt(query: Query, received: Received, message: bytes, start: int) -> Received:
    body, counts, owner_at = b"", [0, 0, 0], start
    ends = (received.counts[0], received.counts[0] + received.counts[1])
    for run in received.runs:
        owner = names.expand(message, owner_at)
        owner_at = start + run.end
        rtype, rclass, ttl, _ = _RECORD.unpack_from(message, start + run.at - 4)
        if rtype not in _KEPT:
            continue
        section = 0 if run.before < ends[0] else 1 if run.before < ends[1] else 2
        for number in range(run.count):
            data = start + run.at + 6 + number * run.step
            octets = _data(message, rtype, data, start + run.end if run.count == 1 else data + run.step - 12)
            body += owner + _RECORD.pack(rtype, rclass, ttl, len(octets)) + octets
            counts[section] += 1
    head = HEADER.pack(0, received.rcode & 0xF, 1, *counts)
    made = take_apart(head + query.question + body, HEADER.size + len(query.question))
    return msgspec.structs.replace(received, authentic=False, counts=made.counts, body=made.body, runs=made.runs, aliases=made.aliases)


def _data(message: bytes, rtype: int, data: int, end: int) -> bytes:
    match rtype:
        case Type.CNAME:
            return names.expand(message, data)
        case Type.SOA:
            behind = skip_name(message, skip_name(message, data))
            return names.expand(message, data) + names.expand(message, skip_name(message, data)) + message[behind : behind + 20]
        case Type.SVCB | Type.HTTPS:
            kept = ((key, _without_key(key, value)) for key, value in _parameters(message, data, end) if key != _ECH)
            parameters = b"".join(struct.pack("!HH", key, len(value)) + value for key, value in kept if value or key != _MANDATORY)
            return message[data : data + 2] + names.expand(message, data + 2) + parameters
        case _:
            return message[data:end]


def _without_key(key: int, value: bytes) -> bytes:
    """Return the value of a parameter; that of `mandatory` without `ech`: a client would pass over the whole record."""
    if key != _MANDATORY:
        return value
    return b"".join(value[at : at + 2] for at in range(0, len(value), 2) if value[at : at + 2] != _ECH.to_bytes(2, "big"))
