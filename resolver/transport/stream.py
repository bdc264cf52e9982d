"""A connection to an upstream over TCP or TLS: opened on first need, many queries at a time, closed when idle.

| RFC | what | status |
|---|---|---|
| 7766 6.2 | one connection for many queries, responses in any order, sent again if it closes meanwhile | done |
| 7858 | DNS over TLS, the certificate checked against the name given, or the address | done |
| 8467 4.1 | queries over TLS are padded to 128 octets | done |
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, cast

from resolver import limits
from resolver.engine.upstream import Upstream
from resolver.transport.pending import PendingQueries, PendingQuery
from resolver.wire.message import has_plain_opt, padded


class Stream(asyncio.Protocol):
    """The connection to *upstream*. *tls_ca*: a file of certificates in place of the system's."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        upstream: Upstream,
        open_socket: Callable[[str | None, Upstream, int], Awaitable[socket.socket]],
        clock: Callable[[], float],
        draw: Callable[[], int],
        tls_ca: str,
    ) -> None:
        self._loop = loop
        self._upstream = upstream
        self._open_socket = open_socket
        self._clock = clock
        self._tls_ca = tls_ca
        self._context: ssl.SSLContext | None = None
        self._transport: asyncio.Transport | None = None
        self._opening: asyncio.Task[None] | None = None
        self._queue: list[PendingQuery] = []
        self._pending = PendingQueries(draw)
        self._buffer = bytearray()
        self._last = 0.0

    def send(self, pending: PendingQuery) -> None:
        """Send the query, opening the connection if need be."""
        self._last = self._clock()
        if len(self._pending) + len(self._queue) >= limits.STREAM_IN_FLIGHT:
            pending.failed("too many queries wait on its connection", self._last)
        elif self._transport is not None:
            self._write(self._transport, pending)
        else:
            self._queue.append(pending)
            if self._opening is None:
                self._opening = self._loop.create_task(self._open())

    def _write(self, transport: asyncio.Transport, pending: PendingQuery) -> None:
        message = self._pending.add(pending)
        if self._upstream.transport == "tls" and has_plain_opt(message):
            message = padded(message)
        transport.write(len(message).to_bytes(2, "big") + message)

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(limits.STREAM_OPEN):
                sock = await self._open_socket(self._upstream.sandbox_id, self._upstream, socket.SOCK_STREAM)
                try:
                    await self._connected(sock)
                    await self._loop.create_connection(lambda: self, sock=sock, **self._tls())
                except BaseException:
                    sock.close()
                    raise
        except TimeoutError:
            self._fail("no connection in time")
        except ssl.SSLCertVerificationError as error:
            self._fail(f"its certificate is not trusted: {error.verify_message}")
        except Exception as error:
            self._fail(f"no connection: {getattr(error, 'strerror', None) or error}")
        finally:
            self._opening = None

    async def _connected(self, sock: socket.socket) -> None:
        """Return when the connection is established; OSError if it can't be."""
        ready: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_writer(sock.fileno(), _settle, ready)
        try:
            await ready
        finally:
            self._loop.remove_writer(sock.fileno())
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))

    def _tls(self) -> dict[str, Any]:
        if self._upstream.transport != "tls":
            return {}
        if self._context is None:
            self._context = ssl.create_default_context(cafile=self._tls_ca or None)
            self._context.set_alpn_protocols(["dot"])
        return {"ssl": self._context, "server_hostname": self._upstream.name or self._upstream.address.partition("%")[0]}

    # --- asyncio.Protocol ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)
        self._buffer.clear()
        queue, self._queue = self._queue, []
        for pending in queue:
            self._write(transport, pending)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        messages = []
        while len(buffer) >= 2 and len(buffer) >= (end := 2 + int.from_bytes(buffer[:2], "big")):
            messages.append(bytes(buffer[2:end]))
            del buffer[:end]
        self._pending.on_messages(messages, self._clock())

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        # The server may have closed it as idle just when these came: they get a second one (RFC 7766 section 6.2.4).
        for pending in self._pending.take_all():
            if pending.resent:
                pending.failed("closed the connection", self._clock())
            else:
                pending.resent = True
                self.send(pending)

    # --- the end ------------------------------------------------------------------------------------------------

    def _fail(self, reason: str) -> None:
        waiting, self._queue = self._queue, []
        now = self._clock()
        for pending in waiting:
            pending.failed(reason, now)

    def close_if_idle(self, now: float) -> bool:
        """Close the connection if it is idle; return whether it is still open."""
        if self._transport is None:
            return self._opening is not None
        self._pending.drop_old(now)
        if not self._pending and now - self._last >= limits.STREAM_IDLE:
            self._transport.close()
            return False
        return True

    def close(self) -> None:
        """Close the connection; who waits for it is not told."""
        self._queue = []
        self._pending.clear()
        if self._opening is not None:
            self._opening.cancel()
        if self._transport is not None:
            self._transport.abort()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
