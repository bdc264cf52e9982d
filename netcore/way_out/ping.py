"""Pings from a nest to the outside, and the answers. One ICMP socket for each program that pings an address; on the loop.

Spec: icmp(7), SOCK_DGRAM with IPPROTO_ICMP; net.ipv4.ping_group_range says who may open one.
"""

from __future__ import annotations

import asyncio
import socket

from netcore import limits
from netcore.edge.connection import Edge
from netcore.kernel.conntrack import TranslatedFlow
from netcore.model import IPAddress
from netcore.way_out import packets
from netcore.way_out.ledger import Ledger
from netcore.way_out.packets import Echo
from netcore.way_out.places import Places
from netcore.way_out.report import Kind
from netcore.way_out.tcp import ClientOf, Send

_DATAGRAM = 65_535
_Key = tuple[IPAddress, IPAddress, int]


class PingWayOut:
    """*to_client*: sends a packet in the place of who is pinged. *most*: sockets at once."""

    def __init__(self, edge: Edge, to_client: Send, client_of: ClientOf, ledger: Ledger, most: int) -> None:
        self._edge = edge
        self._to_client = to_client
        self._client_of = client_of
        self._ledger = ledger
        self._loop = asyncio.get_running_loop()
        self._places: Places[_Key] = Places(most, self._close, self._loop.time)
        self._sockets: dict[_Key, tuple[socket.socket, Echo]] = {}
        ledger.count(Kind.PINGS, lambda: len(self._places))
        self._last: dict[_Key, float] = {}
        self._clock = self._loop.call_later(limits.WAY_OUT_LOOK, self._expire)

    def take(self, echo: Echo) -> None:
        """Send an echo request of the nest outside."""
        key = (echo.source, echo.destination, echo.number)
        if key not in self._sockets and not self._begin(key, echo):
            return
        self._places.use(key)
        self._last[key] = self._loop.time()
        sock, _ = self._sockets[key]
        self._sockets[key] = sock, echo
        try:
            sock.send(echo.message)
        except BlockingIOError:
            return
        except OSError as error:
            self._refused(echo, error)

    def _begin(self, key: _Key, echo: Echo) -> bool:
        """Return whether there is a socket for *key* now."""
        protocol = packets.ICMP if echo.source.version == 4 else packets.ICMPV6
        client = self._client_of(TranslatedFlow(protocol, echo.source, echo.number, echo.destination, 0))
        self._ledger.changed()
        if not self._places.take(client, key):
            self._ledger.refused(Kind.PINGS, client)
            return False
        try:
            self._sockets[key] = self._open(echo, protocol), echo
        except OSError as error:
            self._places.ended(key)
            self._refused(echo, error)
            return False
        self._loop.add_reader(self._sockets[key][0].fileno(), self._answered, key)
        return True

    def _open(self, echo: Echo, protocol: int) -> socket.socket:
        sock = self._edge.open(socket.AF_INET if echo.source.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM, protocol)
        try:
            sock.connect((str(echo.destination), 0))
        except BaseException:
            sock.close()
            raise
        return sock

    def _answered(self, key: _Key) -> None:
        sock, echo = self._sockets[key]
        for _ in range(limits.WAY_OUT_TURN):
            try:
                reply = sock.recv(_DATAGRAM)
            except BlockingIOError:
                return
            except OSError as error:
                self._refused(echo, error)
                return
            packet = packets.echo_reply(echo.destination, echo.source, echo.number, reply)
            if packet is not None:
                self._to_client(packet)

    def _refused(self, echo: Echo, error: OSError) -> None:
        told = packets.unreachable(echo.packet, error.errno or 0)
        if told is not None:
            self._to_client(told)

    def _close(self, key: _Key) -> None:
        sock, _ = self._sockets.pop(key)
        del self._last[key]
        self._places.ended(key)
        self._ledger.changed()
        self._loop.remove_reader(sock.fileno())
        sock.close()

    def _expire(self) -> None:
        now = self._loop.time()
        for key in [key for key, last in self._last.items() if now - last > limits.WAY_OUT_UNANSWERED]:
            self._close(key)
        self._clock = self._loop.call_later(limits.WAY_OUT_LOOK, self._expire)
