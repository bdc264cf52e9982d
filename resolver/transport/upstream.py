"""Upstream nameservers: pooled UDP sockets with random ports and IDs, TCP for what does not fit. Drives `Exchange`.

A socket to an upstream belongs to the namespace from which that upstream is asked; it is opened there on first need,
serves many questions, is renewed, and closed when idle.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address

from resolver import limits
from resolver.engine.exchange import Done, Exchange, GiveUp, Health, Kind, Send, classify
from resolver.zone.view import Upstream

OpenSocket = Callable[[str, Upstream, int], Awaitable[socket.socket]]
"""(netns, upstream, socket kind) → a non-blocking socket of that namespace, connected if it is a datagram socket."""

OnResult = Callable[[bytes | None, str], None]
"""(reply, "") or (None, why there is none)."""


class _UpstreamSocket:
    """One connected UDP socket and the questions that wait on it."""

    __slots__ = ("_loop", "_socket", "born", "last", "left", "pending")

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, now: float) -> None:
        self._loop = loop
        self._socket = sock
        self.born = now
        self.last = now
        self.left = limits.SOCKET_QUERIES
        self.pending: dict[int, _Asked] = {}
        loop.add_reader(sock.fileno(), self._read)

    def send(self, asked: _Asked, query: bytes, now: float) -> None:
        identity = _random.randrange(65_536)
        while identity in self.pending:
            identity = _random.randrange(65_536)
        asked.identity = identity
        self.pending[identity] = asked
        self.left -= 1
        self.last = now
        try:
            self._socket.send(identity.to_bytes(2, "big") + query[2:])
        except (BlockingIOError, InterruptedError):
            # As if the network had lost it.
            return
        except OSError as error:
            del self.pending[identity]
            self._loop.call_soon(asked.failed, error.strerror or "unreachable")

    def _read(self) -> None:
        for _ in range(limits.UDP_DRAIN):
            try:
                message = self._socket.recv(limits.UDP_PAYLOAD)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._refused(error.strerror or "unreachable")
                return
            asked = self.pending.get(message[0] << 8 | message[1]) if len(message) >= 12 else None
            if asked is not None:
                kind = classify(asked.question, asked.identity, message)
                if kind is not Kind.FOREIGN:
                    del self.pending[asked.identity]
                    asked.answered(kind, message)

    def _refused(self, reason: str) -> None:
        """Nobody listens there (an ICMP error): everything that waits here has failed."""
        waiting, self.pending = list(self.pending.values()), {}
        for asked in waiting:
            asked.failed(reason)

    def forget(self, asked: _Asked) -> None:
        if self.pending.get(asked.identity) is asked:
            del self.pending[asked.identity]

    def is_worn(self, now: float) -> bool:
        return self.left <= 0 or now - self.born > limits.SOCKET_AGE

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()


_random = random.SystemRandom()


class _Asked:
    """One question at one upstream, as part of a forward."""

    __slots__ = ("_forward", "identity", "question", "sock", "upstream")

    def __init__(self, forward: _Forward, upstream: Upstream, question: bytes) -> None:
        self._forward = forward
        self.upstream = upstream
        self.question = question
        self.identity = -1
        self.sock: _UpstreamSocket | None = None

    def answered(self, kind: Kind, message: bytes) -> None:
        self._forward.on_message(self, kind, message)

    def failed(self, reason: str) -> None:
        self._forward.on_failure(self, reason)


class _Forward:
    """One client's question on its way through an `Exchange`."""

    __slots__ = ("_exchange", "_on_result", "_pool", "_query", "_question", "_timer", "asked")

    def __init__(self, pool: UpstreamPool, exchange: Exchange, query: bytes, question: bytes, on_result: OnResult) -> None:
        self._pool = pool
        self._exchange = exchange
        self._query = query
        self._question = question
        self._on_result = on_result
        self._timer: asyncio.TimerHandle | None = None
        self.asked: list[_Asked] = []

    def start(self) -> None:
        self._do(self._exchange.start(self._pool.now()))

    def on_message(self, asked: _Asked, kind: Kind, message: bytes) -> None:
        if self._exchange.done:
            return
        if kind is Kind.TRUNCATED:
            self._pool.ask_by_tcp(asked, self._query)
            return
        self._do(self._exchange.on_message(asked.upstream, kind, message, self._pool.now()))

    def on_failure(self, asked: _Asked, reason: str) -> None:
        if not self._exchange.done:
            self._do(self._exchange.on_failure(asked.upstream, reason, self._pool.now()))

    def _on_deadline(self) -> None:
        if not self._exchange.done:
            self._do(self._exchange.on_deadline(self._pool.now()))

    def _do(self, action: Send | Done | GiveUp | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        match action:
            case Send(upstream):
                asked = _Asked(self, upstream, self._question)
                self.asked.append(asked)
                self._pool.ask(asked, self._query)
            case Done(_, message):
                self._end()
                self._on_result(message, "")
                return
            case GiveUp(reason):
                self._end()
                self._on_result(None, reason)
                return
        self._timer = self._pool.at(self._exchange.deadline, self._on_deadline)

    def _end(self) -> None:
        for asked in self.asked:
            if asked.sock is not None:
                asked.sock.forget(asked)


class UpstreamPool:
    """All upstream sockets of the daemon. *open_socket* enters namespaces; see `OpenSocket`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, open_socket: OpenSocket) -> None:
        self._loop = loop
        self._open_socket = open_socket
        self._health: dict[Upstream, Health] = {}
        self._sockets: dict[Upstream, list[_UpstreamSocket]] = {}
        self._worn: list[_UpstreamSocket] = []
        self._opening: dict[Upstream, asyncio.Task[_UpstreamSocket | str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self.now = loop.time
        self.at = loop.call_at

    def forward(self, upstreams: Sequence[Upstream], query: bytes, question: bytes, on_result: OnResult) -> None:
        """Ask *upstreams* the message *query* (its ID is replaced) and call *on_result* once."""
        for item in upstreams:
            if item not in self._health:
                self._health[item] = Health()
        _Forward(self, Exchange(upstreams, self._health, self.now()), query, question, on_result).start()

    def health(self) -> dict[Upstream, Health]:
        """Return what is remembered of each upstream, for `status` and metrics."""
        return self._health

    def ask(self, asked: _Asked, query: bytes) -> None:
        """Send *query* to an upstream from one of its sockets, opening one if need be."""
        now = self.now()
        sockets = self._sockets.setdefault(asked.upstream, [])
        for worn in [item for item in sockets if item.is_worn(now)]:
            sockets.remove(worn)
            self._worn.append(worn)
        if len(sockets) < limits.SOCKETS_PER_UPSTREAM and asked.upstream not in self._opening:
            self._begin_opening(asked.upstream)
        if sockets:
            asked.sock = _random.choice(sockets)
            asked.sock.send(asked, query, now)
            return
        self._task(self._ask_when_open(asked, query))

    def _begin_opening(self, upstream: Upstream) -> None:
        task = self._loop.create_task(self._open(upstream))
        self._opening[upstream] = task
        task.add_done_callback(lambda _: self._opening.pop(upstream, None))

    async def _open(self, upstream: Upstream) -> _UpstreamSocket | str:
        try:
            sock = await self._open_socket(upstream.netns, upstream, socket.SOCK_DGRAM)
        except Exception as error:
            return getattr(error, "strerror", None) or str(error)
        opened = _UpstreamSocket(self._loop, sock, self.now())
        self._sockets.setdefault(upstream, []).append(opened)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(limits.SOCKET_IDLE, self._sweep)
        return opened

    async def _ask_when_open(self, asked: _Asked, query: bytes) -> None:
        opened = await asyncio.shield(self._opening[asked.upstream])
        if isinstance(opened, str):
            asked.failed(opened)
        else:
            asked.sock = opened
            opened.send(asked, query, self.now())

    def _sweep(self) -> None:
        """Close sockets that are worn or idle, and forget namespaces that are gone with them."""
        now = self.now()
        for upstream, sockets in [*self._sockets.items()]:
            for item in [item for item in sockets if not item.pending and now - item.last >= limits.SOCKET_IDLE]:
                sockets.remove(item)
                item.close()
            if not sockets:
                del self._sockets[upstream]
        for item in [item for item in self._worn if not item.pending or now - item.last > limits.BUDGET]:
            self._worn.remove(item)
            item.close()
        busy = bool(self._sockets or self._worn)
        self._sweeper = self._loop.call_later(limits.SOCKET_IDLE, self._sweep) if busy else None

    def ask_by_tcp(self, asked: _Asked, query: bytes) -> None:
        """Ask the upstream again over TCP, because its answer did not fit in a datagram."""
        self._task(self._by_tcp(asked, query))

    async def _by_tcp(self, asked: _Asked, query: bytes) -> None:
        identity = _random.randrange(65_536)
        try:
            async with asyncio.timeout(limits.BUDGET):
                sock = await self._open_socket(asked.upstream.netns, asked.upstream, socket.SOCK_STREAM)
                try:
                    await self._loop.sock_connect(sock, sockaddr(asked.upstream))
                    message = identity.to_bytes(2, "big") + query[2:]
                    await self._loop.sock_sendall(sock, len(message).to_bytes(2, "big") + message)
                    size = int.from_bytes(await self._read_exactly(sock, 2), "big")
                    reply = await self._read_exactly(sock, size)
                finally:
                    sock.close()
        except TimeoutError:
            asked.failed("no answer over TCP")
            return
        except (OSError, EOFError) as error:
            asked.failed(f"over TCP: {error}")
            return
        kind = classify(asked.question, identity, reply)
        if kind in (Kind.FOREIGN, Kind.TRUNCATED):
            asked.failed("a wrong answer over TCP")
        else:
            asked.answered(kind, reply)

    async def _read_exactly(self, sock: socket.socket, size: int) -> bytes:
        octets = b""
        while len(octets) < size:
            part = await self._loop.sock_recv(sock, size - len(octets))
            if not part:
                raise EOFError("the connection was closed")
            octets += part
        return octets

    def _task(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        assert isinstance(task, asyncio.Task)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def forget(self, netns: str) -> None:
        """Close all sockets in the namespace of sandbox *netns*."""
        for upstream in [item for item in self._health if item.netns == netns]:
            del self._health[upstream]
            for item in self._sockets.pop(upstream, []):
                item.close()

    async def close(self) -> None:
        """Close every socket and end what is under way."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for task in (*self._tasks, *self._opening.values()):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for item in [*self._worn, *(item for sockets in self._sockets.values() for item in sockets)]:
            item.close()


def sockaddr(upstream: Upstream) -> tuple[str, int] | tuple[str, int, int, int]:
    """Return the address of *upstream* for the socket calls; a zone in it is an interface of its namespace."""
    if ":" not in upstream.address:
        return upstream.address, upstream.port
    host, _, zone = upstream.address.partition("%")
    index = 0
    if zone:
        index = int(zone) if zone.isdigit() else socket.if_nametoindex(zone)
    return host, upstream.port, 0, index


def open_datagram(upstream: Upstream, kind: int) -> socket.socket:
    """Open a socket for *upstream* in the namespace of the calling thread; connected if it is a datagram socket.

    The kernel then takes only datagrams from that very address, and reports when nobody listens there.
    """
    family = socket.AF_INET if ip_address(upstream.address.partition("%")[0]).version == 4 else socket.AF_INET6
    sock = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        if kind == socket.SOCK_DGRAM:
            sock.connect(sockaddr(upstream))
    except BaseException:
        sock.close()
        raise
    return sock
