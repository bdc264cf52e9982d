"""Datagrams from a nest to the outside, and the answers. One pair of sockets for each client and server; on the loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from ipaddress import ip_address

from netcore import limits
from netcore.edge.connection import Edge
from netcore.kernel.conntrack import TranslatedFlow
from netcore.relay.transparent import make_transparent
from netcore.way_out import packets
from netcore.way_out.ledger import Ledger
from netcore.way_out.places import Places
from netcore.way_out.report import Kind
from netcore.way_out.tcp import ClientOf, Send, listener

_DATAGRAM, _CONTROL = 65_535, 256
_IP_RECVORIGDSTADDR, _IPV6_RECVORIGDSTADDR = 20, 74
_SOCKADDR4, _SOCKADDR6 = struct.Struct("!2xH4s"), struct.Struct("!2xH4x16s")

_Key = tuple[str, int, str, int]


class UdpWayOut:
    """*to_client*: sends a packet in the place of a server. *most*: flows at once."""

    def __init__(self, edge: Edge, to_client: Send, client_of: ClientOf, ledger: Ledger, most: int) -> None:
        self._edge = edge
        self._to_client = to_client
        self._client_of = client_of
        self._ledger = ledger
        self._loop = asyncio.get_running_loop()
        self._flows: dict[_Key, _Flow] = {}
        self._places: Places[_Key] = Places(most, lambda key: self._flows[key].close(), self._loop.time)
        ledger.count(Kind.FLOWS, lambda: len(self._places))
        for family in (socket.AF_INET, socket.AF_INET6):
            listening = listener(family, socket.SOCK_DGRAM)
            if family == socket.AF_INET:
                listening.setsockopt(socket.IPPROTO_IP, _IP_RECVORIGDSTADDR, 1)
            else:
                listening.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVORIGDSTADDR, 1)
            self._loop.add_reader(listening.fileno(), self._from_nest, listening)
        self._clock = self._loop.call_later(limits.WAY_OUT_LOOK, self._expire)

    def _from_nest(self, listening: socket.socket) -> None:
        for _ in range(limits.WAY_OUT_TURN):
            try:
                data, control, _, peer = listening.recvmsg(_DATAGRAM, _CONTROL)
            except OSError:
                return
            server = _original(control)
            if server is None:
                continue
            self._take((peer[0], peer[1], *server), data)

    def _take(self, key: _Key, data: bytes) -> None:
        flow = self._flows.get(key) or self._begin(key, len(data))
        if flow is not None:
            flow.to_outside(data)

    def _begin(self, key: _Key, length: int) -> _Flow | None:
        client = self._client_of(TranslatedFlow(socket.IPPROTO_UDP, ip_address(key[0]), key[1], ip_address(key[2]), key[3]))
        self._ledger.changed()
        if not self._places.take(client, key):
            # Lost, as on a full line.
            self._ledger.refused(Kind.FLOWS, client)
            return None
        try:
            flow = _Flow(self._edge, key, self._take, self._refused, self._places.use, self._ended)
        except OSError as error:
            self._places.ended(key)
            self._refused(key, length, error.errno or 0)
            return None
        self._flows[key] = flow
        return flow

    def _refused(self, key: _Key, length: int, code: int) -> None:
        quoted = packets.datagram(ip_address(key[0]), key[1], ip_address(key[2]), key[3], length)
        told = packets.unreachable(quoted, code)
        if told is not None:
            self._to_client(told)

    def _ended(self, key: _Key) -> None:
        del self._flows[key]
        self._places.ended(key)
        self._ledger.changed()

    def _expire(self) -> None:
        now = self._loop.time()
        for flow in [flow for flow in self._flows.values() if now - flow.last > flow.patience]:
            flow.close()
        self._clock = self._loop.call_later(limits.WAY_OUT_LOOK, self._expire)


def _original(control: list[tuple[int, int, bytes]]) -> tuple[str, int] | None:
    """Return where a datagram was sent to (struct sockaddr_in, sockaddr_in6)."""
    for level, kind, octets in control:
        if (level, kind) == (socket.IPPROTO_IP, _IP_RECVORIGDSTADDR):
            port, packed = _SOCKADDR4.unpack_from(octets)
            return socket.inet_ntop(socket.AF_INET, packed), port
        if (level, kind) == (socket.IPPROTO_IPV6, _IPV6_RECVORIGDSTADDR):
            port, packed = _SOCKADDR6.unpack_from(octets)
            return socket.inet_ntop(socket.AF_INET6, packed), port
    return None


class _Flow:
    """What one client says to one server. *take*: is given what other clients say to it. *patience*: seconds of silence until it ends."""

    __slots__ = ("_ended", "_inside", "_key", "_length", "_loop", "_outside", "_refused", "_take", "_used", "last", "patience")

    def __init__(
        self,
        edge: Edge,
        key: _Key,
        take: Callable[[_Key, bytes], None],
        refused: Callable[[_Key, int, int], None],
        used: Callable[[_Key], None],
        ended: Callable[[_Key], None],
    ) -> None:
        self._key = key
        self._take = take
        self._refused = refused
        self._used = used
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._length = 0
        self.last = self._loop.time()
        self.patience = limits.WAY_OUT_UNANSWERED
        family = socket.AF_INET6 if ":" in key[0] else socket.AF_INET
        self._outside = edge.open(family, socket.SOCK_DGRAM)
        self._inside = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            self._outside.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 0)
            self._outside.connect((key[2], key[3]))
            self._inside.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            make_transparent(self._inside)
            self._inside.bind((key[2], key[3]))
            self._inside.connect((key[0], key[1]))
        except BaseException:
            self._outside.close()
            self._inside.close()
            raise
        self._loop.add_reader(self._outside.fileno(), self._from_outside)
        self._loop.add_reader(self._inside.fileno(), self._from_inside)

    def _note_use(self) -> None:
        self.last = self._loop.time()
        self._used(self._key)

    def to_outside(self, data: bytes) -> None:
        self._note_use()
        self._length = len(data)
        try:
            self._outside.send(data)
        except BlockingIOError:
            return
        except OSError as error:
            self._refuse(error)

    def _refuse(self, error: OSError) -> None:
        self._refused(self._key, self._length, error.errno or 0)

    def _from_inside(self) -> None:
        for _ in range(limits.WAY_OUT_TURN):
            try:
                data, peer = self._inside.recvfrom(_DATAGRAM)
            except OSError:
                return
            client, server = self._key[:2], self._key[2:]
            if peer[:2] == client:
                self.to_outside(data)
            else:
                # It came after the socket had the server's address, and before it had its client's.
                self._take((peer[0], peer[1], *server), data)

    def _from_outside(self) -> None:
        for _ in range(limits.WAY_OUT_TURN):
            try:
                data = self._outside.recv(_DATAGRAM)
            except BlockingIOError:
                return
            except OSError as error:
                self._refuse(error)
                return
            self._note_use()
            self.patience = limits.WAY_OUT_IDLE
            with contextlib.suppress(OSError):
                self._inside.send(data)

    def close(self) -> None:
        for sock in (self._outside, self._inside):
            self._loop.remove_reader(sock.fileno())
            sock.close()
        self._ended(self._key)
