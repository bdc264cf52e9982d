"""A TCP listener: framing, time-outs, bounds. A connection can only harm itself, and has no task.

The connections of one listener together get a bounded number of responses in each turn of the loop, a few each, so that
neither one of them, nor all of one sandbox, keeps others waiting. What a client sends beyond that, or does not read, stays
in the socket.

Spec: RFC 7766 (several queries on one connection, responses in any order, idle time-outs); RFC 1035 section 4.2.2.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import cast

from resolver import limits
from resolver.client import Client
from resolver.transport.udp import Service


class TcpListener:
    """Serves the client that *client_of* returns for an IP address. Serves after `listen`."""

    def __init__(self, service: Service, client_of: Callable[[str], Client]) -> None:
        self.service = service
        self.client_of = client_of
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._ready: deque[_Connection] = deque()
        self._turn: asyncio.Handle | None = None

    async def listen(self, sock: socket.socket) -> None:
        """Begin to accept connections on *sock*, which is the listener's from now on."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self, loop), sock=sock)

    def schedule(self, connection: _Connection) -> None:
        """Call `serve` of *connection* when its turn comes, and again as long as that returns True."""
        self._ready.append(connection)
        if self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._take_turns)

    def _take_turns(self) -> None:
        self._turn = None
        for _ in range(min(len(self._ready), limits.TCP_TURN // limits.TCP_SHARE)):
            connection = self._ready.popleft()
            if connection.serve():
                self._ready.append(connection)
        if self._ready:
            self._turn = asyncio.get_running_loop().call_soon(self._take_turns)

    async def close(self) -> None:
        """Stop accepting and end all connections; repeated calls do nothing."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._turn is not None:
            self._turn.cancel()
        for connection in tuple(self.connections):
            connection.end()


class _Connection(asyncio.Protocol):
    """One connection. *peer* of `reply` is unused: there is only one."""

    def __init__(self, listener: TcpListener, loop: asyncio.AbstractEventLoop) -> None:
        self._listener = listener
        self._loop = loop
        self._buffer = bytearray()
        self._waiting = 0
        self._is_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._writable = True
        self._paused = False
        self._ended = False
        self._eof = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)
        if len(self._listener.connections) >= limits.TCP_CONNECTIONS:
            self._ended = True
            transport.abort()
            return
        self._listener.connections.add(self)
        self._client = self._listener.client_of(transport.get_extra_info("peername")[0].partition("%")[0])
        transport.set_write_buffer_limits(high=limits.TCP_UNREAD)
        self._expire_in(limits.TCP_FIRST_READ)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._listener.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._listener.schedule(self)

    def eof_received(self) -> bool:
        # Queries that have arrived are still answered; `_settle` closes after them.
        self._eof = True
        return self._waiting > 0 or self._is_scheduled or self._paused

    def pause_writing(self) -> None:
        self._writable = False
        self._expire_in(limits.TCP_WRITE)
        self._pause()

    def resume_writing(self) -> None:
        self._writable = True
        self._continue()

    def reply(self, peer: bytes, octets: bytes) -> None:
        """Send a response that took longer."""
        self._waiting -= 1
        if not self._ended:
            self._transport.write(len(octets).to_bytes(2, "big") + octets)
            self._continue()
            self._close_behind_eof()

    def _continue(self) -> None:
        """Read on where reading was put off, if that is allowed now."""
        if self._paused and self._may_read():
            self._schedule()

    def _may_read(self) -> bool:
        return self._writable and self._waiting < limits.TCP_IN_FLIGHT

    def serve(self) -> bool:
        """Answer a few of the messages that are there; return whether there are more."""
        buffer, at, replies = self._buffer, 0, bytearray()
        if self._ended:
            return False
        for _ in range(limits.TCP_SHARE):
            size = int.from_bytes(buffer[at : at + 2], "big")
            if not self._may_read() or len(buffer) < at + 2 or len(buffer) < at + 2 + size:
                break
            octets = bytes(buffer[at + 2 : at + 2 + size])
            at += 2 + size
            # Not a query: whoever sends this does not speak DNS.
            if size < 12 or octets[2] & 0x80:
                self.end()
                return False
            answer = self._listener.service.on_query(self._client, octets, self, b"", tcp=True)
            if answer is None:
                self._waiting += 1
            else:
                replies += len(answer).to_bytes(2, "big") + answer
        del buffer[:at]
        if replies:
            self._transport.write(replies)
        self._is_scheduled = self._may_read() and len(buffer) >= 2 and len(buffer) >= 2 + int.from_bytes(buffer[:2], "big")
        if not self._ended:
            self._settle(progress=at > 0)
        return self._is_scheduled

    def _settle(self, *, progress: bool) -> None:
        """Pause or resume reading, and set the time by which something must have happened."""
        if self._is_scheduled or not self._may_read():
            self._pause()
        elif self._paused:
            self._paused = False
            self._transport.resume_reading()
        if progress and self._writable:
            self._expire_in(limits.TCP_FIRST_READ if self._buffer else limits.TCP_IDLE)
        self._close_behind_eof()

    def _close_behind_eof(self) -> None:
        if self._eof and not self._waiting and not self._is_scheduled:
            self._transport.close()

    def _pause(self) -> None:
        if not self._paused and not self._ended:
            self._paused = True
            self._transport.pause_reading()

    def _expire_in(self, seconds: float) -> None:
        """Set the deadline. A timer that is due earlier stays: it checks again then, which costs less than a new timer each time."""
        self._deadline = self._loop.time() + seconds
        if self._timer is not None and self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._deadline, self._expire)

    def _expire(self) -> None:
        self._timer = None
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._expire)
        elif self._waiting and self._writable:
            # The client waits for us; forwarding has a time-out of its own.
            self._expire_in(limits.TCP_IDLE)
        else:
            self.end()

    def end(self) -> None:
        """Close the connection at once; what was not sent is lost."""
        if not self._ended:
            self._ended = True
            self._transport.abort()
