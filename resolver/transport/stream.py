"""A connection to an upstream over TCP or TLS: opened on first need, many queries at a time, closed when idle.

A connection that hears nothing, or was opened from another source address than the upstream is reached from now, is retired:
it sends no more queries, may still be answered for as long as a query may take, and a fresh one takes its place.

| RFC | what | status |
|---|---|---|
| 7766 6.2 | one connection for many queries, responses in any order, sent again if it closes meanwhile | done |
| 7858 | DNS over TLS, the certificate checked against the name given, or the address | done |
| 8467 4.1 | queries over TLS are padded to 128 octets | done |
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, cast

from resolver import limits
from resolver.engine.upstream import Upstream
from resolver.transport.pending import PendingQueries, PendingQuery
from resolver.transport.upstream_socket import Path, path_of
from resolver.wire.message import HEADER, has_plain_opt, padded


class _Connection(asyncio.Protocol):
    """One connection of *stream*, and the queries that wait on it. *path*: see `path_of`. *heard*: when the last response came."""

    def __init__(self, stream: Stream, path: Path, draw: Callable[[], int], clock: Callable[[], float]) -> None:
        self._stream = stream
        self._clock = clock
        self._buffer = bytearray()
        self._turn: asyncio.Handle | None = None
        self._transport: asyncio.Transport | None = None
        self.path = path
        self.pending = PendingQueries(draw)
        self.heard = clock()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.heard = self._clock()
        self._stream.on_open(self)

    def write(self, pending: PendingQuery, *, pads: bool) -> None:
        """Send the query."""
        message = self.pending.add(pending)
        if pads and has_plain_opt(message):
            message = padded(message)
        # What is pending is sent again once the connection is gone. uvloop may have closed it without saying so yet.
        if self._transport is not None and not self._transport.is_closing():
            with contextlib.suppress(RuntimeError):
                self._transport.write(len(message).to_bytes(2, "big") + message)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._turn is None:
            self._read()

    def _read(self) -> None:
        """Take a few messages; further ones wait for their turn, and nothing more is read meanwhile."""
        if self._transport is None or self._transport.is_closing():
            return
        messages: list[bytes] = []
        buffer, at, octets = self._buffer, 0, 0
        while octets < limits.TCP_MESSAGE and len(messages) < limits.STREAM_TURN and len(buffer) >= at + 2:
            end = at + 2 + int.from_bytes(buffer[at : at + 2], "big")
            if len(buffer) < end:
                break
            messages.append(bytes(buffer[at + 2 : end]))
            octets += end - at
            at = end
        del buffer[:at]
        has_more = len(buffer) >= 2 and len(buffer) >= 2 + int.from_bytes(buffer[:2], "big")
        if has_more != (self._turn is not None):
            (self._transport.pause_reading if has_more else self._transport.resume_reading)()
        self._turn = self._stream.call_soon(self._read) if has_more else None
        if any(len(message) < HEADER.size for message in messages):
            # Whoever sends this does not speak DNS.
            self.abort()
        elif messages:
            self.heard = now = self._clock()
            self.pending.on_messages(messages, now)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._turn is not None:
            self._turn.cancel()
        self._stream.on_lost(self)

    def close(self) -> None:
        """Close it as soon as what was written is sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()


class Stream:
    """The connection to *upstream*. *tls_ca*: a file of certificates in place of the system's."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        upstream: Upstream,
        open_socket: Callable[[Upstream, int], Awaitable[socket.socket]],
        clock: Callable[[], float],
        draw: Callable[[], int],
        tls_ca: str,
    ) -> None:
        self._loop = loop
        self._upstream = upstream
        self._open_socket = open_socket
        self._clock = clock
        self._draw = draw
        self._tls_ca = tls_ca
        self._context: ssl.SSLContext | None = None
        self._connection: _Connection | None = None
        self._retired: list[_Connection] = []
        self._opening: asyncio.Task[None] | None = None
        self._opening_path: Path | None = None
        self._queue: list[PendingQuery] = []
        self._last = 0.0

    def send(self, pending: PendingQuery, since: float | None = None) -> None:
        """Send the query, opening the connection if need be; *since*: only by one that was opened or heard something after then."""
        self._last = self._clock()
        if since is not None and self._connection is not None and self._connection.heard <= since:
            self._retire(self._connection)
        waiting = len(self._connection.pending) if self._connection is not None else 0
        if waiting + len(self._queue) >= limits.STREAM_IN_FLIGHT:
            pending.failed("too many queries wait on its connection", self._last)
        elif self._connection is not None:
            self._connection.write(pending, pads=self._upstream.transport == "tls")
        else:
            self._queue.append(pending)
            if self._opening is None:
                self._opening = self._loop.create_task(self._open())

    def _retire(self, connection: _Connection) -> None:
        self._connection = None
        self._retired.append(connection)

    @property
    def path(self) -> Path | None:
        """By which the connection was opened; None: there is none."""
        return None if self._connection is None else self._connection.path

    def take_path(self, path: Path | None) -> None:
        """Retire what was opened by another path than *path* (None: by any), and tell the queries that wait on it."""
        # What has no path yet will be opened by the right one.
        if self._opening is not None and self._opening_path is not None and self._opening_path != path:
            self._opening.cancel()
            self._opening_path = None
            self._opening = self._loop.create_task(self._open()) if self._queue else None
        connection = self._connection
        if connection is None or connection.path == path:
            return
        self._retire(connection)
        now = self._clock()
        for pending in [*connection.pending.values()]:
            pending.path_changed(now)

    async def _open(self) -> None:
        reason = None
        try:
            async with asyncio.timeout(limits.STREAM_OPEN):
                await self._connect()
        except TimeoutError:
            reason = "no connection in time"
        except ssl.SSLCertVerificationError as error:
            reason = f"its certificate is not trusted: {error.verify_message}"
        except Exception as error:
            reason = f"no connection: {getattr(error, 'strerror', None) or error}"
        finally:
            if self._opening is asyncio.current_task():
                self._opening = self._opening_path = None
        if reason is not None:
            self._fail(reason)

    async def _connect(self) -> None:
        sock = await self._open_socket(self._upstream, socket.SOCK_STREAM)
        try:
            path = self._opening_path = path_of(sock)
            await self._connected(sock)
            made = _Connection(self, path, self._draw, self._clock)
            await self._loop.create_connection(lambda: made, sock=sock, **self._tls())
        except BaseException:
            sock.close()
            raise

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

    def call_soon(self, call: Callable[[], None]) -> asyncio.Handle:
        """Have *call* called in the next turn of the loop."""
        return self._loop.call_soon(call)

    # --- what a connection tells --------------------------------------------------------------------------------

    def on_open(self, connection: _Connection) -> None:
        """Send what waits for *connection*, which is open."""
        self._connection = connection
        queue, self._queue = self._queue, []
        for pending in queue:
            connection.write(pending, pads=self._upstream.transport == "tls")

    def on_lost(self, connection: _Connection) -> None:
        """Send again what waited on *connection*, which is closed."""
        if self._connection is connection:
            self._connection = None
        elif connection in self._retired:
            self._retired.remove(connection)
        # The server may have closed it as idle just when these came: they get a second one (RFC 7766 section 6.2.4).
        for pending in connection.pending.take_all():
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
        """Close the connection if it is idle, and retired ones that nobody waits for; return whether one is still open."""
        for connection in [*self._retired]:
            connection.pending.drop_old(now)
            if not connection.pending:
                connection.abort()
        if self._connection is None:
            return self._opening is not None or bool(self._retired)
        self._connection.pending.drop_old(now)
        if not self._connection.pending and now - self._last >= limits.STREAM_IDLE:
            self._connection.close()
            return bool(self._retired)
        return True

    def close(self) -> None:
        """Close all connections; who waits for them is not told."""
        self._queue = []
        if self._opening is not None:
            self._opening.cancel()
        for connection in (*self._retired, *([self._connection] if self._connection is not None else ())):
            connection.pending.clear()
            connection.abort()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
