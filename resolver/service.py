"""From octets to octets: the path of a query through rendered replies, screening, policy, zone, cache and forwarding.

A local or remembered name takes no await and no task. `explain` walks the same decisions for a person.

The order for a question: the same octets again (`ViewSlot.replies`) → the same but for the case of letters → screening →
the policy's verdict → the zone → the cache → equal questions in flight → the upstreams.
"""

from __future__ import annotations

import asyncio
import math
import random
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import ip_address
from itertools import cycle, repeat
from operator import length_hint

import msgspec

from resolver import limits
from resolver.engine import received as relaying
from resolver.engine import response
from resolver.engine.answer import Addresses, Forward, Local, Services, answer, render
from resolver.engine.cache import Cache, Entry, question_of
from resolver.engine.exchange import Done, GiveUp
from resolver.engine.received import Protected, Received
from resolver.engine.request import screen
from resolver.errors import DecodeError
from resolver.transport.udp import Replier
from resolver.transport.upstream import UpstreamPool
from resolver.wire.message import AD, CD, RD, TC, ExtendedError, Option, Query, Rcode, option_octets, options, render_opt
from resolver.zone.upstream import Route, Upstream
from resolver.zone.view import Tail, ViewSlot

_AGE_TICK = 1.0
_MOST = 1 << 62
_TRUNCATED = TC >> 8
_BLOCKED = "the answer points into a network of this host (rebinding)"


class _Waiter(msgspec.Struct, frozen=True, gc=False):
    """One client that waits for an answer."""

    slot: ViewSlot
    query: Query
    octets: bytes
    replier: Replier
    peer: bytes
    tcp: bool


class _Asking:
    """One question in flight, and the clients that wait for it; more may come."""

    __slots__ = ("question", "route", "service", "start", "waiting")

    def __init__(self, service: DnsService, route: Route, question: bytes, start: int, waiting: list[_Waiter]) -> None:
        self.service = service
        self.route = route
        self.question = question
        self.start = start
        self.waiting = waiting

    def on_result(self, result: Done | GiveUp, now: float) -> None:
        self.service.on_result(self, result, now)


class _WithRcode:
    """A rendered reply with an RCODE, which its listener counts as one without."""

    __slots__ = ("_rcodes", "_tail")

    def __init__(self, rcodes: Counter[int], tail: bytes) -> None:
        self._rcodes = rcodes
        self._tail = tail

    def __call__(self) -> bytes:
        self._rcodes[self._tail[1] & 0xF] += 1
        self._rcodes[0] -= 1
        return self._tail


class _InTurn:
    """Replies from the cache that differ in the order of their addresses, or have an RCODE."""

    __slots__ = ("_counters", "_entry", "_rcodes", "_tails")

    def __init__(self, counters: Counter[str], rcodes: Counter[int], tails: list[bytes], entry: Entry) -> None:
        self._counters = counters
        self._rcodes = rcodes
        self._tails = tails
        self._entry = entry

    def __call__(self) -> bytes:
        self._counters["hits"] += 1
        self._entry.hits += 1
        tail = self._tails[self._entry.hits % len(self._tails)]
        if tail[1] & 0xF:
            self._rcodes[tail[1] & 0xF] += 1
            self._rcodes[0] -= 1
        return tail


class DnsService:
    """Answers queries for view slots; forwards what is not ours through *pool*, remembers it in *cache*."""

    def __init__(self, pool: UpstreamPool, cache: Cache, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._clock = clock
        self._in_flight = 0
        self._busy_views = 0
        self._flights: dict[tuple[Route, bytes], _Asking] = {}
        self._slots: weakref.WeakSet[ViewSlot] = weakref.WeakSet()
        self._rendered = 0
        self._aging: list[ViewSlot] = []
        self._ager: asyncio.TimerHandle | None = None
        self._ages_at = 0.0
        self._told: list[tuple[Entry, repeat[bytes]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.cache = cache
        self.protected = Protected()
        self.counters: Counter[str] = Counter()
        self.rcodes: Counter[int] = Counter()

    def count_known(self, count: int) -> None:
        """Count *count* replies that were sent as they were remembered; those with an RCODE count themselves."""
        self.rcodes[0] += count

    def on_query(self, slot: ViewSlot, octets: bytes, replier: Replier, peer: bytes, *, tcp: bool) -> bytes | None:
        """Return the reply to *octets*; None if it comes later through *replier*, or never."""
        slot.queries += 1
        if slot.replies:
            known = self._known(slot, octets, tcp=tcp)
            if known is not None:
                self.rcodes[0] += 1
                return known
        query = screen(octets)
        if not isinstance(query, Query):
            return self._count(query)
        if query.qname.endswith(self._pool.loop_domain):
            self._pool.on_loop(query.qname)
        policy = slot.current.policy
        if policy is not None:
            refusal = policy.verdict(query.qname, query.qtype)
            if refusal is not None:
                self.counters["refused"] += 1
                return self._count(response.render_failure(query, ExtendedError.PROHIBITED, refusal.reason, Rcode(refusal.rcode)))
        found = answer(slot.current, query.qname, query.qtype)
        if isinstance(found, Forward):
            return self._foreign(_Waiter(slot, query, octets, replier, peer, tcp))
        has_effects = policy is not None and policy.has_effects
        if tcp or has_effects or (query.edns is not None and query.edns.options):
            reply = render(query, found, random.randrange(limits.ROTATIONS), tcp=tcp)
        else:
            reply = self._remember(slot, query, octets, found)
        return self._finish(_Waiter(slot, query, octets, replier, peer, tcp), reply) if has_effects else self._count(reply)

    def _known(self, slot: ViewSlot, octets: bytes, *, tcp: bool) -> bytes | None:
        """Return the reply that is remembered for *octets*, also if they differ in the case of letters only.

        The first zero octet ends the name in any message whose lower-case form is remembered: such a name has no zero in
        its labels, and no length octet changes with the case (they are below 64).
        """
        replies = slot.replies
        end = octets.find(0, 12)
        name = octets[12:end]
        lower = name.lower()
        if lower == name and not tcp:
            # The listener has looked for it.
            return None
        tail = replies.get(octets[2:12] + lower + octets[end:])
        if tail is None:
            return None
        if not isinstance(tail, bytes):
            tail = tail()
        if tcp and tail[0] & _TRUNCATED:
            return None
        if lower == name:
            return octets[:2] + tail
        return octets[:2] + tail[:10] + name + tail[10 + len(name) :]

    def _count(self, reply: bytes | None) -> bytes | None:
        if reply is None:
            self.counters["dropped"] += 1
        else:
            self.rcodes[reply[3] & 0xF] += 1
        return reply

    # --- rendered replies ---------------------------------------------------------------------------------------

    def _remember(self, slot: ViewSlot, query: Query, octets: bytes, found: Local) -> bytes:
        """Render *found*, keep the reply in every order for the same octets if its name is in lower case, return one."""
        name_size = len(query.qname)
        if not query.question.startswith(query.qname):
            # Spellings are without number; they are made from the reply to the lower-case one, which is remembered here.
            octets = octets[:12] + query.qname + octets[12 + name_size :]
            lower = Query(query.id, query.flags, query.qname, query.qtype, query.qclass, octets[12 : 16 + name_size], query.edns)
            reply = self._remember(slot, lower, octets, found)
            return reply[:12] + query.question[:name_size] + reply[12 + name_size :]
        count = min(len(found.values), limits.ROTATIONS) if isinstance(found, (Addresses, Services)) else 1
        tails = [render(query, found, i, tcp=False)[2:] for i in range(count)]
        if tails[0][1] & 0xF:
            slot.remember(octets, name_size, _WithRcode(self.rcodes, tails[0]))
        else:
            slot.remember(octets, name_size, tails[0] if count == 1 else cycle(tails).__next__)
        self._bound(slot)
        return octets[:2] + tails[random.randrange(count)]

    def _bound(self, slot: ViewSlot) -> None:
        """See to it that not too many replies are kept: the view that has most gives its own up."""
        self._slots.add(slot)
        self._rendered += 1
        if self._rendered % limits.REPLIES_LOOK == 0:
            while sum(len(item.replies) for item in self._slots) > limits.REPLIES:
                max(self._slots, key=lambda item: len(item.replies)).forget_all()

    def _age_later(self, slot: ViewSlot, now: float) -> float:
        """Have the aged replies of *slot* forgotten within a second; return when."""
        if self._ager is None:
            self._ages_at = now + _AGE_TICK
            self._ager = asyncio.get_running_loop().call_later(_AGE_TICK, self._age)
        if not slot.aged:
            self._aging.append(slot)
        return self._ages_at

    def _age(self) -> None:
        """Forget the replies whose TTL has gone down."""
        self._ager = None
        aging, self._aging = self._aging, []
        for slot in aging:
            slot.forget_aged()
        told, self._told = self._told, []
        for entry, replies in told:
            count = _MOST - length_hint(replies)
            entry.hits += count
            self.counters["hits"] += count

    # --- foreign names ------------------------------------------------------------------------------------------

    def _foreign(self, waiter: _Waiter) -> bytes | None:
        query, view = waiter.query, waiter.slot.current
        route = view.route_of(query.qname) if view.routes else view.route
        if not route.upstreams:
            self.counters["prohibited"] += 1
            return self._count(response.render_failure(query, ExtendedError.PROHIBITED, route.reason))
        edns = query.edns
        do = edns is not None and edns.do
        now = self._clock()
        if not query.flags & RD or (edns is not None and edns.options and _is_tailored(edns.options)):
            # What asks for one server's own state, or for one client's subnet, is passed on as it is and not kept.
            return self._ask(waiter, route, b"", waiter.octets[2:], now)
        question = question_of(query.qname, query.question, do, query.flags)
        entry = self.cache.get(route, question)
        if entry is not None and entry.expires > now and not self._is_blocked(waiter, entry.received, trusted=entry.is_trusted):
            self.counters["hits"] += 1
            if entry.is_popular(now):
                entry.refreshing = True
                self.counters["prefetched"] += 1
                self._launch(route, question, _message(query, do), query.question, [], now)
            return self._finish(waiter, self._from_cache(waiter, entry, now))
        self.counters["misses"] += 1
        failure = self.cache.failure(route, question, now)
        if failure is not None:
            return self._finish(waiter, self._render_failure(waiter, route, question, failure, ExtendedError.CACHED_ERROR))
        return self._ask(waiter, route, question, _message(query, do), now)

    def _is_blocked(self, waiter: _Waiter, received: Received, *, trusted: bool) -> bool:
        """Return whether an answer must not reach this client, because it points into networks of this host."""
        return not trusted and not waiter.slot.current.allows_rebinding and bool(self.protected.found_in(received))

    def _is_trusted(self, upstream: Upstream) -> bool:
        """Return whether an upstream may tell addresses of ours: it is one of us, or in the sandbox itself."""
        address = ip_address(upstream.address.partition("%")[0])
        return self.protected.holds(address.packed) or (address.is_loopback and bool(upstream.netns))

    def _from_cache(self, waiter: _Waiter, entry: Entry, now: float) -> bytes:
        """Return the reply from *entry* with what is left of its TTLs; the same octets serve until the next second."""
        slot, query = waiter.slot, waiter.query
        count = relaying.orders(entry.received)
        if not self._is_repeatable(waiter) or entry.expires < now + _AGE_TICK:
            ttls = self._ttls(entry, now)
            return relaying.render(query, entry.received, tcp=waiter.tcp, ttls=ttls, rotation=entry.hits % count)
        ttls = self._ttls(entry, self._age_later(slot, now))
        tails = [relaying.render(query, entry.received, tcp=False, ttls=ttls, rotation=i)[2:] for i in range(count)]
        tail: Tail
        if tails[0][1] & 0xF or count > 1:
            tail = _InTurn(self.counters, self.rcodes, tails, entry)
        else:
            # An iterator of Python's own, which counts down: a function of ours would cost more than the look-up.
            told = repeat(tails[0], _MOST)
            self._told.append((entry, told))
            tail = told.__next__
        slot.remember(waiter.octets, len(query.qname), tail)
        slot.aged.append(waiter.octets[2:])
        self._bound(slot)
        return waiter.octets[:2] + tails[entry.hits % count]

    def _ttls(self, entry: Entry, until: float) -> tuple[int, int, int]:
        """Return (least, most, age) of TTLs that are not over before the entry's time if they are told at *until* at the latest."""
        return self.cache.settings.least_ttl, entry.lifetime, min(math.ceil(until - entry.stored), entry.lifetime)

    @staticmethod
    def _is_repeatable(waiter: _Waiter) -> bool:
        """Return whether the same octets may come again, so that the reply is worth keeping for them."""
        query = waiter.query
        policy = waiter.slot.current.policy
        if waiter.tcp or (policy is not None and policy.has_effects) or (query.edns is not None and query.edns.options):
            return False
        return query.question.startswith(query.qname)

    # --- forwarding ---------------------------------------------------------------------------------------------

    def _ask(self, waiter: _Waiter, route: Route, question: bytes, message: bytes, now: float) -> bytes | None:
        """Wait for an equal question that is in flight, or send this one out."""
        slot = waiter.slot
        if not self._may_forward(slot):
            self.counters["limited"] += 1
            reason = "too many questions are being forwarded"
            return self._finish(waiter, self._render_failure(waiter, route, question, reason, ExtendedError.OTHER))
        if not slot.in_flight:
            self._busy_views += 1
        slot.in_flight += 1
        self._in_flight += 1
        if question:
            flight = self._flights.get((route, question))
            if flight is not None:
                self.counters["coalesced"] += 1
                flight.waiting.append(waiter)
                return None
        self._launch(route, question, message, waiter.query.question, [waiter], now)
        return None

    def _may_forward(self, slot: ViewSlot) -> bool:
        """Return whether one more question of this view may wait for an upstream: in a crowd each has an equal share."""
        if slot.in_flight >= limits.IN_FLIGHT_PER_VIEW or self._in_flight >= limits.IN_FLIGHT:
            return False
        return self._in_flight < limits.IN_FLIGHT // 2 or slot.in_flight < limits.IN_FLIGHT // (self._busy_views + 1)

    def _launch(self, route: Route, question: bytes, message: bytes, asked: bytes, waiting: list[_Waiter], now: float) -> None:
        """Send a question to the upstreams of *route*; *waiting* may grow until the answer is there."""
        flight = _Asking(self, route, question, 12 + len(asked), waiting)
        if question:
            self._flights[route, question] = flight
        self._pool.forward(route, message, asked, flight, now)

    def on_result(self, flight: _Asking, result: Done | GiveUp, now: float) -> None:
        """Answer everybody who waits for this question."""
        route, question = flight.route, flight.question
        if question:
            self._flights.pop((route, question), None)
        received, reason, is_ours = self._take(route, question, result, flight.start, now)
        for waiter in flight.waiting:
            slot = waiter.slot
            slot.in_flight -= 1
            self._in_flight -= 1
            if not slot.in_flight:
                self._busy_views -= 1
            if received is None:
                self.counters["failed"] += 1
                reply = self._render_failure(waiter, route, question, reason)
            elif is_ours and not slot.current.allows_rebinding:
                self.counters["rebinding"] += 1
                reply = response.render_failure(waiter.query, ExtendedError.BLOCKED, _BLOCKED, Rcode.REFUSED)
            else:
                self.counters["forwarded"] += 1
                reply = relaying.render(waiter.query, received, tcp=waiter.tcp)
            policy = slot.current.policy
            if policy is None or not policy.has_effects:
                self.rcodes[reply[3] & 0xF] += 1
                waiter.replier.reply(waiter.peer, reply)
            else:
                self._reply_with_effect(waiter, reply)

    def _reply_with_effect(self, waiter: _Waiter, reply: bytes) -> None:
        octets = self._finish(waiter, reply)
        if octets is not None:
            waiter.replier.reply(waiter.peer, octets)

    def _take(self, route: Route, question: bytes, result: Done | GiveUp, start: int, now: float) -> tuple[Received | None, str, bool]:
        """Remember what came of a question; return (the answer, why there is none, whether it points to us and may not)."""
        if isinstance(result, GiveUp):
            reason = result.reason
            if not result.asked:
                return None, reason, False
        else:
            try:
                received = relaying.take_apart(result.message, start)
            except DecodeError as error:
                reason = f"{result.upstream.upstream}: {error}"
            else:
                is_ours = bool(self.protected.found_in(received))
                # Looked at only where it matters: nearly no answer points to us.
                trusted = route.is_trusted or (is_ours and self._is_trusted(result.upstream.upstream))
                if question:
                    self.cache.put(route, question, received, now, trusted=trusted)
                return received, "", is_ours and not trusted
        if question:
            self.cache.failed(route, question, reason, now)
        return None, reason, False

    def _render_failure(
        self, waiter: _Waiter, route: Route, question: bytes, reason: str, code: ExtendedError = ExtendedError.NO_REACHABLE_AUTHORITY
    ) -> bytes:
        """Return an answer whose time is over, if there is one (RFC 8767), else SERVFAIL with the reason."""
        entry = self.cache.get(route, question) if question else None
        if entry is not None and self._is_blocked(waiter, entry.received, trusted=entry.is_trusted):
            entry = None
        if entry is None or not self.cache.can_be_stale(entry, self._clock()):
            return response.render_failure(waiter.query, code, reason)
        self.counters["stale"] += 1
        errors = option_octets(ExtendedError.STALE_ANSWER, reason)
        ttls = (limits.STALE_TTL, limits.STALE_TTL, 0)
        return relaying.render(waiter.query, entry.received, tcp=waiter.tcp, ttls=ttls, errors=errors)

    # --- the end of a query -------------------------------------------------------------------------------------

    def _finish(self, waiter: _Waiter, reply: bytes) -> bytes | None:
        """Return *reply*, or None while what the policy wants first is being done."""
        policy = waiter.slot.current.policy
        if policy is not None and policy.has_effects:
            effect = policy.effect(waiter.query.qname, waiter.query.qtype, reply)
            if effect is not None:
                task = asyncio.ensure_future(self._reply_behind(effect, waiter, reply))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                return None
        return self._count(reply)

    async def _reply_behind(self, effect: Awaitable[None], waiter: _Waiter, reply: bytes) -> None:
        try:
            await effect
        except Exception as error:
            reply = response.render_failure(waiter.query, ExtendedError.OTHER, f"the policy's effect failed: {error}")
        self._count(reply)
        waiter.replier.reply(waiter.peer, reply)

    def keep(self, routes: Iterable[Route]) -> None:
        """Forget what belongs to no route of *routes*."""
        kept = list(routes)
        self.cache.keep(kept)
        self._pool.keep(kept)

    def forget(self, name: bytes | None) -> int:
        """Forget the cached answers for *name* and below, None: all; return how many."""
        count = self.cache.forget(name)
        self._age_now()
        return count

    def _age_now(self) -> None:
        if self._ager is not None:
            self._ager.cancel()
            self._age()

    async def close(self) -> None:
        """End what is under way."""
        self._age_now()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _message(query: Query, do: bool) -> bytes:
    """Return the question as it goes to an upstream, without its ID: its own flags and EDNS, whatever the client's were."""
    return _HEADS[query.flags & _KEPT_FLAGS] + query.question + (_OPT_DO if do else _OPT)


_KEPT_FLAGS = CD | AD
_HEADS = {flags: (RD | flags).to_bytes(2, "big") + b"\0\1\0\0\0\0\0\1" for flags in (0, CD, AD, CD | AD)}
_OPT = render_opt(payload=limits.OUR_PAYLOAD)
_OPT_DO = render_opt(payload=limits.OUR_PAYLOAD, do=True)


def _is_tailored(octets: bytes) -> bool:
    """Return whether these EDNS options ask for an answer of one client's own (RFC 7871)."""
    return any(code == Option.CLIENT_SUBNET for code, _ in options(octets))
