"""Forwarding: external names go to upstreams. Which clients wait for which query, and what all of them are told.

Equal queries of several clients go to the upstreams once. What comes back is cached, and rendered for each client that
waits; where nothing comes back, an expired answer (RFC 8767) or SERVFAIL with the reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Coroutine
from ipaddress import ip_address

import msgspec

from resolver import limits
from resolver.dns_client import Client
from resolver.engine import received as relaying
from resolver.engine import response
from resolver.engine.cache import Cache, CacheEntry
from resolver.engine.exchange import GiveUp, Result
from resolver.engine.explain import Trace
from resolver.engine.rebinding import NOTHING, Finding, Protected
from resolver.engine.received import Received
from resolver.engine.upstream import Upstream, UpstreamSet
from resolver.errors import DecodeError
from resolver.quota import Quota
from resolver.transport.protocol import ReplySender
from resolver.transport.upstream import UpstreamPool
from resolver.wire.message import AD, CD, HEADER, RD, Edns, ExtendedError, Option, Query, Rcode, option_octets, options, render_opt

_INTO_NETWORK = "the answer points into a network of this host (rebinding)"
_TO_HOST = "the answer points to a private address of this host (rebinding)"
_TO_NAME = "the answer leads to a name of this host's networks (rebinding)"
_TOO_MANY = "too many queries are being forwarded"


class ClientQuery(msgspec.Struct, frozen=True, gc=False):
    """One query of one client, which waits for its response. *trace*: where the stages note what they did, if anybody asks."""

    client: Client
    query: Query
    octets: bytes
    sender: ReplySender
    peer: bytes
    tcp: bool
    trace: Trace | None = None

    def short(self) -> ClientQuery:
        """Return it without the octets that are of no use once it waits: it may be 64 KB long."""
        query, edns = self.query, self.query.edns
        if edns is not None and edns.options:
            edns = Edns(edns.payload, edns.version, edns.do)
        kept = Query(query.id, query.flags, query.qname, query.qtype, query.qclass, query.question, edns)
        return ClientQuery(self.client, kept, b"", self.sender, self.peer, self.tcp, self.trace)


class _ForwardedQuery(msgspec.Struct, eq=False):
    """One query that is with the upstreams, and the clients that wait for it; more may come.

    *key*: of the cache, None if the response is for one client only. *question_end*: where the question ends in a message.
    """

    forwarder: Forwarder
    upstreams: UpstreamSet
    key: bytes | None
    question_end: int
    waiting: list[ClientQuery]

    def on_result(self, result: Result, now: float) -> None:
        """Answer all clients that wait for this query."""
        forwarder = self.forwarder
        if self.key is not None:
            forwarder.in_flight.pop((self.upstreams, self.key), None)
        taken = forwarder.take(self.upstreams, self.key, result, self.question_end, now)
        for asked in self.waiting:
            forwarder.quota.give_back(asked.client)
            if asked.trace is not None:
                asked.trace.result = result
            reply: bytes | Received
            if isinstance(taken, str):
                forwarder.counters["failed"] += 1
                reply = forwarder.render_failure(asked, self.upstreams, self.key, taken)
            elif (taken[1] is not NOTHING or taken[0].aliases) and (blocked := forwarder.why_blocked(asked, *taken)) is not None:
                forwarder.counters["rebinding"] += 1
                if asked.trace is not None:
                    asked.trace.blocked = blocked
                reply = response.render_failure(asked.query, ExtendedError.BLOCKED, blocked, Rcode.REFUSED)
            else:
                forwarder.counters["forwarded"] += 1
                reply = taken[0]
            forwarder.deliver(asked, reply)


class Forwarder:
    """Sends queries to the upstreams through *pool*, remembers what comes back in *cache*.

    *deliver*: takes the response to each query that waited, or the answer that it is to be made of.
    """

    def __init__(
        self,
        pool: UpstreamPool,
        cache: Cache,
        clock: Callable[[], float],
        counters: defaultdict[str, int],
        deliver: Callable[[ClientQuery, bytes | Received], None],
    ) -> None:
        self._pool = pool
        self._cache = cache
        self._clock = clock
        self.counters = counters
        self.deliver = deliver
        self.quota = Quota()
        self.in_flight: dict[tuple[UpstreamSet, bytes], _ForwardedQuery] = {}
        self.protected = Protected()
        self._clean = self.protected, NOTHING

    def ask(self, asked: ClientQuery, upstreams: UpstreamSet, key: bytes | None, message: bytes, now: float) -> bytes | None:
        """Wait for an equal query that is in flight, or send this one; return a response if too many of this client wait already."""
        if not self.quota.take(asked.client):
            self.counters["limited"] += 1
            return self.render_failure(asked, upstreams, key, _TOO_MANY, ExtendedError.OTHER)
        if asked.trace is not None:
            asked.trace.is_sent = True
        if len(asked.octets) > limits.WAITING_OCTETS:
            asked = asked.short()
        if key is not None:
            forwarded = self.in_flight.get((upstreams, key))
            if forwarded is not None:
                self.counters["coalesced"] += 1
                if asked.trace is not None:
                    asked.trace.is_coalesced = True
                forwarded.waiting.append(asked)
                return None
        self._send(upstreams, key, message, asked.query.question, [asked], now)
        return None

    def refresh(self, upstreams: UpstreamSet, key: bytes, message: bytes, question: bytes, now: float) -> None:
        """Fetch an answer again before it expires; no client waits for it."""
        self.counters["prefetched"] += 1
        self._send(upstreams, key, message, question, [], now)

    def _send(
        self, upstreams: UpstreamSet, key: bytes | None, message: bytes, question: bytes, waiting: list[ClientQuery], now: float
    ) -> None:
        forwarded = _ForwardedQuery(self, upstreams, key, HEADER.size + len(question), waiting)
        if key is not None:
            self.in_flight[upstreams, key] = forwarded
        self._pool.forward(upstreams, message, question, forwarded, now)

    def take(
        self, upstreams: UpstreamSet, key: bytes | None, result: Result, question_end: int, now: float
    ) -> tuple[Received, Finding | None] | str:
        """Remember what came of a query; return (the answer, what of ours it points to, None if it may), or why there is none."""
        if isinstance(result, GiveUp):
            reason = result.reason
            if not result.asked:
                return reason
        else:
            try:
                received = relaying.take_apart(result.message, question_end)
            except DecodeError as error:
                reason = f"{result.upstream.upstream}: {error}"
            else:
                if result.is_recovery:
                    self._cache.forget_failures({result.upstream.upstream})
                found = self.protected.look(received)
                # Looked at only where it matters: nearly no answer points to us.
                matters = found is not NOTHING or bool(received.aliases)
                trusted = upstreams.is_trusted or (matters and self._is_trusted(result.upstream.upstream))
                if key is not None:
                    entry = self._cache.put(upstreams, key, received, now, trusted=trusted)
                    if entry is not None:
                        entry.looked = self._looked(found)
                return received, None if trusted else found
        if key is not None:
            self._cache.failed(upstreams, key, reason, now)
        return reason

    def _looked(self, found: Finding) -> tuple[Protected, Finding]:
        """Return (who looked, *found*), the same for nearly all answers."""
        if found is not NOTHING:
            return self.protected, found
        if self._clean[0] is not self.protected:
            self._clean = self.protected, NOTHING
        return self._clean

    def _is_trusted(self, upstream: Upstream) -> bool:
        """Return whether the answers of an upstream may point to us: it is one of us, or inside the sandbox itself."""
        address = ip_address(upstream.address.partition("%")[0])
        return self.protected.holds(address.packed) or (address.is_loopback and upstream.sandbox_id is not None)

    def why_blocked(self, asked: ClientQuery, received: Received, found: Finding | None) -> str | None:
        """Return why an answer must not reach this client, None if it may. *found*: what of ours it points to, None: it may."""
        view = asked.client.view
        if found is None or view.allows_rebinding:
            return None
        if found.network is not None:
            return _INTO_NETWORK
        if found.host is not None and not self.protected.excuses(asked.query.qname):
            return _TO_HOST
        return _TO_NAME if any(view.owns(alias) for alias in received.aliases) else None

    def is_blocked(self, asked: ClientQuery, entry: CacheEntry) -> bool:
        """Return whether a cached answer must not reach this client. It is looked at once for all."""
        if entry.is_trusted:
            return False
        looked = entry.looked
        if looked is None or looked[0] is not self.protected:
            looked = entry.looked = self.protected, self.protected.look(entry.received)
        found = looked[1]
        return (found is not NOTHING or bool(entry.received.aliases)) and self.why_blocked(asked, entry.received, found) is not None

    def render_failure(
        self,
        asked: ClientQuery,
        upstreams: UpstreamSet,
        key: bytes | None,
        reason: str,
        code: ExtendedError = ExtendedError.NO_REACHABLE_AUTHORITY,
    ) -> bytes:
        """Return an expired answer, if there is one that may be served (RFC 8767), else SERVFAIL with the reason."""
        if asked.trace is not None:
            asked.trace.failure = reason
        entry = self._cache.get(upstreams, key) if key is not None else None
        if entry is not None and self.is_blocked(asked, entry):
            entry = None
        if entry is None or not self._cache.can_be_stale(entry, self._clock()):
            return response.render_failure(asked.query, code, reason)
        received = self._permitted(asked, entry.received)
        if received is None:
            return response.render_failure(asked.query, code, reason)
        self.counters["stale"] += 1
        if asked.trace is not None:
            asked.trace.is_stale = True
        errors = option_octets(ExtendedError.STALE_ANSWER, reason)
        ttls = (limits.STALE_TTL, limits.STALE_TTL, 0)
        return relaying.render(asked.query, received, tcp=asked.tcp, ttls=ttls, errors=errors)

    @staticmethod
    def _permitted(asked: ClientQuery, received: Received) -> Received | None:
        """Return what the client may see of an answer that has expired; None if its policy can't do at once what that needs."""
        policy = asked.client.view.policy
        if policy is None:
            return received
        if policy.verdict(asked.query.qname, asked.query.qtype) is not None:
            return None
        try:
            shown = policy.shown(asked.query, received)
            waited = policy.open(asked.query, shown)
        except Exception:
            return None
        if isinstance(waited, Coroutine):
            waited.close()
        return shown if waited is None else None


def client_subnet(octets: bytes) -> bytes:
    """Return the EDNS option that asks for an answer of one client's subnet (RFC 7871), nothing if it is not among these."""
    for code, data in options(octets):
        if code == Option.CLIENT_SUBNET and len(data) <= _LONGEST_SUBNET:
            return code.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data
    return b""


def upstream_message(query: Query, *, do: bool) -> bytes:
    """Return the query as it goes to an upstream, without its ID: with our own EDNS, whatever the client's was."""
    return _HEADS[query.flags & _KEPT_FLAGS] + query.question + (_OPT_DO if do else _OPT)


def own_message(query: Query, subnet: bytes) -> bytes:
    """Return the same for a query whose answer is for one client only: with its RD, and the option *subnet*."""
    head = (query.flags & (RD | CD | AD)).to_bytes(2, "big") + b"\0\1\0\0\0\0\0\1"
    do = query.edns is not None and query.edns.do
    return head + query.question + render_opt(payload=limits.OUR_PAYLOAD, do=do, options=subnet)


_LONGEST_SUBNET = 20
"""Octets of the option: family, two prefix lengths, an IPv6 address."""
_KEPT_FLAGS = CD | AD
_HEADS = {flags: (RD | flags).to_bytes(2, "big") + b"\0\1\0\0\0\0\0\1" for flags in (0, CD, AD, CD | AD)}
_OPT = render_opt(payload=limits.OUR_PAYLOAD)
_OPT_DO = render_opt(payload=limits.OUR_PAYLOAD, do=True)
