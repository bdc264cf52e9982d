"""The stages of a query, in order. What each stage does is elsewhere.

| stage | what it does | where |
|---|---|---|
| remembered reply | the same octets have been answered, perhaps in another spelling | `reply_cache.py` (and the listener before it) |
| screening | is it a query for us? | `engine/request.py` |
| loop probe | has a probe of ours come back? | `engine/loop_probes.py` |
| host | does the host ask for what is none of ours? | `engine/view.py` |
| zone | is the name ours, or does it lead to one that is not? | `engine/answer.py` |
| policy verdict | may this sandbox ask others for it? | `engine/query_policy.py` |
| cache | is the upstreams' answer, or their failure, known? | `engine/cache.py` |
| fair shares | do too many queries of this client wait already? | `quota.py` |
| coalescing, upstreams | ask them, or wait for an equal query that is with them | `forwarding.py` |
| policy opens | what must have happened before an answer leaves | `engine/query_policy.py` |
| reply | count it, remember it, send it | `reply_cache.py`, the listener |

A local, remembered or cached name takes no await and no task.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

from resolver import limits
from resolver.dns_client import Client
from resolver.engine import aliased as aliasing
from resolver.engine import received as relaying
from resolver.engine import response
from resolver.engine.answer import Addresses, Aliased, Answer, Forward, Local, Negative, Services, answer, render
from resolver.engine.cache import Cache, CacheEntry, cache_key
from resolver.engine.explain import Trace
from resolver.engine.query_policy import QueryPolicy
from resolver.engine.rebinding import Protected
from resolver.engine.received import Received
from resolver.engine.request import screen
from resolver.engine.upstream import Upstream, UpstreamSet
from resolver.engine.view import View
from resolver.forwarding import ClientQuery, Forwarder, client_subnet, own_message, upstream_message
from resolver.reply_cache import Reply, ReplyCache, ReplyMemory
from resolver.transport.protocol import ReplySender
from resolver.transport.upstream import UpstreamPool
from resolver.wire import name as names
from resolver.wire.message import HEADER, PLAIN_OPT_SIZE, RD, ExtendedError, Query, Rcode

_AGE_TICK = 1.0
"""Seconds for which a reply from the cache may be repeated: then its TTLs have to go down."""


_OPCODE_BITS, _UPDATE = 0x78, 5 << 3


class DnsService:
    """Answers the queries of clients. External names go through *pool*; what comes back is remembered in *cache*.

    *on_update*: takes updates (RFC 2136) in place of NOTIMP, if there are keys for them.
    """

    def __init__(self, pool: UpstreamPool, cache: Cache, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._clock = clock
        self._loop_domain = pool.probes.domain
        self._memory = ReplyMemory(limits.REPLIES)
        self._aging: list[ReplyCache] = []
        self._ager: asyncio.TimerHandle | None = None
        self._ages_at = 0.0
        self._effects: set[asyncio.Task[None]] = set()
        self.cache = cache
        self.on_update: Callable[[bytes, ReplySender, bytes], None] | None = None
        # Adding to a Counter takes twice as long.
        self.counters: defaultdict[str, int] = defaultdict(int)
        self.rcodes: defaultdict[int, int] = defaultdict(int)
        self._forwarder = Forwarder(pool, cache, clock, self.counters, self._deliver)

    def protect(self, protected: Protected) -> None:
        """From now on no answer of an upstream may point into the networks of *protected* (rebinding)."""
        self._forwarder.protected = protected

    def forget_replies(self) -> None:
        """Forget every reply that is remembered for any client."""
        self._memory.forget_all()

    def count_sent(self, count: int, rcodes: Sequence[int]) -> None:
        """Count *count* remembered replies that a listener sent; *rcodes*: of those that are not NOERROR."""
        self.rcodes[0] += count - len(rcodes)
        for rcode in rcodes:
            self.rcodes[rcode] += 1

    # --- the stages ---------------------------------------------------------------------------------------------

    def on_query(
        self, client: Client, octets: bytes, sender: ReplySender, peer: bytes, *, tcp: bool, trace: Trace | None = None
    ) -> bytes | None:
        """Return the response to *octets*; None if it comes later through *sender*, or never.

        With a *trace* the stages note what they do; a remembered reply is passed over then, because it does not say why.
        """
        client.queries += 1
        if client.replies.by_octets and trace is None:
            known = client.replies.find(octets, tcp=tcp)
            if known is not None:
                self.rcodes[known[3] & 0xF] += 1
                return known
        query = screen(octets)
        if not isinstance(query, Query):
            if self.on_update is not None and query is not None and octets[2] & _OPCODE_BITS == _UPDATE:
                self.on_update(octets, sender, peer)
                return None
            return self._count(query)
        view = client.view
        if view.host is not None and not view.is_own_domain(query.qname):
            return self._count(_not_for_the_host(query, view))
        if query.qname.endswith(self._loop_domain) and view.host is None:
            # The host's own name server may ask us for names below the suffix: that is no loop, since nothing of it is forwarded.
            self._pool.on_loop_query(query.qname)
        local = answer(view, query.qname, query.qtype, None if trace is None else trace.lookups)
        if trace is not None:
            trace.query, trace.answer = query, local
        if view.policy is not None and (isinstance(local, Forward) or _is_missing(local)):
            refused = self._refused(
                view.policy, query, tcp=tcp, trace=trace, is_ours=not (isinstance(local, Forward) or _is_foreign(local))
            )
            if refused is not None:
                return self._count(refused)
        if isinstance(local, Forward):
            return self._external(ClientQuery(client, query, octets, sender, peer, tcp, trace))
        if isinstance(local, Aliased) and (isinstance(local.end, Forward) or (view.policy is not None and _is_missing(local.end))):
            return self._behind_alias(ClientQuery(client, query, octets, sender, peer, tcp, trace), local)
        if tcp or not _is_plain(query, octets) or not _is_told_of_changes(local):
            return self._count(render(query, local, random.randrange(limits.ROTATIONS), tcp=tcp))
        return self._count(self._remember_local(client, query, octets, local))

    def _refused(self, policy: QueryPolicy, query: Query, *, tcp: bool, trace: Trace | None, is_ours: bool = False) -> bytes | None:
        """Return the response to a query that *policy* does not allow, None if it does. *is_ours*: nobody else would be asked."""
        refusal = policy.hidden(query.qname) if is_ours else policy.verdict(query.qname, query.qtype)
        if refusal is None:
            return None
        self.counters["refused"] += 1
        if trace is not None:
            trace.refusal = refusal
        return response.render_refusal(query, Rcode(refusal.rcode), refusal.reason, tcp=tcp)

    def _behind_alias(self, asked: ClientQuery, aliased: Aliased) -> bytes | None:
        """The same for a name of ours that leads to one that is not: that is judged, asked for and opened as if it had been asked for."""
        query, octets = aliasing.target_query(asked.query, aliased)
        sender = _BehindAlias(asked, lambda reply: aliasing.render(asked.query, aliased, reply, tcp=asked.tcp))
        policy = asked.client.view.policy
        is_ours = not (isinstance(aliased.end, Forward) or _is_foreign(aliased.end))
        reply = None if policy is None else self._refused(policy, query, tcp=asked.tcp, trace=asked.trace, is_ours=is_ours)
        if reply is not None:
            return self._count(sender.render(reply))
        if not isinstance(aliased.end, Forward):
            return self._count(render(asked.query, aliased, 0, tcp=asked.tcp))
        reply = self._external(ClientQuery(asked.client, query, octets, sender, asked.peer, asked.tcp, asked.trace))
        return None if reply is None else sender.render(reply)

    def _external(self, asked: ClientQuery) -> bytes | None:
        """The stages of a name that is not ours: cache, coalescing, upstreams."""
        query, view, trace = asked.query, asked.client.view, asked.trace
        upstreams = view.upstreams_for(query.qname) if view.upstreams_by_domain else view.upstreams
        if trace is not None:
            trace.upstreams = upstreams
        if not upstreams.servers:
            self.counters["prohibited"] += 1
            return self._count(response.render_failure(query, ExtendedError.PROHIBITED, upstreams.reason))
        now, edns = self._clock(), query.edns
        subnet = client_subnet(edns.options) if edns is not None and edns.options else b""
        if subnet or not query.flags & RD:
            # It asks for a server's own state, or for an answer of one client's own, which is not cached.
            refusal = self._forwarder.ask(asked, upstreams, None, own_message(query, subnet), now)
            return None if refusal is None else self._count(refusal)
        do = edns is not None and edns.do
        key = cache_key(query.qname, query.question, query.flags, do=do)
        entry = self.cache.get(upstreams, key)
        if entry is not None and entry.expires > now and not self._forwarder.is_blocked(asked, entry):
            self.counters["hits"] += 1
            if trace is not None:
                trace.is_cached = True
            if entry.is_popular(now):
                entry.refreshing = True
                self._forwarder.refresh(upstreams, key, upstream_message(query, do=do), query.question, now)
            return self._from_cache(asked, entry, now)
        self.counters["misses"] += 1
        failure = self.cache.failure(upstreams, key, now)
        if failure is not None:
            return self._count(self._forwarder.render_failure(asked, upstreams, key, failure, ExtendedError.CACHED_ERROR))
        refusal = self._forwarder.ask(asked, upstreams, key, upstream_message(query, do=do), now)
        return None if refusal is None else self._count(refusal)

    def _deliver(self, asked: ClientQuery, reply: bytes | Received) -> None:
        """Send a response that took longer; an answer of upstreams only if the policy of now allows it."""
        octets: bytes | None
        if isinstance(reply, bytes):
            octets = reply
        elif asked.client.view.policy is None:
            octets = relaying.render(asked.query, reply, tcp=asked.tcp)
        else:
            octets = self._permitted(asked.client.view.policy, asked, reply)
        if octets is not None:
            self.rcodes[octets[3] & 0xF] += 1
            asked.sender.reply(asked.peer, octets)

    def _permitted(self, policy: QueryPolicy, asked: ClientQuery, received: Received) -> bytes | None:
        """Return the response with *received*, None while something has to be waited for. The rules may have changed since the question."""
        refused = self._refused(policy, asked.query, tcp=asked.tcp, trace=asked.trace)
        if refused is not None:
            return refused
        opened = self._opened(policy, asked, received)
        return relaying.render(asked.query, opened, tcp=asked.tcp) if isinstance(opened, Received) else opened

    def _opened(
        self, policy: QueryPolicy, asked: ClientQuery, received: Received, ttls: tuple[int, int, int] | None = None
    ) -> Received | bytes | None:
        """Return what the client may see of *received*, for which everything is done; a failure; or None: it is sent later."""
        try:
            shown = policy.shown(asked.query, received)
            waited = policy.open(asked.query, shown)
        except Exception as error:
            return _not_opened(asked.query, error)
        if waited is None:
            return shown
        if asked.trace is not None:
            asked.trace.has_waited = True
        task = asyncio.ensure_future(self._reply_after(waited, asked, shown, ttls))
        self._effects.add(task)
        task.add_done_callback(self._effects.discard)
        return None

    async def _reply_after(self, waited: Awaitable[None], asked: ClientQuery, shown: Received, ttls: tuple[int, int, int] | None) -> None:
        try:
            await waited
        except Exception as error:
            reply = _not_opened(asked.query, error)
        else:
            reply = relaying.render(asked.query, shown, tcp=asked.tcp, ttls=ttls)
        self._count(reply)
        asked.sender.reply(asked.peer, reply)

    def _count(self, reply: bytes | None) -> bytes | None:
        if reply is None:
            self.counters["dropped"] += 1
        else:
            self.rcodes[reply[3] & 0xF] += 1
        return reply

    # --- remembered replies -------------------------------------------------------------------------------------

    def _remember_local(self, client: Client, query: Query, octets: bytes, local: Local) -> bytes:
        """Render *local*, remember the reply for the same octets with the name in lower case, return it as this client spells it."""
        name_size = len(query.qname)
        if not query.question.startswith(query.qname):
            # There is no end of spellings; their replies are made from the lower-case one, which is remembered here.
            octets = octets[:12] + query.qname + octets[12 + name_size :]
            lower = Query(query.id, query.flags, query.qname, query.qtype, query.qclass, octets[12 : 16 + name_size], query.edns)
            reply = self._remember_local(client, lower, octets, local)
            return reply[:12] + query.question[:name_size] + reply[12 + name_size :]
        match local:
            case Addresses():
                count = min(len(local.values), limits.ROTATIONS)
            case Services():
                count = min(len(local.data), limits.ROTATIONS)
            case _:
                count = 1
        orders = [render(query, local, rotation, tcp=False)[2:] for rotation in range(count)]
        self._memory.take(client.replies, client.replies.put(octets, name_size, Reply(orders)))
        return octets[:2] + orders[random.randrange(count)]

    def _from_cache(self, asked: ClientQuery, entry: CacheEntry, now: float) -> bytes | None:
        """Return the response from *entry*, counted; None: it is sent later."""
        policy, received = asked.client.view.policy, entry.received
        if policy is not None:
            opened = self._opened(policy, asked, received, self._ttls(entry, now))
            if not isinstance(opened, Received):
                return None if opened is None else self._count(opened)
            received = opened
        return self._count(self._remember_cached(asked, entry, received, now))

    def _remember_cached(self, asked: ClientQuery, entry: CacheEntry, received: Received, now: float) -> bytes:
        """Return the response with *received* and what is left of the TTLs of *entry*; the same octets serve until the next second."""
        query, replies = asked.query, asked.client.replies
        count = relaying.orders(received)
        if not _is_repeatable(asked) or entry.expires < now + _AGE_TICK:
            ttls = self._ttls(entry, now)
            return relaying.render(query, received, tcp=asked.tcp, ttls=ttls, rotation=entry.hits % count)
        ttls = self._ttls(entry, self._age_later(replies, now))
        orders = [relaying.render(query, received, tcp=False, ttls=ttls, rotation=rotation)[2:] for rotation in range(count)]

        def count_hits(hits: int) -> None:
            entry.hits += hits
            self.counters["hits"] += hits

        self._memory.take(replies, replies.put_aging(asked.octets, len(query.qname), Reply(orders), count_hits))
        return asked.octets[:2] + orders[entry.hits % count]

    def _ttls(self, entry: CacheEntry, until: float) -> tuple[int, int, int]:
        """Return (least, most, age) such that TTLs do not outlive the entry, even if they are sent as late as *until*."""
        return self.cache.settings.least_ttl, entry.lifetime, min(math.ceil(until - entry.stored), entry.lifetime)

    def _age_later(self, replies: ReplyCache, now: float) -> float:
        """Have the aging ones of *replies* forgotten within a second; return when."""
        if self._ager is None:
            self._ages_at = now + _AGE_TICK
            self._ager = asyncio.get_running_loop().call_later(_AGE_TICK, self._age)
        if not replies.is_aging:
            self._aging.append(replies)
        return self._ages_at

    def _age(self) -> None:
        self._ager = None
        aging, self._aging = self._aging, []
        for replies in aging:
            replies.age()

    def _age_now(self) -> None:
        if self._ager is not None:
            self._ager.cancel()
            self._age()

    async def look_at_paths(self, sandbox_id: str | None) -> None:
        """Addresses or routes have changed in the namespace of a sandbox or, None, of the host: see `UpstreamPool.look_at_paths`."""
        self._forget_failures(await self._pool.look_at_paths(sandbox_id))

    async def look_at_ways_out(self) -> None:
        """The host may forward by another way now what comes from sandboxes: see `UpstreamPool.look_at_ways_out`."""
        self._forget_failures(await self._pool.look_at_ways_out())

    def _forget_failures(self, changed: Collection[Upstream]) -> None:
        if changed:
            self.cache.forget_failures(changed)

    # --- forgetting ---------------------------------------------------------------------------------------------

    def keep(self, used: Iterable[UpstreamSet]) -> None:
        """Forget and close what belongs to no upstream set of *used*."""
        kept = list(used)
        self.cache.keep(kept)
        self._pool.keep(kept)

    def forget(self, name: bytes | None) -> int:
        """Forget the cached answers for *name* and below, None: all; return how many."""
        count = self.cache.forget(name)
        self._age_now()
        return count

    async def close(self) -> None:
        """End what is under way."""
        self._age_now()
        for task in self._effects:
            task.cancel()
        await asyncio.gather(*self._effects, return_exceptions=True)


class _BehindAlias:
    """Takes the response for the name that an alias leads to, and sends the one for the alias. *render*: makes it."""

    def __init__(self, asked: ClientQuery, render: Callable[[bytes], bytes]) -> None:
        self._asked = asked
        self.render = render

    def reply(self, peer: bytes, octets: bytes) -> None:
        """Answer who asked for the alias."""
        self._asked.sender.reply(peer, self.render(octets))


def _is_foreign(answer: Answer) -> bool:
    """Return whether it is the answer for a name on a network that the client is not on, or may not know of."""
    return isinstance(answer, Negative) and answer.is_foreign


def _is_missing(answer: Answer) -> bool:
    """Return whether it says that the name does not exist, for this client."""
    return isinstance(answer, Negative) and (answer.is_foreign or answer.rcode is Rcode.NXDOMAIN)


def _is_told_of_changes(local: Local) -> bool:
    """Return whether the client hears of all changes that could make this answer another one, so that it may be remembered."""
    return not isinstance(local, Aliased) and not _is_foreign(local)


def _not_for_the_host(query: Query, view: View) -> bytes:
    """Return the response to a query of the host for a name that is none of ours: it is for another name server."""
    reason = f"only names below {names.to_text(view.suffix)} and addresses of its networks are answered here"
    return response.render_failure(query, ExtendedError.PROHIBITED, reason, Rcode.REFUSED)


def _is_repeatable(asked: ClientQuery) -> bool:
    """Return whether the same octets may come again, so that the reply is worth remembering for them."""
    query = asked.query
    return not asked.tcp and _is_plain(query, asked.octets) and query.question.startswith(query.qname)


def _not_opened(query: Query, error: Exception) -> bytes:
    """Return the response to a query whose answer is there, but nothing that the client could do with it."""
    return response.render_failure(query, ExtendedError.OTHER, f"the answer could not be opened: {error}")


def _is_plain(query: Query, octets: bytes) -> bool:
    """Return whether the query is a question and at most an OPT without options: only such octets come again, and are short."""
    return len(octets) <= HEADER.size + len(query.question) + PLAIN_OPT_SIZE and (query.edns is None or not query.edns.options)
