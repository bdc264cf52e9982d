"""Connections from a nest to the outside. A client's handshake waits until the outside has taken the connection, or is refused as there.

A copy of a client's first packet comes; a socket of the edge connects; if that succeeds the packet is sent again, our kernel answers
it, and the two connections are joined by splice(2). On the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable

from netcore import limits
from netcore.edge.connection import Edge
from netcore.look.segments import Segment
from netcore.relay.carried import Carried, LargePipes
from netcore.relay.tcp_relay import keep_alive
from netcore.relay.transparent import make_transparent
from netcore.way_out import packets
from netcore.way_out.rules import PORT

log = logging.getLogger(__name__)

_Key = tuple[str, int, str, int]
"""Client's address and port, server's."""
Send = Callable[[bytes], None]


def listener(family: socket.AddressFamily, kind: int) -> socket.socket:
    """Return a socket that takes what goes to any address and port."""
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    make_transparent(sock)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", PORT))
    return sock


class TcpWayOut:
    """*again*: sends a packet of the nest once more. *to_client*: sends one in the place of a server."""

    def __init__(self, edge: Edge, again: Send, to_client: Send, most: int) -> None:
        self._edge = edge
        self._again = again
        self._to_client = to_client
        self._most = most
        self._large_pipes = LargePipes(limits.WAY_OUT_LARGE_PIPES)
        self._loop = asyncio.get_running_loop()
        self._connecting: dict[_Key, asyncio.Task[None]] = {}
        self._ready: dict[_Key, socket.socket] = {}
        self._open: set[_Key] = set()
        for family in (socket.AF_INET, socket.AF_INET6):
            listening = listener(family, socket.SOCK_STREAM)
            listening.listen(limits.WAY_OUT_BACKLOG)
            self._loop.add_reader(listening.fileno(), self._accept, listening)

    def begins(self, opening: Segment, packet: bytes) -> None:
        """Take the first packet of a connection, or that one once more."""
        key = (str(opening.source), opening.source_port, str(opening.destination), opening.destination_port)
        if key in self._connecting:
            return
        if key in self._open or key in self._ready:
            self._again(packet)
            return
        if len(self._connecting) + len(self._ready) + len(self._open) >= self._most:
            # As if the network had lost it; it comes once more.
            return
        self._connecting[key] = self._loop.create_task(self._connect(key, opening, packet))

    async def _connect(self, key: _Key, opening: Segment, packet: bytes) -> None:
        outside: socket.socket | None = None
        try:
            outside = self._edge.open(socket.AF_INET if opening.source.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
            outside.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.sock_connect(outside, (key[2], key[3]))
        except OSError as error:
            if outside is not None:
                outside.close()
            refusal = packets.refusal_of_connection(opening, packet, error.errno or errno.EHOSTUNREACH)
            if refusal is not None:
                self._to_client(refusal)
        else:
            self._ready[key] = outside
            self._loop.call_later(limits.WAY_OUT_READY, self._give_up, key, outside)
            self._again(packet)
        finally:
            del self._connecting[key]

    def _give_up(self, key: _Key, outside: socket.socket) -> None:
        """End a connection outside that its client has not taken."""
        if self._ready.get(key) is outside:
            del self._ready[key]
            outside.close()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(limits.WAY_OUT_TURN):
            try:
                client, peer = listening.accept()
            except OSError:
                return
            with contextlib.suppress(OSError):
                here = client.getsockname()
                outside = self._ready.pop((peer[0], peer[1], here[0], here[1]), None)
                if outside is None:
                    client.close()
                    continue
                self._carry((peer[0], peer[1], here[0], here[1]), client, outside)

    def _carry(self, key: _Key, client: socket.socket, outside: socket.socket) -> None:
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for sock in (client, outside):
            keep_alive(sock)
        try:
            carried = Carried(client, outside, large_pipes=self._large_pipes)
        except OSError as error:
            log.warning("a connection is not carried reason=%s", error)
            client.close()
            outside.close()
            return
        self._open.add(key)
        carried.over.add_done_callback(lambda _: self._open.discard(key))
        carried.begin()
