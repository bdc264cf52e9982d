"""Queries that come singly: one is read from each of many sockets, then all of them are answered (`Batch.answer_each`).

With a thousand sandboxes nearly every socket that is ready holds one query, and the system calls that serve many datagrams of one
socket have nothing to share. Which sockets are like that is seen whenever one is read in full (`UdpListener`); the poller
does that with all of them now and then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from resolver.dns_client import Client
from resolver.reply_cache import Reply
from resolver.transport.batch import LONGEST_SENT, Batch, LoneSocket
from resolver.transport.in_hand import SLOTS, InHand
from resolver.transport.protocol import ReplySender, Service


class LoneQueries:
    """The sockets of one address family that held one query when they were last read in full; *service* answers them."""

    def __init__(self, service: Service, batch: Batch, in_hand: InHand) -> None:
        self._service = service
        self._batch = batch
        self._in_hand = in_hand
        self._sockets: dict[int, LoneSocket] = {}

    def add(self, descriptor: int, replies: Mapping[bytes, Reply], client: Client, sender: ReplySender) -> None:
        """Read this socket of *client* one query at a time from now on. *sender*: takes responses that come later."""
        if descriptor not in self._sockets:
            self._sockets[descriptor] = LoneSocket(descriptor, replies.get, client, sender)

    def remove(self, descriptor: int) -> None:
        """Read this socket in full again, or not at all: it may be closed now."""
        self._sockets.pop(descriptor, None)

    def answer(self, ready: Sequence[tuple[int, int]], normal: int) -> list[tuple[int, int]]:
        """Answer a query of each of our sockets among *ready*; return the others. So are those whose event is not *normal*."""
        found, others = [], []
        find = self._sockets.get
        for item in ready:
            source = find(item[0])
            if source is None or item[1] != normal:
                others.append(item)
            else:
                found.append(source)
        for first in range(0, len(found), SLOTS):
            self._answer(found[first : first + SLOTS])
        return others

    def _answer(self, sockets: Sequence[LoneSocket]) -> None:
        batch, service = self._batch, self._service
        count, rest, rcodes = batch.answer_each(sockets)
        if count > len(rest):
            service.count_sent(count - len(rest), rcodes)
        for unknown in rest:
            _, (descriptor, _, client, sender), octets, peer = unknown
            reply = service.on_query(client, octets, sender, peer, tcp=False)
            if reply is not None and len(reply) <= LONGEST_SENT:
                batch.answer_at(unknown, reply)
                continue
            self._in_hand.wait(descriptor, [(octets, peer)])
            if reply is not None:
                sender.reply(peer, reply)
        batch.done(count)
