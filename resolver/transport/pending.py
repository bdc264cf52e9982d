"""Questions that wait for their replies at one upstream, told apart by unpredictable IDs (RFC 5452 section 9)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from resolver import limits
from resolver.engine.exchange import Health, Kind, classify
from resolver.wire.message import HEADER


class AskedOwner(Protocol):
    """Who waits for the reply to one question at one upstream."""

    def on_message(self, asked: Asked, kind: Kind, message: bytes, now: float) -> None:
        """Take the reply."""

    def on_failure(self, asked: Asked, reason: str, now: float) -> None:
        """Take note that there is none."""


class Asked(msgspec.Struct, eq=False, gc=False):
    """One question at one upstream. *message* is without its ID. *sent*: when, for the round-trip time. *owner*: nobody cares if None."""

    owner: AskedOwner | None
    health: Health
    question: bytes
    message: bytes
    sent: float
    identity: int = -1
    by_stream: bool = False
    retried: bool = False

    def answered(self, kind: Kind, message: bytes, now: float) -> None:
        """Tell the upstream's health and the owner of the reply."""
        self.health.answered(now - self.sent)
        if self.owner is not None:
            self.owner.on_message(self, kind, message, now)

    def failed(self, reason: str, now: float) -> None:
        """Tell the owner that there is none."""
        if self.owner is not None:
            self.owner.on_failure(self, reason, now)


def identities() -> Callable[[], int]:
    """Return a source of unpredictable 16-bit numbers; a system call for each would cost more than all else about an ID."""
    numbers: list[int] = []

    def draw() -> int:
        if not numbers:
            numbers.extend(memoryview(os.urandom(4096)).cast("H"))
        return numbers.pop()

    return draw


class Pending(dict[int, Asked]):
    """The questions on one socket or connection, by their IDs. *draw*: see `identities`."""

    __slots__ = ("_draw",)

    def __init__(self, draw: Callable[[], int]) -> None:
        super().__init__()
        self._draw = draw

    def add(self, asked: Asked) -> bytes:
        """Return the message of *asked* with an ID that no other question here has; it waits from now on."""
        identity = self._draw()
        while identity in self:
            identity = self._draw()
        asked.identity = identity
        self[identity] = asked
        return identity.to_bytes(2, "big") + asked.message

    def on_messages(self, messages: Sequence[bytes], now: float) -> None:
        """Hand each message to the question that it is the reply to, if there is one."""
        for message in messages:
            asked = self.get(message[0] << 8 | message[1]) if len(message) >= HEADER.size else None
            if asked is not None:
                kind = classify(asked.question, asked.identity, message)
                if kind is not Kind.FOREIGN:
                    del self[asked.identity]
                    asked.answered(kind, message, now)

    def take_all(self) -> list[Asked]:
        """Return all questions; none of them waits any more."""
        taken = list(self.values())
        self.clear()
        return taken

    def drop_old(self, now: float) -> None:
        """Forget the questions whose time is over; late replies to them are of no use any more."""
        for identity in [key for key, asked in self.items() if now - asked.sent > limits.BUDGET]:
            del self[identity]
