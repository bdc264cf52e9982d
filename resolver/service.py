"""From octets to octets: the path of a query through cache of replies, screening, answer and forwarding.

A local name takes no await and no task. `explain` walks the same decisions for a person.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from resolver import limits
from resolver.engine import response
from resolver.engine.answer import Addresses, Forward, Negative, Pointer, answer, render
from resolver.engine.request import screen
from resolver.transport.upstream import UpstreamPool
from resolver.wire.message import ExtendedError, Query
from resolver.zone.view import ViewSlot

Reply = Callable[[bytes], None]


class DnsService:
    """Answers queries for view slots; forwards what is not ours through *pool*."""

    def __init__(self, pool: UpstreamPool) -> None:
        self._pool = pool
        self._in_flight = 0
        self.counters: Counter[str] = Counter()
        self.rcodes: Counter[int] = Counter()

    def on_query(self, slot: ViewSlot, octets: bytes, reply: Reply, *, tcp: bool) -> bytes | None:
        """Return the reply to *octets*; None if it comes later through *reply*, or never."""
        slot.queries += 1
        if not tcp:
            known = slot.answers.get(octets[2:])
            if known is not None:
                tail = known[slot.queries % len(known)]
                self.rcodes[tail[1] & 0xF] += 1
                return octets[:2] + tail
        query = screen(octets)
        if not isinstance(query, Query):
            return self._count(query)
        found = answer(slot.current, query.qname, query.qtype)
        if isinstance(found, Forward):
            return self._forward(slot, query, octets, reply, tcp=tcp)
        if tcp:
            return self._count(render(query, found, random.randrange(limits.ROTATIONS), tcp=True))
        return self._count(self._remember(slot, query, octets, found))

    def _count(self, reply: bytes | None) -> bytes | None:
        if reply is None:
            self.counters["dropped"] += 1
        else:
            self.rcodes[reply[3] & 0xF] += 1
        return reply

    def _remember(self, slot: ViewSlot, query: Query, octets: bytes, found: Addresses | Pointer | Negative) -> bytes:
        """Render *found* in every order, keep the replies for the same octets, return one."""
        count = min(len(found.values), limits.ROTATIONS) if isinstance(found, Addresses) else 1
        tails = [render(query, found, i, tcp=False)[2:] for i in range(count)]
        if len(slot.answers) >= limits.ANSWERS_PER_VIEW:
            slot.answers.clear()
        slot.answers[octets[2:]] = tails
        return octets[:2] + tails[random.randrange(count)]

    def _forward(self, slot: ViewSlot, query: Query, octets: bytes, reply: Reply, *, tcp: bool) -> bytes | None:
        view = slot.current
        if not view.upstreams:
            self.counters["prohibited"] += 1
            return self._count(response.render_failure(query, ExtendedError.PROHIBITED, view.no_upstream))
        if slot.in_flight >= limits.IN_FLIGHT_PER_VIEW or self._in_flight >= limits.IN_FLIGHT:
            self.counters["limited"] += 1
            return self._count(response.render_failure(query, ExtendedError.OTHER, "too many questions are being forwarded"))
        slot.in_flight += 1
        self._in_flight += 1

        def on_result(message: bytes | None, reason: str) -> None:
            slot.in_flight -= 1
            self._in_flight -= 1
            if message is None:
                self.counters["failed"] += 1
                answer_octets = response.render_failure(query, ExtendedError.NO_REACHABLE_AUTHORITY, reason)
            else:
                self.counters["forwarded"] += 1
                answer_octets = response.relay(query, message, tcp=tcp)
            self._count(answer_octets)
            reply(answer_octets)

        self._pool.forward(view.upstreams, octets, query.question, on_result)
        return None
