"""Connections from a nest to the outside. A client's handshake waits until the outside has taken the connection, or is refused as there.

A copy of a client's first packet comes; a socket of the edge connects; if that succeeds the packet is sent again, our kernel answers
it, and the two connections are joined by splice(2). On the loop.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

from netcore import limits
from netcore.edge.connection import Edge
from netcore.kernel.conntrack import TranslatedFlow
from netcore.look.segments import Segment
from netcore.model import IPAddress
from netcore.relay.accepting import Accepting
from netcore.relay.carried import Carried, LargePipes
from netcore.relay.tcp_relay import keep_alive
from netcore.relay.transparent import make_transparent
from netcore.way_out import packets
from netcore.way_out.ledger import Ledger
from netcore.way_out.places import share_of_each
from netcore.way_out.report import Kind
from netcore.way_out.rules import PORT

log = logging.getLogger(__name__)

_Key = tuple[str, int, str, int]
"""Client's address and port, server's."""
Send = Callable[[bytes], None]
ClientOf = Callable[[TranslatedFlow], str]
"""Returns whose a flow is: the address of the sandbox, where its network is masqueraded too."""


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
    """*again*: sends a packet of the nest once more. *to_client*: sends one in the place of a server. *most*: connections at once."""

    def __init__(self, edge: Edge, again: Send, to_client: Send, client_of: ClientOf, ledger: Ledger, most: int) -> None:
        self._edge = edge
        self._again = again
        self._to_client = to_client
        self._client_of = client_of
        self._ledger = ledger
        self._shares = share_of_each(most)
        self._clients: dict[_Key, str] = {}
        ledger.count(Kind.CONNECTIONS, lambda: len(self._clients))
        self._large_pipes = LargePipes(limits.WAY_OUT_LARGE_PIPES)
        self._loop = asyncio.get_running_loop()
        self._connecting: dict[_Key, asyncio.Task[None]] = {}
        self._ready: dict[_Key, socket.socket] = {}
        self._open: set[_Key] = set()
        self._accepting: list[Accepting] = []
        for family in (socket.AF_INET, socket.AF_INET6):
            listening = listener(family, socket.SOCK_STREAM)
            listening.listen(limits.WAY_OUT_BACKLOG)
            self._accepting.append(Accepting(listening, self._take, limits.WAY_OUT_TURN, "the way out"))

    def begins(self, opening: Segment, packet: bytes) -> None:
        """Take the first packet of a connection, or that one once more."""
        key = (str(opening.source), opening.source_port, str(opening.destination), opening.destination_port)
        if key in self._connecting:
            return
        if key in self._open or key in self._ready:
            self._again(packet)
            return
        client = self._client_of(TranslatedFlow(socket.IPPROTO_TCP, *_ends(opening)))
        if not self._shares.take(client):
            self._ledger.refused(Kind.CONNECTIONS, client)
            self._refuse(opening, packet, errno.ECONNREFUSED)
            return
        self._clients[key] = client
        self._ledger.changed()
        self._connecting[key] = self._loop.create_task(self._connect(key, opening, packet))

    def _over(self, key: _Key) -> None:
        """Give back the place of a connection."""
        self._open.discard(key)
        self._shares.give_back(self._clients.pop(key))
        self._ledger.changed()
        for accepting in self._accepting:
            accepting.try_again()

    def _refuse(self, opening: Segment, packet: bytes, code: int) -> None:
        refusal = packets.refusal_of_connection(opening, packet, code)
        if refusal is not None:
            self._to_client(refusal)

    async def _connect(self, key: _Key, opening: Segment, packet: bytes) -> None:
        outside: socket.socket | None = None
        try:
            outside = self._edge.open(socket.AF_INET if opening.source.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
            outside.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.sock_connect(outside, (key[2], key[3]))
        except OSError as error:
            if outside is not None:
                outside.close()
            self._over(key)
            self._refuse(opening, packet, error.errno or errno.EHOSTUNREACH)
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
            self._over(key)

    def _take(self, client: socket.socket, peer: tuple[str, int]) -> None:
        here = client.getsockname()
        key = (peer[0], peer[1], here[0], here[1])
        outside = self._ready.pop(key, None)
        if outside is None:
            client.close()
            return
        self._carry(key, client, outside)

    def _carry(self, key: _Key, client: socket.socket, outside: socket.socket) -> None:
        client.setblocking(False)
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for sock in (client, outside):
                keep_alive(sock)
            carried = Carried(client, outside, large_pipes=self._large_pipes)
        except OSError as error:
            log.warning("a connection is not carried reason=%s", error)
            client.close()
            outside.close()
            self._over(key)
            return
        self._open.add(key)
        carried.over.add_done_callback(lambda _: self._over(key))
        carried.begin()


def _ends(opening: Segment) -> tuple[IPAddress, int, IPAddress, int]:
    return opening.source, opening.source_port, opening.destination, opening.destination_port
