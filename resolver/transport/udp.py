"""A UDP listener: answers what is known in batches, hands the rest on. On the loop, without tasks."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

from resolver import limits
from resolver.transport.batch import Datagram
from resolver.transport.poller import Poller
from resolver.zone.view import ViewSlot


class Replier(Protocol):
    """Who takes replies that come later. *peer* is what came with the query."""

    def reply(self, peer: bytes, octets: bytes) -> None:
        """Send *octets* to *peer*, or forget them if it is gone."""


class Service(Protocol):
    """What answers queries."""

    def count_known(self, count: int) -> None:
        """Count *count* replies that were sent as they were remembered."""

    def on_query(self, slot: ViewSlot, octets: bytes, replier: Replier, peer: bytes, *, tcp: bool) -> bytes | None:
        """Return the reply to *octets*; None if it comes later through *replier*, or never."""


class UdpListener:
    """Serves *slot* on *sock*, which it owns. *slot_of*: whose view it is by the peer's address, if not always that one."""

    # With a thousand sandboxes each wake-up finds this object cold: the fewer cache lines the better.
    __slots__ = ("_batch", "_descriptor", "_late", "_most", "_poller", "_service", "_slot", "_slot_of", "_socket")

    def __init__(
        self, poller: Poller, sock: socket.socket, service: Service, slot: ViewSlot, slot_of: Callable[[bytes], ViewSlot] | None = None
    ) -> None:
        self._poller = poller
        self._socket = sock
        self._descriptor = sock.fileno()
        self._service = service
        self._slot = slot
        self._slot_of = slot_of
        self._batch = poller.batch(sock.family)
        self._most = limits.UDP_DRAIN
        self._late: list[Datagram] = []
        sock.setblocking(False)
        poller.add(sock.fileno(), self._drain if slot_of is None else self._drain_of_many)

    def _drain(self) -> None:
        slot = self._slot
        try:
            count, rest = self._batch.answer(self._descriptor, slot.replies, self._most)
        except OSError:
            # An error of an earlier reply; the next read is good again.
            return
        known = count - len(rest)
        if known:
            slot.queries += known
            self._service.count_known(known)
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
        on_query, slot = self._service.on_query, self._slot
        replies = []
        for octets, peer in queries:
            reply = on_query(slot, octets, self, peer, tcp=False)
            if reply is not None:
                replies.append((reply, peer))
        if replies:
            self._batch.send(self._socket, replies)

    def _drain_of_many(self) -> None:
        assert self._slot_of is not None
        try:
            queries = self._batch.receive(self._socket.fileno(), limits.UDP_DRAIN_SLOW)
        except OSError:
            return
        replies = []
        for octets, peer in queries:
            slot = self._slot_of(peer)
            known = slot.replies.get(octets[2:])
            if known is not None:
                slot.queries += 1
                self._service.count_known(1)
                replies.append((octets[:2] + (known if isinstance(known, bytes) else known()), peer))
                continue
            reply = self._service.on_query(slot, octets, self, peer, tcp=False)
            if reply is not None:
                replies.append((reply, peer))
        if replies:
            self._batch.send(self._socket, replies)

    def reply(self, peer: bytes, octets: bytes) -> None:
        """Send a late reply with those of the same round."""
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
