"""`berth resolve`: the daemon asks itself, through the same view and the same stages as a sandbox, and says why.

The cache as `berth cache` and `berth status` show it.
"""

from __future__ import annotations

import asyncio
import heapq
import time

import dns.edns
import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.reversename

from netcore.errors import InvalidRequest
from netcore.model import Sandbox
from resolver.daemon.cache_shapes import CachedView
from resolver.daemon.hostfile import HostResolvConf
from resolver.daemon.record_shapes import RecordView
from resolver.daemon.registry import Registry
from resolver.daemon.schema import ResolveView, UpstreamView
from resolver.dns_client import Client
from resolver.engine import upstream
from resolver.engine.cache import CacheEntry, flags_of, is_below, name_of, type_of
from resolver.engine.explain import Trace, explain, source
from resolver.engine.upstream import UpstreamSet
from resolver.service import DnsService
from resolver.transport.upstream import UpstreamPool
from resolver.wire import name as names


class Lookup:
    """Looks names up on behalf of a person."""

    def __init__(self, registry: Registry, service: DnsService, pool: UpstreamPool, host: HostResolvConf) -> None:
        self._registry = registry
        self.service = service
        self.pool = pool
        self.host = host

    async def resolve(self, text: str, type_text: str, sandbox: Sandbox | None) -> ResolveView:
        """Return what *sandbox* (None: somebody on every network) gets for *text*; for an address, the PTR records."""
        rtype = self._type(type_text)
        if upstream.is_address(text) and rtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
            rtype = dns.rdatatype.PTR
        name = self._name(text, rtype)
        client = self._registry.client_of(sandbox) if sandbox is not None else Client(self._registry.everything())
        if client is None:
            raise InvalidRequest("from", "the sandbox has no resolver: it is on no network of ours")
        query = dns.message.make_query(name, rtype, use_edns=0, payload=65_535)
        trace = Trace()
        reply = dns.message.from_wire(await self._ask(client, query.to_wire(), trace), ignore_trailing=True)
        lines = explain(trace)
        if trace.upstreams is not None:
            lines += self._cached_lines(trace.upstreams, names.from_text(name.to_text()), int(rtype))
        lines += [f"the answer says: {option.to_text()}" for option in reply.options]
        records = [
            RecordView(rrset.name.to_text(), rrset.ttl, dns.rdatatype.to_text(rrset.rdtype), rdata.to_text())
            for rrset in reply.answer
            for rdata in rrset
        ]
        rcode = dns.rcode.to_text(reply.rcode())
        return ResolveView(
            name=name.to_text(),
            type=dns.rdatatype.to_text(rtype),
            rcode=rcode,
            source=source(trace),
            records=records,
            explanation=lines,
            reason=_reason(reply),
        )

    def _cached_lines(self, upstreams: UpstreamSet, qname: bytes, rtype: int) -> list[str]:
        """Return a line for each answer that is cached now for the name and type, those with other flags too."""
        now = time.monotonic()
        return [
            f"cached{f' for queries with {flags_of(entry.key)}' if flags_of(entry.key) else ''}: "
            f"{f'{entry.expires - now:.0f} s left' if entry.expires > now else 'expired'}, told {entry.hits} times"
            for entry in self.service.cache.known(upstreams, qname, rtype)
        ]

    async def _ask(self, client: Client, octets: bytes, trace: Trace) -> bytes:
        later = _FutureReply(asyncio.get_running_loop().create_future())
        now = self.service.on_query(client, octets, later, b"", tcp=True, trace=trace)
        return now if now is not None else await later.octets

    @staticmethod
    def _type(text: str) -> dns.rdatatype.RdataType:
        try:
            return dns.rdatatype.from_text(text)
        except (dns.rdatatype.UnknownRdatatype, ValueError) as error:
            raise InvalidRequest("type", f"{text!r} is no record type; try A, AAAA or PTR") from error

    @staticmethod
    def _name(text: str, rtype: dns.rdatatype.RdataType) -> dns.name.Name:
        if rtype == dns.rdatatype.PTR and not text.rstrip(".").endswith(".arpa"):
            try:
                return dns.reversename.from_address(text)
            except dns.exception.DNSException as error:
                raise InvalidRequest("name", f"{text!r} is no IP address and no name below arpa, as PTR needs") from error
        try:
            return dns.name.from_text(text)
        except dns.exception.DNSException as error:
            raise InvalidRequest("name", f"{text!r} is no domain name: each part must be 1 to 63 ASCII characters") from error

    def upstreams(self) -> list[UpstreamView]:
        """Return every upstream that was asked lately, with its state and its round-trip time."""
        now = time.monotonic()
        return [
            UpstreamView(
                address=str(upstream),
                namespace="host" if upstream.sandbox_id is None else upstream.sandbox_id[:12],
                state=health.state(now),
                rtt_ms=round(1000 * health.rtt, 3),
                queries=health.queries,
                failures=health.failures,
            )
            for upstream, health in self.pool.health().items()
        ]

    async def cached(self, text: str | None, most: int) -> tuple[int, list[CachedView]]:
        """Return how many answers are cached for the name *text* and below it (None: for all), and the *most* used of them.

        The loop only copies references: a full cache has tens of thousands, and names are answered meanwhile.
        """
        name = None if text is None else names.from_text(text)
        everything = list(self.service.cache.entries())
        return await asyncio.to_thread(_select, everything, name, most)

    def forget(self, text: str | None) -> int:
        """Forget the cached answers for the name *text* and below it, None: all; return how many there were."""
        return self.service.forget(None if text is None else names.from_text(text))


def _reason(reply: dns.message.Message) -> str | None:
    """Return why there is no answer: the texts of the extended DNS errors of a failure."""
    if reply.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return None
    errors = [option for option in reply.options if isinstance(option, dns.edns.EDEOption)]
    return "; ".join(option.text or option.code.name.replace("_", " ").lower() for option in errors) or None


class _FutureReply:
    """Takes the response that comes later."""

    def __init__(self, octets: asyncio.Future[bytes]) -> None:
        self.octets = octets

    def reply(self, peer: bytes, octets: bytes) -> None:
        """Hand *octets* to who waits."""
        if not self.octets.done():
            self.octets.set_result(octets)


def _select(everything: list[tuple[UpstreamSet, CacheEntry]], name: bytes | None, most: int) -> tuple[int, list[CachedView]]:
    now = time.monotonic()
    matching = [(upstreams, entry) for upstreams, entry in everything if name is None or is_below(entry.key, name)]
    most_used = heapq.nlargest(most, matching, key=lambda pair: pair[1].hits)
    shown = [_cached_view(upstreams, entry, now) for upstreams, entry in most_used]
    return len(matching), sorted(shown, key=lambda view: (view.name.split(".")[::-1], view.type))


def _cached_view(upstreams: UpstreamSet, entry: CacheEntry, now: float) -> CachedView:
    rcode = dns.rcode.Rcode.make(entry.received.rcode)
    return CachedView(
        name=names.to_text(name_of(entry.key)),
        type=dns.rdatatype.to_text(dns.rdatatype.RdataType.make(type_of(entry.key))),
        flags=flags_of(entry.key),
        rcode="NODATA" if rcode == 0 and not entry.received.counts[0] else dns.rcode.to_text(rcode),
        ttl=max(0, int(entry.expires - now)),
        stale=entry.expires <= now,
        records=sum(entry.received.counts),
        hits=entry.hits,
        size=entry.size,
        upstreams=[
            str(upstream) if upstream.sandbox_id is None else f"{upstream} ({upstream.sandbox_id[:12]})" for upstream in upstreams.servers
        ],
    )
