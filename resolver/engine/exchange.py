"""Forwarding of one question: whom to ask, when to ask the next one, when to give up. Sans I/O: time is an argument.

Better than rules DNS-64..DNS-77: all upstreams are used, in the order given, because the first is often the
only one that knows a company's own names. Earlier ones may still answer while the next is asked; how long that takes
follows from how fast the upstream usually is. One that failed is asked last for a while, then tried beside a good one,
so that no client waits to find out whether it is back. The whole takes less than half of a stub's time-out. When all
failed lately, one question probes them and the others are refused at once. One that leads back to us is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import msgspec

from resolver import limits
from resolver.errors import DecodeError
from resolver.wire.message import HEADER, QR, TC, Rcode, read_question
from resolver.zone.upstream import Upstream


class Kind(Enum):
    """What an upstream's message is to us."""

    FINAL = "an answer, or an error that no other server would mend"
    TRUNCATED = "does not fit in a datagram"
    FAILED = "SERVFAIL or REFUSED: another server may do better"
    NO_EDNS = "FORMERR or NOTIMP: perhaps it does not know EDNS"
    FOREIGN = "not the reply to our question"


_NOT_UNDERSTOOD = (Rcode.FORMERR, Rcode.NOTIMP)
_FINAL = (int(Rcode.NOERROR), int(Rcode.NXDOMAIN))
_QR, _TC = QR >> 8, TC >> 8


def classify(question: bytes, identity: int, message: bytes) -> Kind:
    """Return what *message* is, if *question* was asked with *identity* (RFC 5452 section 9.1)."""
    if len(message) < HEADER.size or message[0] << 8 | message[1] != identity or not message[2] & _QR:
        return Kind.FOREIGN
    end = HEADER.size + len(question)
    has_one = message[4:6] == b"\0\1"
    if has_one and message[HEADER.size : end] == question and not message[2] & _TC and message[3] & 0xF in _FINAL:
        return Kind.FINAL
    if (not has_one or message[HEADER.size : end] != question) and not _is_same_question(question, message):
        # A server that can't parse us may leave the question out.
        return Kind.NO_EDNS if len(message) < end and message[3] & 0xF in _NOT_UNDERSTOOD else Kind.FOREIGN
    if message[2] & _TC:
        return Kind.TRUNCATED
    rcode = message[3] & 0xF
    if rcode in (Rcode.SERVFAIL, Rcode.REFUSED):
        return Kind.FAILED
    return Kind.NO_EDNS if rcode in _NOT_UNDERSTOOD else Kind.FINAL


def _is_same_question(question: bytes, message: bytes) -> bool:
    """Return whether the message is about *question*, in whatever case (RFC 4343)."""
    try:
        _, _, _, end = read_question(message)
    except DecodeError:
        return False
    return message[4:6] == b"\0\1" and message[HEADER.size : end].lower() == question.lower()


class Health:
    """What is remembered of one upstream: how fast it is, until when it is asked last, whether somebody probes it."""

    __slots__ = ("_deviation", "_misses", "down_until", "failures", "is_unsure", "last_failure", "loop_checked", "looping_until",
                 "no_edns_until", "probed", "probing", "queries", "rtt", "upstream")  # fmt: skip

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.down_until = 0.0
        self.failures = 0
        self.queries = 0
        self.is_unsure = False
        self.probing = False
        self.probed = 0.0
        self.last_failure = -limits.DOWN
        self.looping_until = 0.0
        self.loop_checked = False
        self.no_edns_until = 0.0
        self.rtt = 0.0
        self._deviation = 0.0
        self._misses = 0

    def failed(self, now: float) -> None:
        """Note that it gave no answer."""
        self.failures += 1
        self._misses = 0
        self.is_unsure = True
        self.probing = False
        # A question that comes back to us is never answered: perhaps that was it.
        self.loop_checked = False
        self.last_failure = now
        self.down_until = now + limits.DOWN

    def missed(self, now: float) -> None:
        """Note that another one had to answer in its place; it may only be slow with one name."""
        self._misses += 1
        if self._misses >= limits.MISSES:
            self.failed(now)

    def answered(self, took: float) -> None:
        """Note an answer after *took* seconds (smoothed as RFC 6298 section 2 does)."""
        self._misses = 0
        if self.is_unsure:
            self.is_unsure = self.probing = False
            self.probed = self.down_until = 0.0
        if self.rtt:
            self._deviation += (abs(took - self.rtt) - self._deviation) / 4
            self.rtt += (took - self.rtt) / 8
        else:
            self.rtt, self._deviation = took, took / 2

    def patience(self) -> float:
        """Return after how many seconds the next upstream is asked too."""
        if not self.rtt:
            return limits.NEXT_UPSTREAM
        return min(limits.NEXT_UPSTREAM, max(limits.HEDGE, self.rtt + 4 * self._deviation))

    def is_sound(self, now: float) -> bool:
        """Return whether nothing speaks against asking it, and nothing has to be found out about it."""
        return self.loop_checked and not self.is_unsure and self.looping_until <= now and self.no_edns_until <= now

    def state(self, now: float) -> str:
        """Return `looping`, `down` or `ok`."""
        if self.looping_until > now:
            return "looping"
        return "down" if self.down_until > now else "ok"

    def is_due(self, now: float) -> bool:
        """Return whether it failed, and is to be tried now beside a good one. Silence to the last trial is one more failure."""
        if self.down_until > now:
            return False
        if not self.probed:
            self.probed = now
            return True
        if now - self.probed >= limits.NEXT_UPSTREAM:
            self.probed = 0.0
            self.failed(now)
        return False

    def refuses(self, now: float) -> bool:
        """Return whether it is too early to try it again: somebody does just now, or did a moment ago."""
        return self.probing or now - self.last_failure < limits.PROBE_PAUSE


class Send(msgspec.Struct, frozen=True):
    """Ask this upstream now, and beside it *probe*, whose turn it would not be."""

    upstream: Health
    probe: Health | None = None


class Done(msgspec.Struct, frozen=True):
    """The question is answered by *message*."""

    upstream: Health
    message: bytes


class GiveUp(msgspec.Struct, frozen=True):
    """No upstream answered; *reason* is for the client's extended DNS error. *asked*: whether any was asked at all."""

    reason: str
    asked: bool = True


Action = Send | Done | GiveUp


class Exchange:
    """One question on its way. The driver carries out the actions returned, and calls back at `deadline`."""

    __slots__ = ("_end", "_is_probe", "_probe", "_reasons", "_resent", "_silent", "_waiting", "deadline", "done")

    def __init__(self, upstreams: Sequence[Health], now: float) -> None:
        self._reasons: list[str] = []
        self._silent: dict[Health, float] = {}
        self._end = now + limits.BUDGET
        self._is_probe = False
        self._probe: Health | None = None
        self._waiting = self._order(upstreams, now)
        self._resent = len(upstreams) > 1
        self.deadline = self._end
        self.done = False

    @classmethod
    def begun(cls, upstreams: Sequence[Health], asked: Health, at: float) -> Exchange:
        """Return the exchange of a question that was sent to *asked* at that time, all being well with it."""
        made = cls(upstreams, at)
        made._waiting = [item for item in made._waiting if item is not asked]
        made._note_asked(asked, at)
        return made

    def _order(self, upstreams: Sequence[Health], now: float) -> list[Health]:
        """Return *upstreams* as they are to be asked: those in doubt behind the good ones, those that loop not at all."""
        good, doubtful = [], []
        for item in upstreams:
            if item.looping_until > now:
                self._reasons.append(f"{item.upstream} leads back to this resolver")
            elif item.is_unsure:
                doubtful.append(item)
            else:
                good.append(item)
        if doubtful:
            self._is_probe = not good
            if good:
                self._probe = next((item for item in doubtful if item.is_due(now)), None)
        return good + doubtful

    def start(self, now: float) -> Action:
        """Return the first action."""
        if not self._waiting:
            self.done = True
            return GiveUp("; ".join(self._reasons), asked=False)
        if self._is_probe:
            if any(item.refuses(now) for item in self._waiting):
                self.done = True
                return GiveUp("all nameservers failed a moment ago", asked=False)
            for item in self._waiting:
                item.probing = True
        return self._next(now)

    def on_message(self, upstream: Health, kind: Kind, message: bytes, now: float) -> Action | None:
        """Return what follows from a reply of *upstream*. Its health has been told."""
        self._silent.pop(upstream, None)
        if kind is Kind.FAILED:
            rcode = message[3] & 0xF
            self._reasons.append(f"{upstream.upstream} answered {Rcode(rcode).name if rcode <= 5 else rcode}")
            return self._next_or_end(now)
        self._finish(now)
        return Done(upstream, message)

    def on_failure(self, upstream: Health, reason: str, now: float) -> Action | None:
        """Return what follows when *upstream* can't be asked, or says that nobody listens."""
        self._silent.pop(upstream, None)
        upstream.failed(now)
        self._reasons.append(f"{upstream.upstream}: {reason}")
        return self._next_or_end(now)

    def on_deadline(self, now: float) -> Action | None:
        """Return what is due at `deadline`."""
        if now >= self._end:
            for item in self._silent:
                self._reasons.append(f"{item.upstream} did not answer")
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
        self._note_asked(upstream, now)
        probe, self._probe = self._probe, None
        return Send(upstream, probe)

    def _note_asked(self, upstream: Health, now: float) -> None:
        self._silent[upstream] = now
        if self._waiting:
            self.deadline = min(now + upstream.patience(), self._end)
        else:
            self.deadline = self._end if self._resent else min(now + limits.RESEND, self._end)

    def _finish(self, now: float) -> None:
        """Note who stayed silent longer than we waited before the next one was asked."""
        self.done = True
        for item, asked in self._silent.items():
            if now - asked >= limits.NEXT_UPSTREAM:
                item.failed(now)
            elif now - asked >= item.patience():
                item.missed(now)
        if self._is_probe:
            for item in (*self._silent, *self._waiting):
                item.probing = False
