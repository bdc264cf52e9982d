"""Forwarding of one question: whom to ask, when to ask the next one, when to give up. Sans I/O: time is an argument.

Better than docker-behaviour DNS-64..DNS-77: all upstreams are used, earlier ones may still answer while the next is
asked, one that failed is asked last for a while, and the whole takes less than half of a stub's time-out. When all
failed lately, one question probes them and the others are refused at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from resolver import limits
from resolver.errors import DecodeError
from resolver.wire.message import HEADER, QR, TC, Rcode, read_question
from resolver.zone.view import Upstream


class Kind(Enum):
    """What an upstream's message is to us."""

    FINAL = "an answer, or an error that no other server would mend"
    TRUNCATED = "does not fit in a datagram"
    FAILED = "SERVFAIL or REFUSED: another server may do better"
    FOREIGN = "not the reply to our question"


def classify(question: bytes, identity: int, message: bytes) -> Kind:
    """Return what *message* is, if *question* was asked with *identity* (RFC 5452 section 9.1)."""
    if len(message) < HEADER.size + len(question):
        # A server that can't parse us may leave the question out.
        if len(message) >= HEADER.size and _is_reply(identity, message) and message[3] & 0xF in (Rcode.FORMERR, Rcode.NOTIMP):
            return Kind.FAILED
        return Kind.FOREIGN
    if not _is_reply(identity, message):
        return Kind.FOREIGN
    try:
        _, _, _, end = read_question(message)
    except DecodeError:
        return Kind.FOREIGN
    if message[12:end].lower() != question.lower():
        return Kind.FOREIGN
    flags = message[2] << 8 | message[3]
    if flags & TC:
        return Kind.TRUNCATED
    return Kind.FAILED if flags & 0xF in (Rcode.SERVFAIL, Rcode.REFUSED) else Kind.FINAL


def _is_reply(identity: int, message: bytes) -> bool:
    return message[0] << 8 | message[1] == identity and bool((message[2] << 8 | message[3]) & QR)


class Health:
    """What is remembered of one upstream: until when it is asked last, and whether somebody probes it."""

    __slots__ = ("down_until", "failures", "last_failure", "probing")

    def __init__(self) -> None:
        self.down_until = 0.0
        self.failures = 0
        self.probing = False
        self.last_failure = -limits.DOWN

    def failed(self, now: float) -> None:
        self.failures += 1
        self.last_failure = now
        self.down_until = now + limits.DOWN

    def answered(self) -> None:
        self.down_until = 0.0

    def refuses(self, now: float) -> bool:
        """Return whether it is too early to try it again: somebody does just now, or did a moment ago."""
        return self.probing or now - self.last_failure < limits.PROBE_PAUSE


@dataclass(frozen=True, slots=True)
class Send:
    """Ask this upstream now."""

    upstream: Upstream


@dataclass(frozen=True, slots=True)
class Done:
    """The question is answered by *message*."""

    upstream: Upstream
    message: bytes


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No upstream answered; *reason* is for the client's extended DNS error."""

    reason: str


Action = Send | Done | GiveUp


class Exchange:
    """One question on its way. The driver carries out the actions returned, and calls back at `deadline`."""

    def __init__(self, upstreams: Sequence[Upstream], health: dict[Upstream, Health], now: float) -> None:
        self._health = {item: health[item] for item in upstreams}
        healthy = [item for item in upstreams if health[item].down_until <= now]
        self._probe = not healthy
        self._waiting = [*healthy, *(item for item in upstreams if item not in healthy)]
        self._asked: dict[Upstream, float] = {}
        self._silent: set[Upstream] = set()
        self._reasons: list[str] = []
        self._end = now + limits.BUDGET
        self._resent = len(upstreams) > 1
        self.deadline = self._end
        self.done = False

    def start(self, now: float) -> Action:
        """Return the first action."""
        if self._probe and any(self._health[item].refuses(now) for item in self._waiting):
            self.done = True
            return GiveUp("all nameservers failed a moment ago")
        for item in self._waiting if self._probe else ():
            self._health[item].probing = True
        return self._next(now)

    def on_message(self, upstream: Upstream, kind: Kind, message: bytes, now: float) -> Action | None:
        """Return what follows from a reply of *upstream*."""
        self._silent.discard(upstream)
        self._health[upstream].answered()
        if kind is Kind.FAILED:
            rcode = message[3] & 0xF
            self._reasons.append(f"{upstream.address} answered {Rcode(rcode).name if rcode <= 5 else rcode}")
            return self._next_or_end(now)
        self._finish(now)
        return Done(upstream, message)

    def on_failure(self, upstream: Upstream, reason: str, now: float) -> Action | None:
        """Return what follows when *upstream* can't be asked, or says that nobody listens."""
        self._silent.discard(upstream)
        self._health[upstream].failed(now)
        self._reasons.append(f"{upstream.address}: {reason}")
        return self._next_or_end(now)

    def on_deadline(self, now: float) -> Action | None:
        """Return what is due at `deadline`."""
        if now >= self._end:
            for item in self._silent:
                self._reasons.append(f"{item.address} did not answer")
            self._finish(now)
            return GiveUp("; ".join(self._reasons))
        if self._waiting:
            return self._next(now)
        if not self._resent and self._silent:
            self._resent = True
            self.deadline = self._end
            return Send(next(iter(self._silent)))
        self.deadline = self._end
        return None

    def _next_or_end(self, now: float) -> Action | None:
        if self._waiting:
            return self._next(now)
        if self._silent:
            return None
        self._finish(now)
        return GiveUp("; ".join(self._reasons))

    def _next(self, now: float) -> Action:
        upstream = self._waiting.pop(0)
        self._asked[upstream] = now
        self._silent.add(upstream)
        if self._waiting:
            self.deadline = min(now + limits.NEXT_UPSTREAM, self._end)
        else:
            self.deadline = self._end if self._resent else min(now + limits.RESEND, self._end)
        return Send(upstream)

    def _finish(self, now: float) -> None:
        """Note who stayed silent longer than we waited before the next one was asked."""
        self.done = True
        for item in self._silent:
            if now - self._asked[item] >= limits.NEXT_UPSTREAM:
                self._health[item].failed(now)
        if self._probe:
            for item in self._asked.keys() | set(self._waiting):
                self._health[item].probing = False
