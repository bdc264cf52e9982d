"""An alias of ours that leads to an external name: the query for that name, and the response with the aliases before it. Pure.

The response of an upstream stays as octets, as in `received`: what changes is where compressed names point to, because the aliases
stand before its records, and the name that was asked for upstream is the target of the last one.
"""

from __future__ import annotations

from struct import Struct

from resolver.engine import received as relaying
from resolver.engine import response
from resolver.engine.answer import Aliased
from resolver.engine.received import Received, Run
from resolver.errors import DecodeError
from resolver.wire.message import HEADER, IN, RD, TC, ExtendedError, Query, Type, render_opt

_RECORD = Struct("!HHIH")
_POINTER_TO_QUESTION = (0xC000 | HEADER.size).to_bytes(2, "big")
_POINTER = 0xC0
_FARTHEST = 0x3FFF
_NAMES: dict[int, tuple[int, int]] = {
    **dict.fromkeys((2, 3, 4, 5, 7, 8, 9, 12, 39), (0, 1)), 6: (0, 2), 14: (0, 2), 17: (0, 2), **dict.fromkeys((15, 18, 21, 36), (2, 1)),
    26: (2, 2), 33: (6, 1),
}  # fmt: skip
"""Type → (where in its data names begin that may be compressed, how many there are). RFC 1035 section 4.1.4, RFC 3597 section 4."""


def target_query(query: Query, aliased: Aliased) -> tuple[Query, bytes]:
    """Return the query for the name that *aliased* leads to, on behalf of *query*, and its octets."""
    target = aliased.links[-1][2]
    question = target + query.qtype.to_bytes(2, "big") + IN.to_bytes(2, "big")
    flags = query.flags | RD
    opt = b"" if query.edns is None else render_opt(do=query.edns.do, payload=query.edns.payload)
    octets = HEADER.pack(query.id, flags, 1, 0, 0, 1 if opt else 0) + question + opt
    return Query(query.id, flags, target.lower(), query.qtype, IN, question, query.edns), octets


def render(query: Query, aliased: Aliased, reply: bytes, *, tcp: bool) -> bytes:
    """Return the response to *query*: the aliases, then what *reply* to the `target_query` has."""
    target = aliased.links[-1][2]
    start = HEADER.size + len(target) + 4
    try:
        found = relaying.take_apart(reply, start)
        made = _behind_links(query, aliased, found, start)
    except (DecodeError, IndexError) as error:
        return response.render_failure(query, ExtendedError.OTHER, f"the answer can't be told with the alias before it: {error}")
    octets = relaying.render(query, made, tcp=tcp)
    flags = int.from_bytes(octets[2:4], "big") | int.from_bytes(reply[2:4], "big") & TC
    return octets[:2] + flags.to_bytes(2, "big") + octets[4:]


def _behind_links(query: Query, aliased: Aliased, found: Received, start: int) -> Received:
    """Return *found*, whose records began at *start*, behind the records of *aliased*."""
    body, runs = b"", []
    for number, (owner, ttl, target) in enumerate(aliased.links):
        body += (owner if number else _POINTER_TO_QUESTION) + _RECORD.pack(Type.CNAME, IN, ttl, len(target))
        runs.append(Run(len(body) - 6, 10 + len(target), 1, len(body) + len(target), number))
        body += target
    begin = HEADER.size + len(query.question)
    # The last octets are the name that upstreams were asked for, which stood right behind the header.
    moves = _Moves(start, begin + len(body) - start, begin + len(body) - len(aliased.links[-1][2]) - HEADER.size)
    moved = moves.moved(found)
    links = len(runs)
    runs += [Run(run.at + len(body), run.step, run.count, run.end + len(body), run.before + links) for run in found.runs]
    answers, authorities, additionals = found.counts
    return Received(found.rcode, False, (answers + links, authorities, additionals), body + moved, tuple(runs), 0, found.errors)


class _Moves:
    """How far compressed names point elsewhere: *by* octets into records, which began at *start*, *of_question* into the question."""

    def __init__(self, start: int, by: int, of_question: int) -> None:
        self._start = start
        self._by = by
        self._of_question = of_question

    def moved(self, found: Received) -> bytes:
        """Return the body of *found* with its compressed names as they must be; DecodeError if one would point too far."""
        changed, begin = bytearray(found.body), 0
        for run in found.runs:
            rtype = int.from_bytes(changed[run.at - 4 : run.at - 2], "big")
            offset, count = _NAMES.get(rtype, (0, 0))
            if run.count == 1:
                self._move(changed, begin)
            else:
                # Their owner is one and the same pointer.
                pointer = self._target(changed, begin)
                for number in range(2):
                    column = slice(begin + number, begin + number + (run.count - 1) * run.step + 1, run.step)
                    changed[column] = pointer[number : number + 1] * run.count
            for number in range(run.count if count else 0):
                at = run.at + 6 + offset + number * run.step
                end = at - offset + int.from_bytes(changed[at - offset - 2 : at - offset], "big")
                for _ in range(count):
                    at = self._move(changed, at)
                if at > end:
                    raise DecodeError(at, "a name is longer than the data that it is in")
            begin = run.end
        return bytes(changed)

    def _move(self, octets: bytearray, at: int) -> int:
        """Have the name at *at* point to where it should; return the offset behind it."""
        while octets[at]:
            if octets[at] >= _POINTER:
                octets[at : at + 2] = self._target(octets, at)
                return at + 2
            at += 1 + octets[at]
        return at + 1

    def _target(self, octets: bytearray, at: int) -> bytes:
        pointer = (octets[at] & 0x3F) << 8 | octets[at + 1]
        pointer += self._by if pointer >= self._start else self._of_question
        if pointer > _FARTHEST:
            raise DecodeError(at, "a compressed name would point too far")
        return (_POINTER << 8 | pointer).to_bytes(2, "big")
