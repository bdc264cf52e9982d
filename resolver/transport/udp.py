"""A UDP listener: sends remembered replies in batches, hands other queries to the service. On the loop, without tasks."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Protocol

from resolver import limits
from resolver.client import Client
from resolver.transport.batch import Datagram
from resolver.transport.poller import Poller


class ReplySender(Protocol):
    """Who sends responses that come later. *peer* is what came with the query."""

    def reply(self, peer: bytes, octets: bytes) -> None:
        """Send *octets* to *peer*, or forget them if it is gone."""


class Service(Protocol):
    """What answers queries."""

    def count_sent(self, count: int, rcodes: Sequence[int]) -> None:
        """Count *count* remembered replies that were sent; *rcodes*: of those that are not NOERROR."""

    def on_query(self, client: Client, octets: bytes, sender: ReplySender, peer: bytes, *, tcp: bool) -> bytes | None:
        """Return the response to *octets*; None if it comes later through *sender*, or never."""


class UdpListener:
    """Serves *client* on *sock*, which it owns. *client_of*: whose query it is by the peer's address, if not always that one's."""

    # With a thousand sandboxes each wake-up finds this object cold: the fewer cache lines the better.
    __slots__ = ("_batch", "_client", "_client_of", "_descriptor", "_late", "_most", "_poller", "_replies", "_service", "_socket")

    def __init__(
        self, poller: Poller, sock: socket.socket, service: Service, client: Client, client_of: Callable[[bytes], Client] | None = None
    ) -> None:
        self._poller = poller
        self._socket = sock
        self._descriptor = sock.fileno()
        self._service = service
        self._client = client
        self._client_of = client_of
        self._replies = client.replies.by_octets
        self._batch = poller.batch(sock.family)
        self._most = limits.UDP_DRAIN
        self._late: list[Datagram] = []
        sock.setblocking(False)
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
        self._pace(count, len(rest))

    def _pace(self, count: int, slow: int) -> None:
        """Take fewer at a time from a socket whose queries are expensive, so that others wait no longer for it."""
        if 2 * slow > count:
            self._most = max(limits.UDP_DRAIN_SLOW, self._most // 2)
        elif self._most < limits.UDP_DRAIN:
            self._most *= 2

    def _ask(self, queries: list[Datagram]) -> None:
        on_query, client = self._service.on_query, self._client
        replies = []
        for octets, peer in queries:
            reply = on_query(client, octets, self, peer, tcp=False)
            if reply is not None:
                replies.append((reply, peer))
        if replies:
            self._batch.send(self._socket, replies)

    def _drain_of_many(self) -> None:
        assert self._client_of is not None
        try:
            queries = self._batch.receive(self._socket.fileno(), limits.UDP_DRAIN_SLOW)
        except OSError:
            return
        replies = []
        for octets, peer in queries:
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
        if replies:
            self._batch.send(self._socket, replies)

    def reply(self, peer: bytes, octets: bytes) -> None:
        """Send a response that took longer, together with others of the same round."""
        self._late.append((octets, peer))
        if len(self._late) == 1:
            self._poller.flush_later(self._flush)

    def _flush(self) -> None:
        late, self._late = self._late, []
        if self._socket.fileno() >= 0:
            self._batch.send(self._socket, late)

    def close(self) -> None:
        """Stop and close the socket; repeated calls do nothing."""
        if self._socket.fileno() >= 0:
            self._poller.remove(self._socket.fileno())
            self._socket.close()
