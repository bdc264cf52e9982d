"""A UDP listener: drains its socket in batches, answers at once or later. On the loop, without tasks."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from resolver import limits

Reply = Callable[[bytes], None]
OnQuery = Callable[[bytes, Any, Reply], bytes | None]
"""(octets, peer's address, how to reply later) → the reply, or None if it comes later or never."""


class UdpListener:
    """Reads queries from *sock*, which it owns, and hands them to *on_query*."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, on_query: OnQuery) -> None:
        self._loop = loop
        self._socket = sock
        self._on_query = on_query
        sock.setblocking(False)
        loop.add_reader(sock.fileno(), self._drain)

    def _drain(self) -> None:
        receive, on_query, send = self._socket.recvfrom, self._on_query, self._socket.sendto
        for _ in range(limits.UDP_DRAIN):
            try:
                octets, peer = receive(limits.UDP_PAYLOAD)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                # An ICMP error of an earlier reply; the next read is good again.
                continue
            reply = on_query(octets, peer, lambda late, peer=peer: self._send(late, peer))  # type: ignore[misc]
            if reply is not None:
                try:
                    send(reply, peer)
                except OSError:
                    # The client is gone or its buffer is full; it asks again.
                    continue

    def _send(self, reply: bytes, peer: Any) -> None:
        if self._socket.fileno() >= 0:
            try:
                self._socket.sendto(reply, peer)
            except OSError:
                return

    def close(self) -> None:
        """Stop and close the socket; repeated calls do nothing."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
