"""`berth resolve`: the daemon asks itself, through the same view and service as a sandbox, and says why."""

from __future__ import annotations

import asyncio

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
from resolver.daemon.schema import RecordView, ResolveView, UpstreamView
from resolver.engine.explain import explain, source
from resolver.service import DnsService
from resolver.transport.upstream import UpstreamPool
from resolver.wire import name as names
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
        assert slot is not None
        query = dns.message.make_query(name, rtype, use_edns=0, payload=65_535)
        qname = names.from_text(name.to_text())
        lines, where = explain(slot.current, qname, int(rtype)), source(slot.current, qname, int(rtype))
        reply = dns.message.from_wire(await self._ask(slot, query.to_wire()), ignore_trailing=True)
        lines += [f"the nameservers failed: {option.to_text()}" for option in reply.options]
        records = [
            RecordView(rrset.name.to_text(), rrset.ttl, dns.rdatatype.to_text(rrset.rdtype), rdata.to_text())
            for rrset in reply.answer
            for rdata in rrset
        ]
        return ResolveView(name.to_text(), dns.rdatatype.to_text(rtype), dns.rcode.to_text(reply.rcode()), where, records, lines)

    async def _ask(self, slot: ViewSlot, octets: bytes) -> bytes:
        later: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        now = self.service.on_query(slot, octets, later.set_result, tcp=True)
        return now if now is not None else await later

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
        """Return every upstream that was asked lately, with its state."""
        now = self.pool.now()
        return [
            UpstreamView(item.address, item.netns[:12] or "host", "down" if health.down_until > now else "ok")
            for item, health in self.pool.health().items()
        ]
