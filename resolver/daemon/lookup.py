"""`berth resolve`: the daemon asks itself, through the same view and service as a sandbox, and says why."""

from __future__ import annotations

import asyncio
import heapq
import time

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.reversename

from netcore.errors import InvalidRequest
from netcore.model import Sandbox
from resolver.daemon.hostfile import HostResolvConf
from resolver.daemon.registry import Registry
from resolver.daemon.schema import CachedView, RecordView, ResolveView, UpstreamView
from resolver.engine.cache import Entry, flags_of, is_below, name_of
from resolver.engine.explain import explain, source
from resolver.service import DnsService
from resolver.transport.upstream import UpstreamPool
from resolver.wire import name as names
from resolver.zone.upstream import Route
from resolver.zone.view import ViewSlot


class Lookup:
    """Looks names up on behalf of a person."""

    def __init__(self, registry: Registry, service: DnsService, pool: UpstreamPool, host: HostResolvConf) -> None:
        self._registry = registry
        self.service = service
        self.pool = pool
        self.host = host

    async def resolve(self, text: str, type_text: str, sandbox: Sandbox | None) -> ResolveView:
        """Return what *sandbox* (None: somebody on every network) gets for *text*, an address for PTR included."""
        rtype = self._type(type_text)
        name = self._name(text, rtype)
        slot = self._registry.slot_of(sandbox) if sandbox is not None else ViewSlot("", self._registry.everything())
        if slot is None:
            raise InvalidRequest("from", "the sandbox has no resolver: it is on no network of ours")
        query = dns.message.make_query(name, rtype, use_edns=0, payload=65_535)
        qname = names.from_text(name.to_text())
        lines, where = explain(slot.current, qname, int(rtype)), source(slot.current, qname, int(rtype))
        reply = dns.message.from_wire(await self._ask(slot, query.to_wire()), ignore_trailing=True)
        lines += self._remembered(slot.current.route_of(qname), qname, int(rtype))
        lines += [f"the answer says: {option.to_text()}" for option in reply.options]
        records = [
            RecordView(rrset.name.to_text(), rrset.ttl, dns.rdatatype.to_text(rrset.rdtype), rdata.to_text())
            for rrset in reply.answer
            for rdata in rrset
        ]
        return ResolveView(name.to_text(), dns.rdatatype.to_text(rtype), dns.rcode.to_text(reply.rcode()), where, records, lines)

    def _remembered(self, route: Route, qname: bytes, rtype: int) -> list[str]:
        """Return a line for each answer that is remembered for the question, those with other flags too."""
        now = time.monotonic()
        return [
            f"remembered{f' for questions with {flags_of(entry.question)}' if flags_of(entry.question) else ''}: "
            f"{f'{entry.expires - now:.0f} s left' if entry.expires > now else 'its time is over'}, told {entry.hits} times"
            for entry in self.service.cache.known(route, qname, rtype)
        ]

    async def _ask(self, slot: ViewSlot, octets: bytes) -> bytes:
        later = _Later(asyncio.get_running_loop().create_future())
        now = self.service.on_query(slot, octets, later, b"", tcp=True)
        return now if now is not None else await later.octets

    @staticmethod
    def _type(text: str) -> dns.rdatatype.RdataType:
        try:
            return dns.rdatatype.from_text(text)
        except (dns.rdatatype.UnknownRdatatype, ValueError) as error:
            raise InvalidRequest("type", f"{text!r} is no record type; try A, AAAA or PTR") from error

    @staticmethod
    def _name(text: str, rtype: dns.rdatatype.RdataType) -> dns.name.Name:
        try:
            if rtype == dns.rdatatype.PTR and not text.rstrip(".").endswith(".arpa"):
                return dns.reversename.from_address(text)
            return dns.name.from_text(text)
        except dns.exception.DNSException as error:
            raise InvalidRequest("name", f"{text!r}: {error}") from error

    def upstreams(self) -> list[UpstreamView]:
        """Return every upstream that was asked lately, with its state and its round-trip time."""
        now = time.monotonic()
        return [
            UpstreamView(
                str(item), item.netns[:12] or "host", health.state(now), round(1000 * health.rtt, 3), health.queries, health.failures
            )
            for item, health in self.pool.health().items()
        ]

    async def cached(self, text: str | None, most: int) -> tuple[int, list[CachedView]]:
        """Return how many answers for the name *text* and below it (None: at all) are remembered, and the *most* told of them.

        The loop only copies references: a full cache has tens of thousands, and names are answered meanwhile.
        """
        name = None if text is None else names.from_text(text)
        everything = list(self.service.cache.entries())
        return await asyncio.to_thread(_select, everything, name, most)

    def forget(self, text: str | None) -> int:
        """Forget what is known of the name *text* and below it, None: everything; return how many answers that was."""
        return self.service.forget(None if text is None else names.from_text(text))


class _Later:
    """Takes the reply that comes later."""

    def __init__(self, octets: asyncio.Future[bytes]) -> None:
        self.octets = octets

    def reply(self, peer: bytes, octets: bytes) -> None:
        """Hand *octets* to who waits."""
        if not self.octets.done():
            self.octets.set_result(octets)


def _select(everything: list[tuple[Route, Entry]], name: bytes | None, most: int) -> tuple[int, list[CachedView]]:
    now = time.monotonic()
    found = [item for item in everything if name is None or is_below(item[1].question, name)]
    shown = [_cached_view(route, entry, now) for route, entry in heapq.nlargest(most, found, key=lambda item: item[1].hits)]
    return len(found), sorted(shown, key=lambda item: (item.name.split(".")[::-1], item.type))


def _cached_view(route: Route, entry: Entry, now: float) -> CachedView:
    rtype = dns.rdatatype.RdataType.make(int.from_bytes(entry.question[-5:-3], "big"))
    rcode = dns.rcode.Rcode.make(entry.received.rcode)
    return CachedView(
        name=names.to_text(name_of(entry.question)),
        type=dns.rdatatype.to_text(rtype),
        flags=flags_of(entry.question),
        rcode="NODATA" if rcode == 0 and not entry.received.counts[0] else dns.rcode.to_text(rcode),
        ttl=max(0, int(entry.expires - now)),
        stale=entry.expires <= now,
        records=sum(entry.received.counts),
        hits=entry.hits,
        size=entry.size,
        upstreams=[f"{item} ({item.netns[:12]})" if item.netns else str(item) for item in route.upstreams],
    )
