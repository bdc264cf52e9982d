"""Upstream name servers: UDP sockets with random ports and IDs, TCP and TLS connections. Carries out what `Exchange` decides.

A socket to an upstream belongs to the namespace from which that upstream is asked; it is opened there on first need,
serves many queries, is renewed, and closed when idle. What is sent in one round goes out with one system call.

When the addresses or routes of a namespace change (`UpstreamPool.look_at_paths`), the sockets whose source address is not the
one that a fresh socket would have are replaced, and what waits on them is asked again. So it is with all sockets in sandboxes
to an upstream to which the host has another way now (`UpstreamPool.look_at_ways_out`).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from resolver import limits
from resolver.engine.classify import Kind
from resolver.engine.exchange import Action, Done, Exchange, GiveUp, Result, Send, first_upstream
from resolver.engine.loop_probes import LOOP_DOMAIN, LoopProbes
from resolver.engine.upstream import Upstream, UpstreamSet
from resolver.engine.upstream_health import UpstreamHealth
from resolver.transport.deadlines import Bucket, Deadlines
from resolver.transport.pending import PendingQuery, identities
from resolver.transport.poller import Poller
from resolver.transport.stream import Stream
from resolver.transport.upstream_socket import Path, UpstreamSocket, path_of
from resolver.transport.ways_out import WaysOut
from resolver.wire.message import HEADER

OpenSocket = Callable[[str | None, Upstream, int], Awaitable[socket.socket]]
"""(sandbox id or None, upstream, socket kind) → a non-blocking socket in the namespace of that sandbox or, None, of the host.

A datagram socket is connected, a stream socket connecting.
"""


class PathWatcher(Protocol):
    """Who calls `UpstreamPool.look_at_paths` when addresses or routes change."""

    def follow(self, sandbox_id: str | None) -> None:
        """Follow the changes in this namespace, if they are not followed yet."""

    def keep(self, sandbox_ids: Iterable[str | None]) -> None:
        """Follow the changes in these namespaces only."""


class ResultHandler(Protocol):
    """Who wants the answer to one query."""

    def on_result(self, result: Result, now: float) -> None:
        """Take the answer, or the reason why there is none. Called once."""


_UNKNOWN: Path = ()
_FINAL = Kind.FINAL


class _NameServer:
    """One upstream with its health, its UDP sockets and its connection.

    *worn*: sockets that send no more queries but may be answered. *waiting*: for the first socket to be opened. *path*: by which
    it was reached when that was last looked at; None: it was not.
    """

    __slots__ = ("chosen", "health", "opening", "path", "sockets", "stream", "waiting", "worn")

    def __init__(self, health: UpstreamHealth, stream: Stream) -> None:
        self.health = health
        self.sockets: list[UpstreamSocket] = []
        self.chosen: UpstreamSocket | None = None
        self.worn: list[UpstreamSocket] = []
        self.waiting: list[PendingQuery] = []
        self.opening: asyncio.Task[None] | None = None
        self.path: Path | None = _UNKNOWN
        self.stream = stream

    def retire_silent(self, since: float) -> None:
        """Send no more queries by UDP sockets that have been opened, and have heard anything, only before *since*."""
        self._retire([udp for udp in self.sockets if udp.heard <= since])

    def _retire(self, sockets: list[UpstreamSocket]) -> None:
        for udp in sockets:
            self.sockets.remove(udp)
            self.worn.append(udp)
        if self.chosen in sockets:
            self.chosen = None

    def take_path(self, path: Path | None) -> bool:
        """Replace what was opened by another path than *path*; return whether the upstream is reached in another way than before.

        None: it is not reached now, so that nothing could be replaced.
        """
        before, self.path = self.path, path
        if path is None:
            return False
        # A fresh socket may have been opened before anybody looked: *before* alone does not tell.
        others = [udp for udp in self.sockets if udp.path != path]
        if not others and before in (path, _UNKNOWN) and self.stream.path in (None, path):
            return False
        self._replace(others, path)
        return True

    def renew(self) -> None:
        """Replace everything that was opened: it is reached in another way than before, behind this namespace."""
        self._replace([*self.sockets], None)

    def _replace(self, sockets: list[UpstreamSocket], path: Path | None) -> None:
        self.health.path_changed()
        self._retire(sockets)
        for udp in sockets:
            udp.path_changed()
        self.stream.take_path(path)

    def drop(self, udp: UpstreamSocket) -> None:
        """Close a socket that is of no use."""
        if self.chosen is udp:
            self.chosen = None
        for sockets in (self.sockets, self.worn):
            if udp in sockets:
                sockets.remove(udp)
        udp.close()

    def fail(self, reason: str) -> None:
        """Tell all queries on its UDP sockets that they have failed."""
        for udp in (*self.sockets, *self.worn):
            udp.fail(reason)

    def close(self) -> None:
        for udp in (*self.sockets, *self.worn):
            udp.close()
        self.stream.close()
        if self.opening is not None:
            self.opening.cancel()


class _FirstQuery(PendingQuery, eq=False, gc=False, kw_only=True):
    """A query at the first of several upstreams. Nearly always that is all there is to it, and no `Exchange` is made.

    *handler* is None until then. *bucket*: where its deadline waits.
    """

    pool: UpstreamPool
    upstreams: UpstreamSet
    results: ResultHandler
    bucket: Bucket

    def answered(self, kind: Kind, message: bytes, now: float) -> None:
        if kind is _FINAL and self.handler is None:
            self.health.answered(now - self.sent)
            self.bucket.pop(self, None)
            self.results.on_result(Done(self.health, message), now)
        else:
            self._take_up(now)
            super().answered(kind, message, now)

    def failed(self, reason: str, now: float, *, is_socket: bool = False) -> None:
        self._take_up(now)
        super().failed(reason, now, is_socket=is_socket)

    def path_changed(self, now: float) -> None:
        self._take_up(now)
        super().path_changed(now)

    def on_deadline(self, now: float) -> None:
        """The upstream is late."""
        self._take_up(now).on_deadline(now)

    def _take_up(self, now: float) -> _ExchangeDriver:
        """Leave what follows to an `Exchange`."""
        if isinstance(self.handler, _ExchangeDriver):
            return self.handler
        self.bucket.pop(self, None)
        pool = self.pool
        exchange = Exchange.begun(pool.healths(self.upstreams), self.message, self.question, pool.probes, self.health, self.sent)
        driver = self.handler = _ExchangeDriver(pool, exchange, self.question, self.results)
        driver.wait(now)
        return driver


class _ExchangeDriver:
    """Carries out one `Exchange`: sends what it says, and tells it of responses, failures and the time."""

    __slots__ = ("_bucket", "_deadline", "_exchange", "_pool", "_question", "_results")

    def __init__(self, pool: UpstreamPool, exchange: Exchange, question: bytes, results: ResultHandler) -> None:
        self._pool = pool
        self._exchange = exchange
        self._question = question
        self._results = results
        self._bucket: Bucket = {}
        self._deadline = 0.0

    def start(self, now: float) -> None:
        self._do(self._exchange.start(now), now)

    def on_reply(self, pending: PendingQuery, kind: Kind, message: bytes, now: float) -> None:
        sent = Send(pending.health, pending.message, pending.stream)
        self._do(self._exchange.on_reply(sent, kind, message, now), now)

    def on_failure(self, pending: PendingQuery, reason: str, now: float, *, is_socket: bool) -> None:
        self._do(self._exchange.on_failure(pending.health, reason, now, sent=pending.sent, is_socket=is_socket), now)

    def on_other_path(self, pending: PendingQuery, now: float) -> None:
        self._do(self._exchange.on_other_path(pending.health, now), now)

    def on_deadline(self, now: float) -> None:
        self._do(self._exchange.on_deadline(now), now)

    def _do(self, action: Action, now: float) -> None:
        if isinstance(action, Done | GiveUp):
            self._bucket.pop(self, None)
            self._results.on_result(action, now)
            return
        for send in action:
            question, handler = (send.message[_QUESTION_AT:], None) if send.is_loop_probe else (self._question, self)
            self._pool.send(PendingQuery(handler, send.upstream, question, send.message, now, send.stream), now, send.since)
        self.wait(now)

    def wait(self, now: float) -> None:
        """Have `on_deadline` called when the exchange wants it."""
        if self._deadline != self._exchange.deadline and not self._exchange.done:
            self._bucket.pop(self, None)
            self._deadline = self._exchange.deadline
            self._bucket = self._pool.deadlines.add(self, self._deadline, now)


_QUESTION_AT = HEADER.size - 2
"""Where the question begins in a message without its ID."""


class UpstreamPool:
    """All upstream sockets of the daemon. *open_socket* enters namespaces; see `OpenSocket`.

    *loop_domain*: names below it are for loop probes. *tls_ca*: a file of certificates in place of the system's. *watcher*: is
    told which namespaces upstreams are asked from.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        poller: Poller,
        open_socket: OpenSocket,
        clock: Callable[[], float],
        *,
        loop_domain: bytes = LOOP_DOMAIN,
        tls_ca: str = "",
        watcher: PathWatcher | None = None,
    ) -> None:
        self._watcher = watcher
        self._loop = loop
        self._poller = poller
        self._open_socket = open_socket
        self._clock = clock
        self._tls_ca = tls_ca
        self._draw = identities()
        self._servers: dict[Upstream, _NameServer] = {}
        self._by_health: dict[UpstreamHealth, _NameServer] = {}
        self._healths: dict[UpstreamSet, list[UpstreamHealth]] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._ways_out = WaysOut(lambda upstream, kind: open_socket(None, upstream, kind))
        self.probes = LoopProbes(loop_domain)
        self.deadlines = Deadlines(loop, clock)

    def forward(self, upstreams: UpstreamSet, message: bytes, question: bytes, results: ResultHandler, now: float) -> None:
        """Ask *upstreams* the *message* (without its ID), and tell *results* once what came of it."""
        healths = self._healths.get(upstreams)
        if healths is None:
            healths = self.healths(upstreams)
        first = first_upstream(healths, now)
        if first is None:
            exchange = Exchange(healths, message, question, self.probes, now)
            _ExchangeDriver(self, exchange, question, results).start(now)
            return
        query = _FirstQuery(None, first, question, message, now, pool=self, upstreams=upstreams, results=results, bucket=_NO_BUCKET)
        query.bucket = self.deadlines.add(query, now + first.patience, now)
        first.queries += 1
        self._by_datagram(self._by_health[first], query)

    def healths(self, upstreams: UpstreamSet) -> list[UpstreamHealth]:
        """Return what is remembered of each of *upstreams*."""
        healths = self._healths.get(upstreams)
        if healths is None:
            healths = self._healths[upstreams] = [self._server(upstream).health for upstream in upstreams.servers]
        return healths

    def _server(self, upstream: Upstream) -> _NameServer:
        server = self._servers.get(upstream)
        if server is None:
            stream = Stream(self._loop, upstream, self._open_to, self._clock, self._draw, self._tls_ca)
            server = self._servers[upstream] = _NameServer(UpstreamHealth(upstream), stream)
            self._by_health[server.health] = server
            if self._watcher is not None:
                self._watcher.follow(upstream.sandbox_id)
        return server

    def health(self) -> dict[Upstream, UpstreamHealth]:
        """Return what is remembered of each upstream, for `status` and metrics."""
        return {upstream: server.health for upstream, server in self._servers.items()}

    # --- sending ------------------------------------------------------------------------------------------------

    def send(self, pending: PendingQuery, now: float, since: float | None = None) -> None:
        """Send a query to its upstream, over its connection or from one of its UDP sockets, opening one if need be.

        *since*: see `Send`.
        """
        server = self._by_health.get(pending.health)
        if server is None:
            pending.failed("no longer in use", now)
            return
        pending.health.queries += 1
        if pending.stream:
            server.stream.send(pending, since)
            self._sweep_later()
        else:
            if since is not None:
                server.retire_silent(since)
            self._by_datagram(server, pending)

    def _by_datagram(self, server: _NameServer, pending: PendingQuery) -> None:
        sockets, chosen = server.sockets, server.chosen
        if chosen is None or not chosen.unsent:
            # Drawn anew for each round and not for each query: what is sent together then takes one system call.
            chosen = server.chosen = sockets[self._draw() % len(sockets)] if sockets else None
        if chosen is None:
            server.waiting.append(pending)
        elif chosen.send(pending):
            server.chosen = None
            sockets.remove(chosen)
            server.worn.append(chosen)
        if len(sockets) < limits.SOCKETS_PER_UPSTREAM and server.opening is None:
            server.opening = self._loop.create_task(self._open(server))

    async def _open(self, server: _NameServer) -> None:
        """Open one more socket to an upstream, and send from it what waits for the first."""
        try:
            sock = await self._open_to(server.health.upstream, socket.SOCK_DGRAM)
        except Exception as error:
            opened, reason = None, getattr(error, "strerror", None) or str(error)
        else:
            opened, reason = UpstreamSocket(self._poller, sock, self._clock, self._draw, server.drop), ""
            server.sockets.append(opened)
            self._sweep_later()
        server.opening = None
        waiting, server.waiting = server.waiting, []
        for pending in waiting:
            if opened is None:
                pending.failed(reason, self._clock())
            else:
                opened.send(pending)

    async def _open_to(self, upstream: Upstream, kind: int) -> socket.socket:
        """Return a socket to *upstream*; note the path, if it is the first, or that there is none."""
        server = self._servers.get(upstream)
        await self._ways_out.note(upstream)
        try:
            sock = await self._open_socket(upstream.sandbox_id, upstream, kind)
        except OSError:
            if server is not None:
                server.path = None
            raise
        if server is not None and server.path is _UNKNOWN:
            server.path = path_of(sock)
        return sock

    async def look_at_paths(self, sandbox_id: str | None) -> set[Upstream]:
        """Replace the sockets of a namespace that were opened from another address than a fresh one would be.

        Return the upstreams that are reached in another way than before, or again. Nothing is sent to find out.
        """
        changed = set()
        for upstream, server in [*self._servers.items()]:
            if upstream.sandbox_id != sandbox_id:
                continue
            try:
                with await self._open_socket(sandbox_id, upstream, socket.SOCK_DGRAM) as sock:
                    path = path_of(sock)
            except Exception:
                path = None
            if self._servers.get(upstream) is server and server.take_path(path):
                changed.add(upstream)
        return changed

    async def look_at_ways_out(self) -> set[Upstream]:
        """Replace the sockets in sandboxes to upstreams to which the host has another way now; return these upstreams."""
        changed = await self._ways_out.changed([*self._servers])
        for upstream in changed:
            if (server := self._servers.get(upstream)) is not None:
                server.renew()
        return changed

    def on_loop_query(self, qname: bytes) -> None:
        """Take note of a query for *qname*, below the loop domain: the upstream that was probed with it leads back to us."""
        health = self.probes.on_query(qname, self._clock())
        if health is not None:
            self._by_health[health].fail("leads back to this resolver")

    # --- closing ------------------------------------------------------------------------------------------------

    def _sweep_later(self) -> None:
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(limits.SOCKET_IDLE, self._sweep)

    def _sweep(self) -> None:
        """Close what is worn or idle."""
        now, busy = self._clock(), False
        for server in self._servers.values():
            for sockets in (server.sockets, server.worn):
                for udp in [*sockets]:
                    udp.pending.drop_old(now)
                    if not udp.pending and (sockets is server.worn or now - udp.last >= limits.SOCKET_IDLE):
                        sockets.remove(udp)
                        udp.close()
                busy = busy or bool(sockets)
            busy = server.stream.close_if_idle(now) or busy
        self._sweeper = self._loop.call_later(limits.SOCKET_IDLE, self._sweep) if busy else None

    def keep(self, used: Iterable[UpstreamSet]) -> None:
        """Close and forget the upstreams that are in no set of *used*."""
        kept = set(used)
        self._healths = {upstreams: healths for upstreams, healths in self._healths.items() if upstreams in kept}
        wanted = {upstream for upstreams in kept for upstream in upstreams.servers}
        for upstream in self._servers.keys() - wanted:
            server = self._servers.pop(upstream)
            del self._by_health[server.health]
            server.fail("no longer in use")
            for pending in server.waiting:
                pending.failed("no longer in use", self._clock())
            server.close()
        self.probes.keep(self._by_health)
        self._ways_out.keep(self._servers)
        if self._watcher is not None:
            self._watcher.keep(upstream.sandbox_id for upstream in self._servers)

    async def close(self) -> None:
        """Close every socket and end what is under way."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        self.deadlines.close()
        opening = [server.opening for server in self._servers.values() if server.opening is not None]
        for server in self._servers.values():
            server.close()
        await asyncio.gather(*opening, return_exceptions=True)


_NO_BUCKET: Bucket = {}
