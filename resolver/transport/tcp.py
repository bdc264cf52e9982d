"""A TCP listener: framing, time-outs, bounds. Each connection is a task of its own and can only harm itself.

Spec: RFC 7766 (several questions on one connection, answers in any order, idle time-outs); RFC 1035 section 4.2.2.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from resolver import limits
from resolver.transport.udp import OnQuery


class TcpListener:
    """Serves DNS on the listening socket *sock*, which it owns. Made by `listen`."""

    def __init__(self, on_query: OnQuery) -> None:
        self._on_query = on_query
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def listen(self, sock: socket.socket) -> None:
        """Begin to accept connections."""
        self._server = await asyncio.start_server(self._accept, sock=sock, limit=1 << 17)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._connections) >= limits.TCP_CONNECTIONS:
            writer.transport.abort()
            return
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            # The client went away, or was too slow: only its connection ends.
            pass
        finally:
            self._connections.discard(task)
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        slots = asyncio.Semaphore(limits.TCP_IN_FLIGHT)
        peer = writer.get_extra_info("peername")
        wait = limits.TCP_FIRST_READ

        def reply(octets: bytes) -> None:
            slots.release()
            if not writer.is_closing():
                writer.write(len(octets).to_bytes(2, "big") + octets)

        while True:
            async with asyncio.timeout(wait):
                size = int.from_bytes(await reader.readexactly(2), "big")
            async with asyncio.timeout(limits.TCP_FIRST_READ):
                octets = await reader.readexactly(size)
            wait = limits.TCP_IDLE
            await slots.acquire()
            answer = self._ask(octets, peer, reply)
            if answer is not None:
                reply(answer)
            elif len(octets) < 12 or octets[2] & 0x80:
                # What is no query gets no answer; whoever sends it is not speaking DNS.
                return
            async with asyncio.timeout(limits.TCP_WRITE):
                await writer.drain()

    def _ask(self, octets: bytes, peer: Any, reply: Any) -> bytes | None:
        return self._on_query(octets, peer, reply)

    async def close(self) -> None:
        """Stop accepting and end all connections; repeated calls do nothing."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
