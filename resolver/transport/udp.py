"""A UDP listener: sends remembered replies in batches, hands other queries to the service. On the loop, without tasks."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
import struct
from collections.abc import Callable

from resolver import limits
from resolver.dns_client import Client
from resolver.transport import in_hand
from resolver.transport.batch import Datagram, packed
from resolver.transport.poller import Poller
from resolver.transport.protocol import Service
from resolver.transport.thinning import Levels, Load, levels, program


class UdpListener:
    """Serves *client* on *sock*, which it owns. *client_of*: whose query it is by the peer's address, if not always that one's.

    *screen*: instructions of a filter that each datagram meets first, see `set_filter`; with *client_of* only.
    """

    # With a thousand sandboxes each wake-up finds this object cold: the fewer cache lines the better.
    __slots__ = (
        "_batch", "_client", "_client_of", "_descriptor", "_in_hand", "_late", "_load", "_lone", "_looked", "_most", "_poller",
        "_replies", "_screen", "_service", "_socket", "_thinned", "_timer", "cookie",
    )  # fmt: skip

    def __init__(
        self,
        poller: Poller,
        sock: socket.socket,
        service: Service,
        client: Client,
        client_of: Callable[[bytes], Client] | None = None,
        screen: bytes = b"",
    ) -> None:
        self._poller = poller
        self._socket = sock
        self._descriptor = sock.fileno()
        self._service = service
        self._client = client
        self._client_of = client_of
        self._replies = client.replies.by_octets
        self._batch = poller.batch(sock.family)
        self._lone = poller.lone_queries(service, sock.family)
        self._most = limits.UDP_DRAIN
        self._late: list[Datagram] = []
        self._load, self._looked = Load(), 0.0
        self._thinned: dict[bytes, int] = {}
        self._screen = screen
        self._timer: asyncio.TimerHandle | None = None
        self._in_hand = poller.in_hand
        self.cookie = in_hand.cookie(sock)
        sock.setblocking(False)
        self._in_hand.enroll(sock)
        if client_of is not None:
            # A socket that was taken over may still have one.
            with contextlib.suppress(OSError):
                self._filter({})
        poller.add(sock.fileno(), self._drain if client_of is None else self._drain_of_many)

    def _drain(self) -> None:
        try:
            count, rest, rcodes = self._batch.answer(self._descriptor, self._replies, self._most)
        except OSError:
            # An error of an earlier response; the next read is good again.
            return
        sent = count - len(rest)
        if sent:
            self._client.queries += sent
            self._service.count_sent(sent, rcodes)
        if rest:
            self._ask(rest)
        self._batch.done(count)
        self._pace(count, len(rest))
        if count == 1:
            self._lone.add(self._descriptor, self._replies, self._client, self)
        elif count:
            self._lone.remove(self._descriptor)

    def _pace(self, count: int, slow: int) -> None:
        """Take fewer at a time from a socket whose queries are expensive, so that others wait no longer for it."""
        if 2 * slow > count:
            self._most = max(limits.UDP_DRAIN_SLOW, self._most // 2)
        elif self._most < limits.UDP_DRAIN:
            self._most *= 2

    def _ask(self, queries: list[Datagram]) -> None:
        on_query, client = self._service.on_query, self._client
        replies, waiting = [], []
        for query in queries:
            octets, peer = query
            reply = on_query(client, octets, self, peer, tcp=False)
            if reply is not None:
                replies.append((reply, peer))
            else:
                waiting.append(query)
        # First: responses are written over the queries.
        if waiting:
            self._in_hand.wait(self._descriptor, waiting)
        if replies:
            self._batch.send(self._socket, replies)

    def answer_again(self, octets: bytes, peer: bytes) -> None:
        """Answer a query that an earlier daemon had read by this socket."""
        client = self._client if self._client_of is None else self._client_of(peer)
        reply = self._service.on_query(client, octets, self, peer, tcp=False)
        if reply is not None:
            self._batch.send(self._socket, [(reply, peer)])
        else:
            self._in_hand.wait(self._descriptor, [(octets, peer)])

    def _drain_of_many(self) -> None:
        assert self._client_of is not None
        try:
            queries = self._batch.receive(self._socket.fileno(), limits.UDP_DRAIN_SLOW)
        except OSError:
            return
        replies, waiting = [], []
        load = self._load
        counts = load.counts
        load.reads += 1
        load.total += len(queries)
        load.full += len(queries) == limits.UDP_DRAIN_SLOW
        for query in queries:
            octets, peer = query
            address = packed(peer)
            counts[address] = counts.get(address, 0) + 1
            client = self._client_of(peer)
            remembered = client.replies.by_octets.get(octets[2:])
            if remembered is not None:
                client.queries += 1
                self._service.count_sent(1, (remembered.rcode,) if remembered.rcode else ())
                replies.append((octets[:2] + remembered.take(), peer))
                continue
            reply = self._service.on_query(client, octets, self, peer, tcp=False)
            if reply is not None:
                replies.append((reply, peer))
            else:
                waiting.append(query)
        if waiting:
            self._in_hand.wait(self._descriptor, waiting)
        if replies:
            self._batch.send(self._socket, replies)
        self._batch.done(len(queries))
        if load.is_due():
            self._share_out()

    def _share_out(self) -> None:
        """Have the kernel let through in part only what comes from who sends more than its share; see `thinning`."""
        loop = asyncio.get_running_loop()
        thinned = levels(self._load, self._thinned, loop.time() - self._looked)
        self._load, self._looked = Load(), loop.time()
        if thinned != self._thinned:
            self._thinned = thinned
            # Where the kernel refuses, all are served as they come.
            with contextlib.suppress(OSError):
                self._filter(thinned)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(limits.GATEWAY_RELEASE, self._share_out) if thinned else None

    def _filter(self, thinned: Levels) -> None:
        set_filter(self._socket, self._screen + program(thinned) if thinned or self._screen else None)

    def reply(self, peer: bytes, octets: bytes) -> None:
        """Send a response that took longer, together with others of the same round."""
        self._late.append((octets, peer))
        if len(self._late) == 1:
            self._poller.flush_later(self._flush)

    def _flush(self) -> None:
        late, self._late = self._late, []
        if self._socket.fileno() >= 0:
            self._batch.send(self._socket, late)
            self._in_hand.answered(late)

    def pause(self) -> None:
        """Read no more: what comes waits in the socket. Replies to what was read are still sent."""
        self._poller.remove(self._descriptor)

    def close(self) -> None:
        """Stop and close the socket; repeated calls do nothing."""
        if self._timer is not None:
            self._timer.cancel()
        if self._socket.fileno() >= 0:
            self._poller.remove(self._socket.fileno())
            self._in_hand.strike(self._socket.fileno())
            self._socket.close()


_ATTACH_FILTER, _DETACH_FILTER = 26, 27


def set_filter(sock: socket.socket, instructions: bytes | None) -> None:
    """Have the kernel ask a filter about each datagram for *sock* (socket(7), SO_ATTACH_FILTER); None: about none any more."""
    if instructions is None:
        sock.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)
        return
    memory = ctypes.create_string_buffer(instructions, len(instructions))
    sock.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("@HP", len(instructions) // 8, ctypes.addressof(memory)))
