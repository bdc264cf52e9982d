"""A TCP listener: framing, time-outs, bounds. A connection can only harm itself, and has no task.

The connections of one listener together get a bounded number of responses in each turn of the loop, a few each, so that
neither one of them, nor all of one sandbox, keeps others waiting. What a client sends beyond that, or does not read, stays
in the socket. Connections, and the octets that they keep, are counted by client.

Spec: RFC 7766 (several queries on one connection, responses in any order, idle time-outs); RFC 1035 section 4.2.2.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter, deque
from collections.abc import Callable
from typing import cast

from resolver import limits
from resolver.dns_client import Client
from resolver.transport.protocol import Service

_RESET, _IN_ORDER = struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)
"""SO_LINGER: how the kernel ends a connection whose descriptor is closed (socket(7))."""


class TcpListener:
    """Serves the client that *client_of* returns for an IP address. Serves after `listen`."""

    def __init__(self, service: Service, client_of: Callable[[str], Client]) -> None:
        self.service = service
        self.client_of = client_of
        self.connections: set[_Connection] = set()
        self.clients: Counter[Client] = Counter()
        self.room = memoryview(bytearray(limits.TCP_READ))
        self.written = 0
        self._server: asyncio.Server | None = None
        self._socket: socket.socket | None = None
        self._ready: deque[_Connection] = deque()
        self._turn: asyncio.Handle | None = None

    async def listen(self, sock: socket.socket) -> None:
        """Begin to accept connections on *sock*, which is the listener's from now on."""
        loop = asyncio.get_running_loop()
        self._socket = sock
        self._server = await loop.create_server(lambda: _Connection(self, loop), sock=sock)

    def stop_if_destroyed(self) -> None:
        """Accept no more at a socket that somebody has destroyed (`ss -K`): it is always ready, and would keep the loop busy."""
        if self._server is not None and self._socket is not None and not self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            self._server.close()
            self._server = None

    def schedule(self, connection: _Connection) -> None:
        """Call `serve` of *connection* when its turn comes, and again as long as that returns True."""
        self._ready.append(connection)
        if self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._take_turns)

    def _take_turns(self) -> None:
        self._turn, self.written = None, 0
        for _ in range(min(len(self._ready), limits.TCP_TURN // limits.TCP_SHARE)):
            if self.written >= limits.TCP_TURN_OCTETS:
                break
            connection = self._ready.popleft()
            if connection.serve():
                self._ready.append(connection)
        if self._ready:
            self._turn = asyncio.get_running_loop().call_soon(self._take_turns)

    def may_open(self, client: Client) -> bool:
        """Return whether *client* may have one more connection."""
        if len(client.connections) >= limits.TCP_CONNECTIONS or len(self.connections) >= limits.TCP_CONNECTIONS_OF_ALL:
            return False
        share = limits.TCP_CONNECTIONS_OF_ALL // (len(self.clients) + 1)
        return len(self.connections) < limits.TCP_CONNECTIONS_OF_ALL // 2 or self.clients[client] < share

    def opened(self, connection: _Connection) -> None:
        """Count a connection."""
        self.connections.add(connection)
        connection.client.connections.add(connection)
        self.clients[connection.client] += 1

    def lost(self, connection: _Connection) -> None:
        """Count a connection no longer, if it was counted."""
        if connection in self.connections:
            self.connections.remove(connection)
            connection.client.connections.discard(connection)
            self.clients[connection.client] -= 1
            if not self.clients[connection.client]:
                del self.clients[connection.client]

    def pause(self) -> None:
        """Accept no more connections, and read no more from those that are open; replies to what was read are still sent."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in self.connections:
            connection.stop_reading()

    async def close(self) -> None:
        """Stop accepting and end all connections; repeated calls do nothing."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._turn is not None:
            self._turn.cancel()
        for connection in tuple(self.connections):
            connection.end()


class _Connection(asyncio.BufferedProtocol):
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
        self._stopped = False
        self._ended = False
        self._eof = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        client = self._listener.client_of(peer[0].partition("%")[0]) if peer else None
        if client is None or not self._listener.may_open(client):
            self._ended = True
            transport.abort()
            return
        self.client = client
        self._listener.opened(self)
        # A daemon that is killed must not seem to have ended the connection: glibc asks once more on a new one after a reset alone,
        # and that one waits for the next daemon.
        self._end_by(_RESET)
        transport.set_write_buffer_limits(high=limits.TCP_UNREAD)
        self._expire_in(limits.TCP_FIRST_READ)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._listener.lost(self)
        if self._timer is not None:
            self._timer.cancel()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._listener.room

    def buffer_updated(self, nbytes: int) -> None:
        self._buffer += self._listener.room[:nbytes]
        self._schedule()
        if len(self._buffer) >= limits.TCP_MESSAGE:
            # At least one message is whole: it is answered first.
            self._pause()
        self._bound()

    def octets(self) -> int:
        """Return how many octets this connection keeps."""
        return len(self._buffer) + (0 if self._ended else self._transport.get_write_buffer_size())

    def _bound(self) -> None:
        """Close the connection of this client that keeps most, if together they keep too much."""
        connections = self.client.connections
        if self.octets() > limits.TCP_OCTETS // limits.TCP_CONNECTIONS and sum(each.octets() for each in connections) > limits.TCP_OCTETS:
            max(connections, key=lambda each: each.octets()).end()

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
            self._bound()
            self._continue()
            self._close_behind_eof()

    def _continue(self) -> None:
        """Read on where reading was put off, if that is allowed now."""
        if self._paused and self._may_read():
            self._schedule()

    def _may_read(self) -> bool:
        return self._writable and not self._stopped and self._waiting < limits.TCP_IN_FLIGHT

    def serve(self) -> bool:
        """Answer a few of the messages that are there; return whether there are more."""
        buffer, at, replies = self._buffer, 0, bytearray()
        if self._ended:
            return False
        for _ in range(limits.TCP_SHARE):
            size = int.from_bytes(buffer[at : at + 2], "big")
            if not self._may_read() or len(buffer) < at + 2 or len(buffer) < at + 2 + size or len(replies) > limits.TCP_UNREAD:
                break
            octets = bytes(buffer[at + 2 : at + 2 + size])
            at += 2 + size
            # Not a query: whoever sends this does not speak DNS.
            if size < 12 or octets[2] & 0x80:
                self.end()
                return False
            answer = self._listener.service.on_query(self.client, octets, self, b"", tcp=True)
            if answer is None:
                self._waiting += 1
            else:
                replies += len(answer).to_bytes(2, "big") + answer
        del buffer[:at]
        if replies:
            self._listener.written += len(replies)
            self._transport.write(replies)
            self._bound()
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
            self._end_by(_IN_ORDER)
            self._transport.close()

    def stop_reading(self) -> None:
        """Take no more queries."""
        self._stopped = True
        self._pause()

    def _pause(self) -> None:
        if not self._paused and not self._ended:
            self._paused = True
            self._transport.pause_reading()

    def _end_by(self, how: bytes) -> None:
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, how)

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
        """Close the connection at once; what was not sent is lost. Who still waits for an answer sees a reset, and may ask again."""
        if not self._ended:
            self._ended = True
            if not self._waiting and not (self._stopped and self._buffer):
                self._end_by(_IN_ORDER)
            self._transport.abort()
