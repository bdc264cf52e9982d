"""A resolver on free ports of the loopback, and name servers whose replies are functions of the query."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from ipaddress import ip_address

import dns.flags
import dns.message
import dns.rrset

from resolver.dns_client import Client
from resolver.engine.cache import Cache, CacheSettings
from resolver.engine.upstream import Upstream, UpstreamSet
from resolver.engine.view import AttachedZone, View
from resolver.service import DnsService
from resolver.transport.poller import Poller
from resolver.transport.tcp import TcpListener
from resolver.transport.udp import UdpListener
from resolver.transport.upstream import UpstreamPool
from resolver.transport.upstream_socket import open_datagram
from resolver.wire.name import from_text
from resolver.zone.build import records
from resolver.zone.published import PublishedZone
from resolver.zone.zone import Zone
from tests.support.waiting import PATIENCE


def open_from(address, upstream, kind):
    """Open a socket to *upstream* as on a host that has the source *address* for it."""
    sock = socket.socket(socket.AF_INET, kind)
    try:
        sock.setblocking(False)
        sock.bind((address, 0))
        with contextlib.suppress(BlockingIOError):
            sock.connect((upstream.address, upstream.port))
    except BaseException:
        sock.close()
        raise
    return sock


class Served:
    """A resolver on free ports of the loopback. *source*: the address that the host asks upstreams from, None: the kernel chooses."""

    async def start(self, upstreams=(), *, cache=None, tls_ca="", **view):
        loop = asyncio.get_running_loop()
        self.opened = 0
        self.sockets: list[socket.socket] = []
        self.source = None

        async def open_socket(sandbox_id, upstream, kind):
            self.opened += 1
            source = self.source if sandbox_id is None else None
            sock = open_datagram(upstream, kind) if source is None else open_from(source, upstream, kind)
            self.sockets.append(sock)
            return sock

        self.poller = Poller(loop)
        self.pool = UpstreamPool(loop, self.poller, open_socket, time.monotonic, tls_ca=tls_ca)
        self.service = DnsService(self.pool, Cache(cache or CacheSettings()), time.monotonic)
        zone = Zone("net", from_text("net"), 5).with_changes(
            (), records(endpoint="o", network="net", endpoint_names=["web"], addresses=[ip_address("10.0.0.2"), ip_address("10.0.0.3")])
        )
        self.zone = PublishedZone(zone)
        self.client = Client(View(attached=(AttachedZone(self.zone),), upstreams=UpstreamSet(tuple(upstreams)), **view))
        self.zone.watchers.add(self.client)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        tcp = socket.socket()
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        tcp.setblocking(False)
        self.udp_address, self.tcp_address = udp.getsockname(), tcp.getsockname()
        self.udp = UdpListener(self.poller, udp, self.service, self.client)
        self.tcp = TcpListener(self.service, lambda _: self.client)
        await self.tcp.listen(tcp)
        return self

    def show(self, *upstreams):
        """Forward to these from now on."""
        self.client.show(View(attached=(AttachedZone(self.zone),), upstreams=UpstreamSet(upstreams)))

    async def stop(self):
        if not hasattr(self, "tcp"):
            return
        self.udp.close()
        await self.tcp.close()
        await self.service.close()
        await self.pool.close()
        self.poller.close()

    async def ask(self, name="web", qtype="A", timeout=PATIENCE, **more):
        message = dns.message.make_query(name, qtype, **more)
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(self.udp_address)
            await loop.sock_sendall(sock, message.to_wire())
            octets = await asyncio.wait_for(loop.sock_recv(sock, 65_535), timeout)
        reply = dns.message.from_wire(octets)
        assert message.is_response(reply)
        return reply


class Scripted:
    """A name server on the loopback whose replies are functions of the query."""

    def __init__(self, *replies, port=0):
        self.replies = list(replies)
        self.port = port
        self.queries = []
        self.peers = []
        self.sources = set()

    async def start(self):
        loop = asyncio.get_running_loop()
        scripted = self

        class Protocol(asyncio.DatagramProtocol):
            def connection_made(self, transport):
                self.transport = transport

            def datagram_received(self, octets, peer):
                scripted.queries.append(octets)
                scripted.peers.append(peer)
                scripted.sources.add(peer)
                for reply in scripted.replies:
                    made = reply(octets)
                    if made is not None:
                        self.transport.sendto(made, peer)

        self.transport, _ = await loop.create_datagram_endpoint(Protocol, local_addr=("127.0.0.1", self.port))
        self.upstream = Upstream("127.0.0.1", self.transport.get_extra_info("sockname")[1])
        return self

    async def stop(self):
        self.transport.close()

    def answer_all(self):
        """Answer all queries so far with the replies there are now."""
        for octets, peer in zip(self.queries, self.peers, strict=True):
            for reply in self.replies:
                self.transport.sendto(reply(octets), peer)


def refusing_socket():
    """Return a socket by which a port of the loopback is nobody else's, and refuses what comes: it is connected elsewhere."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.connect(("127.0.0.1", 9))
    return sock


class Absent:
    """A name server that is not there."""

    def __init__(self):
        self._sock = refusing_socket()
        self.upstream = Upstream("127.0.0.1", self._sock.getsockname()[1])

    async def stop(self):
        self._sock.close()


def good(octets):
    made = dns.message.make_response(dns.message.from_wire(octets))
    made.answer.append(dns.rrset.from_text(made.question[0].name, 9, "IN", "A", "192.0.2.1"))
    return made.to_wire()


def other_id(octets):
    return bytes([octets[0] ^ 1]) + good(octets)[1:]


def other_question(octets):
    made = dns.message.make_response(dns.message.make_query("evil.test", "A", id=int.from_bytes(octets[:2], "big")))
    return made.to_wire()


class StreamServer:
    """A name server over TCP, or TLS with *context*; *reply* as with `Scripted`. *close_after*: ends each connection then."""

    def __init__(self, reply, context=None, close_after=0):
        self.reply, self.context, self.close_after = reply, context, close_after
        self.queries, self.connections = [], 0

    async def start(self, transport="tcp", name=""):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=self.context)
        self.upstream = Upstream("127.0.0.1", self.server.sockets[0].getsockname()[1], None, transport, name or None)
        return self

    async def serve(self, reader, writer):
        self.connections += 1
        try:
            for number in range(1_000_000):
                size = int.from_bytes(await reader.readexactly(2), "big")
                octets = await reader.readexactly(size)
                self.queries.append(octets)
                if self.close_after and number + 1 > self.close_after:
                    break
                made = self.reply(octets)
                if made is not None:
                    writer.write(len(made).to_bytes(2, "big") + made)
        except (OSError, asyncio.IncompleteReadError):
            pass
        writer.close()

    async def stop(self):
        self.server.close()
