"""Pings from a nest to the outside, and the answers. One ICMP socket for each program that pings an address; on the loop.

Spec: icmp(7), SOCK_DGRAM with IPPROTO_ICMP; net.ipv4.ping_group_range says who may open one.
"""

from __future__ import annotations

import asyncio
import socket

from netcore import limits
from netcore.edge.connection import Edge
from netcore.model import IPAddress
from netcore.way_out import packets
from netcore.way_out.packets import Echo
from netcore.way_out.tcp import Send

_DATAGRAM = 65_535
_Key = tuple[IPAddress, IPAddress, int]


class PingWayOut:
    """*to_client*: sends a packet in the place of who is pinged. *most*: sockets at once."""

    def __init__(self, edge: Edge, to_client: Send, most: int) -> None:
        self._edge = edge
        self._to_client = to_client
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._sockets: dict[_Key, tuple[socket.socket, Echo]] = {}
        self._last: dict[_Key, float] = {}
        self._clock = self._loop.call_later(limits.WAY_OUT_LOOK, self._expire)

    def take(self, echo: Echo) -> None:
        """Send an echo request of the nest outside."""
        key = (echo.source, echo.destination, echo.number)
        try:
            sock = self._sockets[key][0] if key in self._sockets else self._open(echo)
            self._sockets[key] = sock, echo
            self._last[key] = self._loop.time()
            sock.send(echo.message)
        except BlockingIOError:
            return
        except OSError as error:
            self._refused(echo, error)

    def _open(self, echo: Echo) -> socket.socket:
        if len(self._sockets) >= self._most:
            self._close(min(self._last, key=lambda key: self._last[key]))
        family, protocol = (socket.AF_INET, packets.ICMP) if echo.source.version == 4 else (socket.AF_INET6, packets.ICMPV6)
        sock = self._edge.open(family, socket.SOCK_DGRAM, protocol)
        try:
            sock.connect((str(echo.destination), 0))
        except BaseException:
            sock.close()
            raise
        self._loop.add_reader(sock.fileno(), self._answered, (echo.source, echo.destination, echo.number))
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
        self._loop.remove_reader(sock.fileno())
        sock.close()

    def _expire(self) -> None:
        now = self._loop.time()
        for key in [key for key, last in self._last.items() if now - last > limits.WAY_OUT_UNANSWERED]:
            self._close(key)
        self._clock = self._loop.call_later(limits.WAY_OUT_LOOK, self._expire)
