"""An upstream's response taken apart: what is kept of it, for how long, and how it is rendered for a client. Pure.

The OPT record is hop by hop (RFC 6891 section 6.1.1), so it is removed and each client gets one of ours; extended errors
in it are passed on. The rest stays as octets: compressed names in it point to offsets, which do not change.

Nothing here costs more for an answer of thousands of addresses than for one of ten: records that follow each other with equal
owner, type, TTL and size are one *run*, found and changed with operations on whole columns of octets. An answer with more than
`limits.RUNS` of them is refused.

| RFC | what | status |
|---|---|---|
| 2181 5.2, 8 | one TTL for an RRset, TTLs with the top bit set count as 0 | done |
| 2308 3, 5 | lifetime of negative answers from the SOA, none without it | done |
| 6891 6.1 | OPT is hop by hop | done |
| 7871 | answers for a client's subnet are not cached | done |
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from operator import attrgetter

import msgspec

from resolver import limits
from resolver.engine.response import LEAST_UDP, size_limit
from resolver.errors import DecodeError
from resolver.wire.message import AD, CD, HEADER, IN, QR, RA, RD, TC, Option, Query, Rcode, Type, options, render_opt, skip_name
from resolver.wire.name import expand

_RECORD = struct.Struct("!HHiH")
_TTL = struct.Struct("!i")
_POINTER = 0xC0
_PLAIN_OPT, _OPT, _SOA, _CNAME = b"\0\0\x29", int(Type.OPT), int(Type.SOA), int(Type.CNAME)
_SINGLE = (_OPT, _SOA, _CNAME, int(Type.SVCB), int(Type.HTTPS))
"""Types whose records are looked at one by one."""
ADDRESS_HEADS = {b"\0\x01\0\x01": 4, b"\0\x1c\0\x01": 16}
"""Type and class of addresses → their octets."""
_NO_OTHERS, _ONE_ADDITIONAL = b"\0\0\0\0", b"\0\0\0\1"


class Run(msgspec.Struct, frozen=True, gc=False):
    """Records that follow each other and differ in their data only; of one record, if nothing is like it.

    *at*: where in the body the first TTL is. *step*: octets from one record to the next. *end*: of the last record. *before*: how
    many records are before it.
    """

    at: int
    step: int
    count: int
    end: int
    before: int


_END, _BEFORE = attrgetter("end"), attrgetter("before")


class Received(msgspec.Struct, frozen=True, gc=False):
    """*rcode*, *authentic* (AD), *counts* of the three sections and their *body*, all without OPT.

    *runs*: its records. *lifetime*: seconds for which it may be cached, 0: not at all. *errors*: extended errors, as EDNS options.
    *aliases*: the names, in lower case, that CNAME, SVCB and HTTPS records lead to.
    """

    rcode: int
    authentic: bool
    counts: tuple[int, int, int]
    body: bytes
    runs: tuple[Run, ...]
    lifetime: int
    errors: bytes
    aliases: tuple[bytes, ...] = ()

    def size(self) -> int:
        """Return how many octets it takes."""
        taken = len(self.body) + len(self.errors) + limits.RUN_OVERHEAD * len(self.runs)
        return taken + limits.RUN_OVERHEAD * len(self.aliases) + sum(map(len, self.aliases)) if self.aliases else taken


def take_apart(message: bytes, start: int) -> Received:
    """Return what is kept of *message*, whose records begin at *start*; DecodeError if it is malformed."""
    end = len(message)
    if message[4:6] != b"\0\1":
        raise DecodeError(4, "not one question")
    plain = _read_addresses(message, start)
    if plain is not None:
        return plain
    try:
        made: Received | _Opt | None = None
        if message.startswith(_PLAIN_OPT, end - 11) and message.endswith(b"\0\0") and message[10:12] != b"\0\0":
            # It looks like the OPT record that ends nearly every response. If it is not one, the other records don't end before it.
            made = _read(message, start, end - 11, message[end - 6] << 4)
        if made is None:
            made = _read(message, start, end, 0)
        if isinstance(made, _Opt):
            made = _without_opt(message, start, made)
    except (IndexError, struct.error) as error:
        raise DecodeError(end, "a record is cut off") from error
    if not isinstance(made, Received):
        raise DecodeError(end, "its OPT record can't be taken out")
    return made


_FEW = 16
_STEPS = {b"\xc0\x0c" + head + size.to_bytes(2, "big"): 12 + size for head, size in ADDRESS_HEADS.items()}
"""An address record of the name that was asked for: owner, type, class and RDLENGTH → its octets."""
_ADDRESSES = {(step, count): ((Run(6, step, count, step * count, 0),), (count, 0, 0)) for step in (16, 28) for count in range(1, _FEW + 1)}
"""(octets of a record, how many) → the runs and counts of an answer of such addresses alone, made once for all answers."""


def _read_addresses(message: bytes, start: int) -> Received | None:
    """Return what is kept of the most frequent kind of answer: a few addresses of the name, and at most a plain OPT.

    It is what `_read` makes of it. None for any other.
    """
    step = _STEPS.get(message[start : start + 6] + message[start + 10 : start + 12])
    if step is None:
        return None
    end, others, rcode = len(message), message[8:12], message[3] & 0xF
    if others == _ONE_ADDITIONAL and message.startswith(_PLAIN_OPT, end - 11) and message.endswith(b"\0\0"):
        end -= 11
        rcode |= message[end + 5] << 4
    elif others != _NO_OTHERS:
        return None
    count = message[6] << 8 | message[7]
    shape = _ADDRESSES.get((step, count))
    if shape is None or end - start != step * count or (count > 1 and _count_equal(message, start, step, count) != count):
        return None
    (ttl,) = _TTL.unpack_from(message, start + 6)
    lifetime = 0 if rcode or ttl < 0 else min(ttl, limits.LONGEST_TTL)
    return Received(rcode, message[3] & AD != 0, shape[1], message[start:end], shape[0], lifetime, b"")


class _Opt(msgspec.Struct, frozen=True):
    """Where an OPT record begins, and how many additional records are before it."""

    at: int
    before: int


def _read(message: bytes, start: int, end: int, extended: int) -> Received | _Opt | None:
    """Return what is kept of the records from *start* to *end*, or the OPT among them; None if they don't fill the space.

    *extended*: the upper bits of the RCODE, from an OPT behind *end*.
    """
    _, flags, _, answers, authorities, additionals = HEADER.unpack_from(message)
    opts = end < len(message)
    least, soa, at, number = limits.LONGEST_TTL, False, start, 0
    runs: list[Run] = []
    aliases: list[bytes] = []
    for section in (answers, authorities, additionals - opts):
        section_end = number + section
        while number < section_end:
            owner = at
            at = at + 2 if message[at] >= _POINTER else skip_name(message, at)
            rtype, rclass, ttl, size = _RECORD.unpack_from(message, at)
            ttl_at, data = at - start + 4, at + 10
            at = data + size
            if at > end:
                if opts:
                    return None
                raise DecodeError(at, "a record is cut off")
            count = 1
            if rtype in _SINGLE:
                if rtype == _OPT:
                    if number < answers + authorities or message[owner]:
                        raise DecodeError(owner, "an OPT record where none may be")
                    return _Opt(owner, number - answers - authorities)
                if rtype == _SOA:
                    if answers <= number < answers + authorities:
                        soa = True
                        ttl = min(ttl, _TTL.unpack_from(message, at - 4)[0])
                elif size > limits.SERVICE_RECORD:
                    raise DecodeError(owner, f"an SVCB record of more than {limits.SERVICE_RECORD} octets")
                elif rclass == IN:
                    aliases.append(expand(message, data if rtype == _CNAME else data + 2))
                    if len(aliases) > limits.ALIASES:
                        raise DecodeError(owner, f"more than {limits.ALIASES} aliases")
            elif message[at : at + 12] == message[owner : owner + 12] and data == owner + 12 and number + 1 < section_end:
                count = _count_equal(message, owner, at - owner, min(section_end - number, (end - owner) // (at - owner)))
                at = owner + count * (at - owner)
            if ttl < least:
                # A TTL with the top bit set is negative here, and means 0 (RFC 2181 section 8).
                least = ttl if ttl > 0 else 0
            runs.append(Run(ttl_at, 12 + size, count, at - start, number))
            if len(runs) > limits.RUNS:
                raise DecodeError(owner, f"more than {limits.RUNS} different records")
            number += count
    if opts and at != end:
        return None
    rcode = extended | flags & 0xF
    keeps = (rcode == 0 and answers > 0) or (rcode in (0, 3) and soa)
    counts = (answers, authorities, additionals - opts)
    return Received(rcode, flags & AD != 0, counts, message[start:at], tuple(runs), least if keeps else 0, b"", tuple(aliases))


def _count_equal(message: bytes, owner: int, step: int, most: int) -> int:
    """Return how many records from *owner* on, at most *most*, have the same first 12 octets: all but the data.

    Each octet of them is compared for all records at once.
    """
    for at in range(owner, owner + 12):
        column = message[at : at + (most - 1) * step + 1 : step]
        most = len(column) - len(column.lstrip(column[:1]))
    return most


def _without_opt(message: bytes, start: int, opt: _Opt) -> Received | _Opt | None:
    """Return what is kept of a message whose OPT has options, or is not the last record.

    Behind it only addresses are kept, up to the first other record: additional records may be left out (RFC 2181 section 9),
    and in addresses there are no names that would have to be moved.
    """
    behind = opt.at + 11 + int.from_bytes(message[opt.at + 9 : opt.at + 11], "big")
    left = int.from_bytes(message[10:12], "big") - opt.before - 1
    moved, kept = _moved(message, opt.at, behind, min(left, limits.RECORDS_BEHIND_OPT))
    head = message[:10] + (opt.before + kept).to_bytes(2, "big")
    made = _read(head + message[12 : opt.at] + moved, start, opt.at + len(moved), 0)
    if not isinstance(made, Received):
        return made
    errors, tailored = _read_options(message[opt.at + 11 : behind])
    extended = message[opt.at + 5] << 4
    lifetime = 0 if tailored or extended else made.lifetime
    return Received(extended | made.rcode, made.authentic, made.counts, made.body, made.runs, lifetime, errors, made.aliases)


def _moved(message: bytes, opt: int, behind: int, most: int) -> tuple[bytes, int]:
    """Return (the addresses that follow the OPT, as they are without it; their number)."""
    made, at = b"", behind
    for number in range(most):
        if message.startswith(_PLAIN_OPT, at):
            raise DecodeError(at, "two OPT records")
        owner, at = at, skip_name(message, at)
        end = at + 10 + (message[at + 8] << 8 | message[at + 9])
        if end > len(message):
            raise DecodeError(at, "a record is cut off")
        if ADDRESS_HEADS.get(message[at : at + 4]) != end - at - 10:
            return made, number
        name = message[owner:at]
        pointer = 0
        while 0 < name[pointer] < _POINTER:
            pointer += 1 + name[pointer]
        if name[pointer]:
            target = (name[pointer] & 0x3F) << 8 | name[pointer + 1]
            if opt <= target < behind:
                return made, number
            if target >= behind:
                name = name[:pointer] + (_POINTER << 8 | target - (behind - opt)).to_bytes(2, "big")
        made += name + message[at:end]
        at = end
    return made, most


def _read_options(octets: bytes) -> tuple[bytes, bool]:
    """Return (the extended errors, whether the answer is for a client's subnet only)."""
    errors, tailored = b"", False
    for code, data in options(octets):
        if code == Option.EXTENDED_ERROR and len(errors) + len(data) <= limits.EXTENDED_ERRORS:
            errors += struct.pack("!HH", code, len(data)) + data
        elif code == Option.CLIENT_SUBNET:
            tailored = True
    return errors, tailored


def is_negative(received: Received) -> bool:
    """Return whether it says that the name does not exist (NXDOMAIN) or has no records of this type (NODATA)."""
    return received.rcode != Rcode.NOERROR or not received.counts[0]


def render(
    query: Query, received: Received, *, tcp: bool, ttls: tuple[int, int, int] | None = None, rotation: int = 0, errors: bytes = b""
) -> bytes:
    """Return the response for a client: with its ID, its spelling of the question, within its size, with OPT if it sent one.

    What does not fit is left out: the additional section first, then from the end, with TC set.

    *ttls*: (least, most, age) for a cached answer; None for a fresh one.
    *errors*: more extended errors.
    """
    flags = QR | RA | query.flags & (RD | CD) | received.rcode & 0xF
    edns = query.edns
    if received.authentic and (query.flags & AD or (edns is not None and edns.do)):
        flags |= AD
    answers, authorities, additionals = received.counts
    opt = b""
    if edns is not None:
        opt = render_opt(rcode=received.rcode, do=edns.do, payload=limits.OUR_PAYLOAD, options=received.errors + errors)
    body, room = received.body, LEAST_UDP - HEADER.size - len(query.question) - len(opt)
    end = len(body)
    if end > room:
        room += size_limit(query, tcp=tcp) - LEAST_UDP
        if room < 0 and edns is not None:
            # Extended errors are optional.
            room += len(opt) - 11
            opt = render_opt(rcode=received.rcode, do=edns.do, payload=limits.OUR_PAYLOAD)
        if end > room:
            end, kept = _fitting(received, room)
            if kept < answers + authorities:
                flags |= TC
            answers, authorities, additionals = min(kept, answers), max(0, kept - answers), 0
    body = _rotated(received, rotation, end) if rotation else body[:end]
    if ttls is not None and end:
        body = _aged(body, received.runs, *ttls)
    return HEADER.pack(query.id, flags, 1, answers, authorities, additionals + (1 if opt else 0)) + query.question + body + opt


def _fitting(received: Received, room: int) -> tuple[int, int]:
    """Return (the end of the answer and authority records that fit into *room* octets, how many they are)."""
    runs, required, room = received.runs, received.counts[0] + received.counts[1], max(room, 0)
    number = bisect_right(runs, room, key=_END)
    run = runs[number]
    end, kept = runs[number - 1].end if number else 0, run.before
    if run.count > 1:
        more = (room - end) // run.step
        end, kept = end + more * run.step, kept + more
    if kept > required:
        number = bisect_right(runs, required - 1, key=_BEFORE)
        end, kept = runs[number - 1].end if number else 0, required
    return end, kept


def _aged(body: bytes, runs: tuple[Run, ...], least: int, most: int, age: int) -> bytes:
    """Return *body* with every TTL between *least* and *most*, less *age*."""
    changed, end = bytearray(body), len(body)
    known: dict[bytes, bytes] = {}
    for run in runs:
        at = run.at
        if at > end:
            break
        given = body[at : at + 4]
        octets = known.get(given)
        if octets is None:
            ttl = max(0, _TTL.unpack(given)[0])
            octets = known[given] = _TTL.pack(max(0, max(least, min(ttl, most)) - age))
        if run.count == 1:
            changed[at : at + 4] = octets
        else:
            count = min(run.count, (end - at) // run.step + 1)
            for number in range(4):
                column = slice(at + number, at + number + (count - 1) * run.step + 1, run.step)
                changed[column] = octets[number : number + 1] * count
    return bytes(changed)


def orders(received: Received) -> int:
    """Return how many orders of the addresses there are."""
    run = _addresses(received)
    return min(run.count, limits.ROTATIONS) if run is not None else 1


def _addresses(received: Received) -> Run | None:
    """Return the addresses at the end of the answer section; None if there is one or none.

    Only records whose owner is a pointer are moved: no name begins in them that another could point to.
    """
    answers = received.counts[0]
    if answers < 2:
        return None
    run = received.runs[bisect_right(received.runs, answers - 1, key=_BEFORE) - 1]
    at = run.at
    if run.count == 1 or ADDRESS_HEADS.get(received.body[at - 4 : at]) != run.step - 12:
        return None
    return run


def _rotated(received: Received, rotation: int, size: int) -> bytes:
    """Return the first *size* octets of the body, with the addresses in another order."""
    run, body = _addresses(received), received.body
    if run is None:
        return body[:size]
    first = run.at - 6
    cut = first + rotation % run.count * run.step
    if size >= run.end:
        return body[:first] + body[cut : run.end] + body[first:cut] + body[run.end : size]
    turned = body[cut : cut + size - first]
    return body[:first] + turned + body[first : first + size - first - len(turned)] if size > first else body[:size]
