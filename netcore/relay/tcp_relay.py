"""Relays TCP connections from a published port to a sandbox. On the loop; bounds: `limits.PROXY_*`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import socket
import struct
from typing import cast

from netcore import limits
from netcore.relay.clients import IsInternalClient, RelayRule, Target
from netcore.relay.shares import Shares, source_of


class TcpRelay:
    """Accepts connections at *listener* and relays each. *rule*: which clients are relayed, and where to."""

    __slots__ = ("_is_internal_client", "_listener", "_loop", "_open", "_shares", "rule")

    def __init__(self, listener: socket.socket, rule: RelayRule, is_internal_client: IsInternalClient) -> None:
        self.rule = rule
        self._is_internal_client = is_internal_client
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._open: set[asyncio.Task[None]] = set()
        self._shares = Shares(limits.PROXY_CONNECTIONS_PER_SOURCE, limits.PROXY_CONNECTIONS)
        self._loop.add_reader(listener.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(limits.PROXY_BACKLOG):
            try:
                client, peer = self._listener.accept()
            except OSError as error:
                # No more clients, or they are gone already, or no descriptor is left: those in the backlog are accepted later.
                if error.errno == errno.EINVAL:
                    # Somebody has destroyed the socket (`ss -K`), which then is always ready.
                    self._loop.remove_reader(self._listener.fileno())
                return
            client.setblocking(False)
            source = source_of(peer)
            if not self.rule.accepts(peer, self._is_internal_client) or not self._shares.take(source):
                _reset(client)
                continue
            task = self._loop.create_task(self._carry(client))
            self._open.add(task)
            task.add_done_callback(functools.partial(self._ended, source))

    def _ended(self, source: str, task: asyncio.Task[None]) -> None:
        self._open.discard(task)
        self._shares.give_back(source)

    async def _carry(self, client: socket.socket) -> None:
        """Relay one connection until both of its sides have ended, or have been silent for too long."""
        try:
            backend = await self._connect()
        except (OSError, TimeoutError, asyncio.CancelledError):
            # To the client it looks as if nobody listened on the published port.
            _reset(client)
            return
        for sock in (client, backend):
            keep_alive(sock)
        here, there = _Connection(), _Connection()
        here.other, there.other = there, here
        await self._loop.connect_accepted_socket(lambda: here, client)
        await self._loop.create_connection(lambda: there, sock=backend)
        here.join()
        there.join()
        try:
            await self._until_over(here, there)
        finally:
            here.abort()
            there.abort()

    async def _connect(self) -> socket.socket:
        """Return a connection to the first target that takes it; the error of the last one if none does."""
        *others, last = self.rule.targets
        for target in others:
            with contextlib.suppress(OSError, TimeoutError):
                return await self._connect_to(target)
        return await self._connect_to(last)

    async def _connect_to(self, target: Target) -> socket.socket:
        address, port = target
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        backend = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            async with asyncio.timeout(limits.PROXY_CONNECT):
                await self._loop.sock_connect(backend, (str(address), port))
        except BaseException:
            backend.close()
            raise
        return backend

    async def _until_over(self, here: _Connection, there: _Connection) -> None:
        """Return when both connections are lost, or nothing has come over either for too long."""
        while not (here.over.done() and there.over.done()):
            patience = limits.PROXY_HALF_CLOSED if here.has_ended or there.has_ended else limits.PROXY_TCP_IDLE
            left = max(here.last, there.last) + patience - self._loop.time()
            if left <= 0:
                return
            # Looked at again at least that often: one side may end meanwhile.
            await asyncio.wait([here.over, there.over], timeout=min(left, limits.PROXY_HALF_CLOSED), return_when=asyncio.ALL_COMPLETED)

    def close(self) -> None:
        self._loop.remove_reader(self._listener.fileno())
        for task in self._open:
            task.cancel()


def _reset(sock: socket.socket) -> None:
    """Close a connection so that its other end learns that it failed."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def keep_alive(sock: socket.socket) -> None:
    """Have the kernel find out when the peer of *sock* is gone without a word (tcp(7))."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    for name, value in zip(names, limits.PROXY_KEEPALIVE, strict=True):
        sock.setsockopt(socket.IPPROTO_TCP, name, value)


class _Connection(asyncio.Protocol):
    """One of the two connections of a relay: what it receives goes to *other*, no faster than that sends it on.

    *over* is done when the connection is lost. *last*: when something was received. *has_ended*: nothing more will be. Until `join`,
    what is received is kept: the other connection is not ready yet.
    """

    other: _Connection

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self._loop.create_future()
        self.last = self._loop.time()
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] | None = []
        self.has_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def join(self) -> None:
        """The other connection is ready: from now on what is received goes there at once."""
        early, self._early = self._early or [], None
        for data in early:
            self._pass_on(data)
        if self.has_ended:
            self._pass_end()
        if self.over.done():
            self.other.abort()

    def data_received(self, data: bytes) -> None:
        self.last = self._loop.time()
        if self._early is None:
            self._pass_on(data)
        else:
            self._early.append(data)

    def eof_received(self) -> bool:
        self.last = self._loop.time()
        self.has_ended = True
        return self._early is not None or self._pass_end()

    def _pass_on(self, data: bytes) -> None:
        if self.other._transport is not None:
            self.other._transport.write(data)

    def _pass_end(self) -> bool:
        """Pass on that this connection will receive no more; return whether it stays open to send."""
        other = self.other
        if other._transport is None or other._transport.is_closing():
            return False
        if not other.has_ended:
            other._transport.write_eof()
            return True
        # Both have ended; closing sends what is left first.
        other._transport.close()
        if self._transport is not None:
            self._transport.close()
        return False

    def pause_writing(self) -> None:
        if self.other._transport is not None:
            self.other._transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other._transport is not None and not self.other._transport.is_closing():
            self.other._transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.over.done():
            self.over.set_result(None)
        if self._early is None and self.other._transport is not None and (error is not None or not self.has_ended):
            # A reset is passed on as one.
            self.other._transport.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
