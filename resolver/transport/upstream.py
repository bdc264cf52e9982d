"""Upstream nameservers: pooled UDP sockets with random ports and IDs, TCP and TLS connections. Drives `Exchange`.

A socket to an upstream belongs to the namespace from which that upstream is asked; it is opened there on first need,
serves many questions, is renewed, and closed when idle. What is sent in one round goes out with one system call.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from resolver import limits
from resolver.engine.exchange import Done, Exchange, GiveUp, Health, Kind, Send
from resolver.transport.deadlines import Deadlines
from resolver.transport.pending import Asked, identities
from resolver.transport.poller import Poller
from resolver.transport.stream import Stream
from resolver.transport.upstream_socket import UpstreamSocket
from resolver.wire import name as names
from resolver.wire.message import PLAIN_OPT_SIZE, RD, Type, has_plain_opt
from resolver.zone.upstream import Route, Upstream

OpenSocket = Callable[[str, Upstream, int], Awaitable[socket.socket]]
"""(netns, upstream, socket kind) → a non-blocking socket of that namespace, connected if it is a datagram socket."""


class Asking(Protocol):
    """Who wants the answer to one question."""

    def on_result(self, result: Done | GiveUp, now: float) -> None:
        """Take the answer, or the reason why there is none. Called once."""


_TICK = 0.01


class _Server:
    """One upstream with its health, its UDP sockets and its connection."""

    __slots__ = ("chosen", "fresh", "health", "opening", "sockets", "stream", "waiting", "worn")

    def __init__(self, upstream: Upstream, stream: Stream) -> None:
        self.health = Health(upstream)
        self.fresh: dict[_First, None] = {}
        self.sockets: list[UpstreamSocket] = []
        self.chosen: UpstreamSocket | None = None
        self.worn: list[UpstreamSocket] = []
        self.waiting: list[Asked] = []
        self.opening: asyncio.Task[None] | None = None
        self.stream = stream

    def overdue(self, now: float) -> list[_First]:
        """Return the questions for which the next upstream is to be asked. They are in the order of their sending."""
        late = now - self.health.patience()
        return list(itertools.takewhile(lambda first: first.sent <= late, self.fresh))

    def close(self) -> None:
        for item in (*self.sockets, *self.worn):
            item.close()
        self.stream.close()
        if self.opening is not None:
            self.opening.cancel()


class _First(Asked, eq=False, gc=False, kw_only=True):
    """A question at the first of sound upstreams. Nearly always that is all there is to it, and no `Exchange` is made.

    *fresh*: those of its upstream that wait for the first answer.
    """

    pool: UpstreamPool
    route: Route
    asking: Asking
    fresh: dict[_First, None]

    def answered(self, kind: Kind, message: bytes, now: float) -> None:
        if kind is Kind.FINAL and self.owner is None:
            self.health.answered(now - self.sent)
            self.fresh.pop(self, None)
            self.asking.on_result(Done(self.health, message), now)
        else:
            self.go_on()
            super().answered(kind, message, now)

    def failed(self, reason: str, now: float) -> None:
        self.go_on()
        super().failed(reason, now)

    def go_on(self) -> None:
        """Leave what follows to an `Exchange`: the upstream is late, or did not answer as one wants."""
        if self.owner is None:
            self.fresh.pop(self, None)
            self.owner = self.pool.flight(self.route, self.message, self.question, self.asking)
            self.owner.resume(self)


class _Flight:
    """One question on its way through an `Exchange`."""

    __slots__ = ("_asking", "_exchange", "_message", "_pool", "_question", "_upstreams", "deadline", "done")

    def __init__(self, pool: UpstreamPool, upstreams: list[Health], message: bytes, question: bytes, asking: Asking) -> None:
        self._pool = pool
        self._upstreams = upstreams
        self._message = message
        self._question = question
        self._asking = asking
        self._exchange: Exchange
        self.deadline = 0.0
        self.done = False

    def start(self, now: float) -> None:
        self._exchange = Exchange(self._upstreams, now)
        self._do(self._exchange.start(now), now)

    def resume(self, first: Asked) -> None:
        """Go on from the question *first*, which has been sent."""
        self._exchange = Exchange.begun(self._upstreams, first.health, first.sent)
        self._wait(first.sent)

    def on_message(self, asked: Asked, kind: Kind, message: bytes, now: float) -> None:
        if self.done:
            return
        if kind is Kind.TRUNCATED and not asked.by_stream:
            self._pool.ask_by_stream(asked)
        elif kind is Kind.NO_EDNS and not asked.retried:
            self._pool.ask_without_edns(asked, now)
        else:
            self._do(self._exchange.on_message(asked.health, self._final(asked, kind, message, now), message, now), now)

    def _final(self, asked: Asked, kind: Kind, message: bytes, now: float) -> Kind:
        """Return what a reply is when nothing more can be done about its size or its EDNS."""
        if kind is Kind.FINAL and asked.retried and len(asked.message) < len(self._message):
            asked.health.no_edns_until = now + limits.NO_EDNS
        if kind is Kind.NO_EDNS and len(message) >= 12 + len(self._question):
            return Kind.FINAL
        return kind if kind in (Kind.FINAL, Kind.FAILED) else Kind.FAILED

    def on_failure(self, asked: Asked, reason: str, now: float) -> None:
        if not self.done:
            self._do(self._exchange.on_failure(asked.health, reason, now), now)

    def on_deadline(self, now: float) -> None:
        self._do(self._exchange.on_deadline(now), now)

    def _do(self, action: Send | Done | GiveUp | None, now: float) -> None:
        if action.__class__ is Send:
            assert isinstance(action, Send)
            self._ask(action.upstream, now)
            if action.probe is not None:
                self._ask(action.probe, now)
            if self.done:
                return
        elif action is not None:
            self.done = True
            assert isinstance(action, Done | GiveUp)
            self._asking.on_result(action, now)
            return
        self._wait(now)

    def _wait(self, now: float) -> None:
        if self.deadline != self._exchange.deadline:
            self.deadline = self._exchange.deadline
            self._pool.deadlines.add(self, now)

    def _ask(self, health: Health, now: float) -> None:
        self._pool.ask(Asked(self, health, self._question, self._message, now), now)


class UpstreamPool:
    """All upstream sockets of the daemon. *open_socket* enters namespaces; see `OpenSocket`.

    *loop_domain*: names below it are asked to find out whether an upstream leads back to us; see `on_loop`. *tls_ca*: a
    file of certificates in place of the system's.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        poller: Poller,
        open_socket: OpenSocket,
        clock: Callable[[], float],
        *,
        loop_domain: bytes = b"\x05_loop\0",
        tls_ca: str = "",
    ) -> None:
        self._loop = loop
        self._poller = poller
        self._open_socket = open_socket
        self._clock = clock
        self._tls_ca = tls_ca
        self._draw = identities()
        self._servers: dict[Upstream, _Server] = {}
        self._by_health: dict[Health, _Server] = {}
        self._routes: dict[Route, list[Health]] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._probes: dict[bytes, Health] = {}
        self.loop_domain = loop_domain
        self.deadlines = Deadlines(loop, clock)

    def forward(self, route: Route, message: bytes, question: bytes, asking: Asking, now: float) -> None:
        """Ask the upstreams of *route* the *message* (without its ID), and tell *asking* once what came of it."""
        upstreams = self._routes.get(route)
        if upstreams is None:
            upstreams = self._routes[route] = [self._server(item).health for item in route.upstreams]
        for health in upstreams:
            if not health.is_sound(now):
                break
        else:
            server = self._by_health[upstreams[0]]
            if server.sockets and not server.stream.is_only_way:
                first = _First(None, server.health, question, message, now, pool=self, route=route, asking=asking, fresh=server.fresh)
                server.fresh[first] = None
                if self._ticker is None:
                    self._ticker = self._loop.call_later(_TICK, self._tick)
                server.health.queries += 1
                self._by_datagram(server, first, now)
                return
        self.flight(route, message, question, asking).start(now)

    def flight(self, route: Route, message: bytes, question: bytes, asking: Asking) -> _Flight:
        """Return a question to the upstreams of *route* that has not been sent."""
        return _Flight(self, self._routes.get(route, []), message, question, asking)

    def _tick(self) -> None:
        """Look for upstreams that are late."""
        now, busy = self._clock(), False
        for server in self._servers.values():
            for first in server.overdue(now):
                first.go_on()
            busy = busy or bool(server.fresh)
        self._ticker = self._loop.call_later(_TICK, self._tick) if busy else None

    def _server(self, upstream: Upstream) -> _Server:
        found = self._servers.get(upstream)
        if found is None:
            found = _Server(upstream, Stream(self._loop, upstream, self._open_socket, self._clock, self._draw, self._tls_ca))
            self._servers[upstream] = found
            self._by_health[found.health] = found
        return found

    def health(self) -> dict[Upstream, Health]:
        """Return what is remembered of each upstream, for `status` and metrics."""
        return {upstream: server.health for upstream, server in self._servers.items()}

    # --- asking -------------------------------------------------------------------------------------------------

    def ask(self, asked: Asked, now: float) -> None:
        """Send a question to its upstream, over UDP from one of its sockets, opening one if need be."""
        health = asked.health
        server = self._by_health.get(health)
        if server is None:
            asked.failed("no longer in use", now)
            return
        if not health.loop_checked:
            health.loop_checked = True
            self._check_for_loop(health, now)
        health.queries += 1
        if health.no_edns_until > now:
            asked.message = _without_edns(asked.message)
        if server.stream.is_only_way:
            server.stream.ask(asked)
            self._sweep_later()
            return
        self._by_datagram(server, asked, now)

    def _by_datagram(self, server: _Server, asked: Asked, now: float) -> None:
        sockets, chosen = server.sockets, server.chosen
        if chosen is None or not chosen.unsent:
            # Drawn anew for each round and not for each question: what is sent together then takes one system call.
            chosen = server.chosen = sockets[self._draw() % len(sockets)] if sockets else None
        if chosen is None:
            server.waiting.append(asked)
        else:
            chosen.send(asked)
            if chosen.is_worn(now):
                server.chosen = None
                sockets.remove(chosen)
                server.worn.append(chosen)
        if len(sockets) < limits.SOCKETS_PER_UPSTREAM and server.opening is None:
            server.opening = self._loop.create_task(self._open(server))

    async def _open(self, server: _Server) -> None:
        """Open one more socket to an upstream, and send from it what waits for the first."""
        upstream = server.health.upstream
        try:
            sock = await self._open_socket(upstream.netns, upstream, socket.SOCK_DGRAM)
        except Exception as error:
            opened, reason = None, getattr(error, "strerror", None) or str(error)
        else:
            opened, reason = UpstreamSocket(self._poller, sock, self._clock, self._draw), ""
            server.sockets.append(opened)
            self._sweep_later()
        server.opening = None
        waiting, server.waiting = server.waiting, []
        for asked in waiting:
            if opened is None:
                asked.failed(reason, self._clock())
            else:
                opened.send(asked)

    def ask_by_stream(self, asked: Asked) -> None:
        """Ask the upstream again over TCP, because its answer did not fit in a datagram."""
        server = self._by_health.get(asked.health)
        if server is not None:
            asked.by_stream = True
            server.stream.ask(asked)
            self._sweep_later()

    def ask_without_edns(self, asked: Asked, now: float) -> None:
        """Ask the upstream again without the OPT record that it may not understand (RFC 6891 section 7)."""
        again = Asked(asked.owner, asked.health, asked.question, _without_edns(asked.message), now)
        again.retried = True
        self.ask(again, now)

    # --- loops --------------------------------------------------------------------------------------------------

    def _check_for_loop(self, health: Health, now: float) -> None:
        """Ask the upstream for a name that nobody else can know of; if the question comes back, `on_loop` hears of it."""
        label = b"%016x" % random.SystemRandom().getrandbits(64)
        self._probes = {key: item for key, item in self._probes.items() if item is not health}
        self._probes[label] = health
        question = names.join(bytes([len(label)]) + label + names.ROOT, self.loop_domain) + Type.TXT.to_bytes(2, "big") + b"\0\1"
        message = RD.to_bytes(2, "big") + b"\0\1" + bytes(6) + question
        # What the reply says does not matter, so nobody owns the question.
        self.ask(Asked(None, health, question, message, now), now)

    def on_loop(self, qname: bytes) -> None:
        """Take note that the question for *qname*, below the loop domain, has come to us: its upstream leads back here."""
        health = self._probes.pop(qname[1 : 1 + qname[0]], None)
        if health is None:
            return
        health.looping_until = self._clock() + limits.LOOP
        health.loop_checked = False
        server = self._by_health[health]
        for item in (*server.sockets, *server.worn):
            item.fail("leads back to this resolver")

    # --- closing ------------------------------------------------------------------------------------------------

    def _sweep_later(self) -> None:
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(limits.SOCKET_IDLE, self._sweep)

    def _sweep(self) -> None:
        """Close what is worn or idle."""
        now, busy = self._clock(), False
        for server in self._servers.values():
            for sockets in (server.sockets, server.worn):
                for item in [*sockets]:
                    item.pending.drop_old(now)
                    if not item.pending and (sockets is server.worn or now - item.last >= limits.SOCKET_IDLE):
                        sockets.remove(item)
                        item.close()
                busy = busy or bool(sockets)
            busy = server.stream.close_if_idle(now) or busy
        self._sweeper = self._loop.call_later(limits.SOCKET_IDLE, self._sweep) if busy else None

    def keep(self, routes: Iterable[Route]) -> None:
        """Close and forget the upstreams that are in none of *routes*."""
        kept = set(routes)
        self._routes = {route: found for route, found in self._routes.items() if route in kept}
        wanted = {upstream for route in kept for upstream in route.upstreams}
        for upstream in [item for item in self._servers if item not in wanted]:
            server = self._servers.pop(upstream)
            del self._by_health[server.health]
            self._probes = {key: item for key, item in self._probes.items() if item is not server.health}
            for item in (*server.sockets, *server.worn):
                item.fail("no longer in use")
            for asked in server.waiting:
                asked.failed("no longer in use", self._clock())
            server.close()

    async def close(self) -> None:
        """Close every socket and end what is under way."""
        for timer in (self._sweeper, self._ticker):
            if timer is not None:
                timer.cancel()
        self.deadlines.close()
        opening = [server.opening for server in self._servers.values() if server.opening is not None]
        for server in self._servers.values():
            server.close()
        await asyncio.gather(*opening, return_exceptions=True)


def _without_edns(message: bytes) -> bytes:
    """Return *message* (without its ID) without the plain OPT record at its end."""
    if not message[9] or not has_plain_opt(message):
        return message
    return message[:9] + bytes([message[9] - 1]) + message[10:-PLAIN_OPT_SIZE]
