"""Queries that wait for their responses from one upstream, told apart by unpredictable IDs (RFC 5452 section 9)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from resolver import limits
from resolver.engine.classify import Kind, classify
from resolver.engine.upstream_health import UpstreamHealth
from resolver.wire.message import HEADER

_UNRELATED = Kind.UNRELATED


class ReplyHandler(Protocol):
    """Who waits for the response to one query at one upstream."""

    def on_reply(self, pending: PendingQuery, kind: Kind, message: bytes, now: float) -> None:
        """Take the response."""

    def on_failure(self, pending: PendingQuery, reason: str, now: float, *, is_socket: bool) -> None:
        """Take note that there is none. *is_socket*: perhaps only the socket failed."""

    def on_other_path(self, pending: PendingQuery, now: float) -> None:
        """Take note that the upstream is reached from another address now; a response may still come."""


class PendingQuery(msgspec.Struct, eq=False, gc=False):
    """One query at one upstream. *message* is without its ID. *sent*: when, for the round-trip time.

    *handler*: None if nobody waits for the response. *resent*: the connection closed before it was answered, once.
    """

    handler: ReplyHandler | None
    health: UpstreamHealth
    question: bytes
    message: bytes
    sent: float
    stream: bool = False
    identity: int = -1
    resent: bool = False

    def answered(self, kind: Kind, message: bytes, now: float) -> None:
        """Tell the upstream's health and the handler of the response."""
        self.health.answered(now - self.sent)
        if self.handler is not None:
            self.handler.on_reply(self, kind, message, now)

    def failed(self, reason: str, now: float, *, is_socket: bool = False) -> None:
        """Tell the handler that there is no response. *is_socket*: perhaps only the socket failed."""
        if self.handler is not None:
            self.handler.on_failure(self, reason, now, is_socket=is_socket)

    def path_changed(self, now: float) -> None:
        """Tell the handler that the upstream is reached from another address now than when the query was sent."""
        if self.handler is not None:
            self.handler.on_other_path(self, now)


def identities() -> Callable[[], int]:
    """Return a source of unpredictable 16-bit numbers; a system call for each would cost more than all else about an ID."""
    numbers: list[int] = []

    def draw() -> int:
        if not numbers:
            numbers.extend(memoryview(os.urandom(4096)).cast("H"))
        return numbers.pop()

    return draw


class PendingQueries(dict[int, PendingQuery]):
    """The queries on one socket or connection, by their IDs. *draw*: see `identities`."""

    __slots__ = ("_draw",)

    def __init__(self, draw: Callable[[], int]) -> None:
        super().__init__()
        self._draw = draw

    def add(self, pending: PendingQuery) -> bytes:
        """Return the message of *pending* with an ID that no other query here has; it waits from now on."""
        identity = self._draw()
        while identity in self:
            identity = self._draw()
        pending.identity = identity
        self[identity] = pending
        return identity.to_bytes(2, "big") + pending.message

    def on_messages(self, messages: Sequence[bytes], now: float) -> None:
        """Hand each message to the query that it is the response to, if there is one."""
        for message in messages:
            pending = self.get(message[0] << 8 | message[1]) if len(message) >= HEADER.size else None
            if pending is not None:
                kind = classify(pending.question, pending.identity, message)
                if kind is not _UNRELATED:
                    del self[pending.identity]
                    pending.answered(kind, message, now)

    def take_all(self) -> list[PendingQuery]:
        """Return all queries; none of them waits any more."""
        taken = list(self.values())
        self.clear()
        return taken

    def drop_old(self, now: float) -> None:
        """Forget the queries whose time is over; responses to them are of no use any more."""
        for identity in [key for key, pending in self.items() if now - pending.sent > limits.BUDGET]:
            del self[identity]
