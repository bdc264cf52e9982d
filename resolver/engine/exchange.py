"""Forwarding one query: which upstream gets which message, over which transport, and when to give up. Sans I/O: time is an argument.

Better than rules DNS-64..DNS-77: all upstreams are used, in the order given, because the first is often the
only one that knows a company's own names. Earlier ones may still answer while the next is asked; how long that takes
follows from how fast the upstream usually is. One that failed is asked last for a while, then tried beside a good one,
so that no client waits to find out whether it is back. The whole takes less than half of a stub's time-out. When all
failed lately, the queries of one moment try them and the others are refused at once. One that leads back to us is left out.

A socket keeps the source address that it was opened with. When the host has another address since, it fails or hears nothing,
and that says nothing of the upstream: the query is sent again by a fresh socket.

| RFC | what | status |
|---|---|---|
| 6891 7 | a server that does not understand EDNS is asked again without, and for a while not with it | done |
| 7766 5 | a truncated response is fetched over TCP | done |
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from resolver import limits
from resolver.engine.classify import Kind
from resolver.engine.loop_probes import LoopProbes
from resolver.engine.upstream_health import UpstreamHealth
from resolver.wire.message import HEADER, Rcode, without_opt


class Send(msgspec.Struct, frozen=True):
    """Send *message* (without its ID) to this upstream; *stream*: over its TCP or TLS connection.

    *is_loop_probe*: nobody waits for the response. *since*: only by a socket or connection that was opened, or heard something,
    after this time; None: by any.
    """

    upstream: UpstreamHealth
    message: bytes
    stream: bool = False
    is_loop_probe: bool = False
    since: float | None = None


class Done(msgspec.Struct, frozen=True):
    """The query is answered by *message*. *is_recovery*: when it was sent, nobody had answered for a while."""

    upstream: UpstreamHealth
    message: bytes
    is_recovery: bool = False


class GiveUp(msgspec.Struct, frozen=True):
    """No upstream answered; *reason* is for the client's extended DNS error. *asked*: whether any was asked at all."""

    reason: str
    asked: bool = True


Result = Done | GiveUp
Action = tuple[Send, ...] | Result
"""What to do now: send these messages (none: wait), or tell who waits what came of the query."""


def first_upstream(upstreams: Sequence[UpstreamHealth], now: float) -> UpstreamHealth | None:
    """Return the upstream to which a query goes if that is all there is to decide; None: an `Exchange` has to decide.

    So it is for nearly every query: nothing is known against any upstream, and the first one takes datagrams. An `Exchange`
    is made later only if the upstream is late or does not answer well (`Exchange.begun`); making one costs as much as all
    the rest of the way.
    """
    for health in upstreams:
        if health.is_unsure or not health.loop_checked or health.looping_until > now or health.no_edns_until > now:
            return None
    first = upstreams[0] if upstreams else None
    return None if first is None or first.is_stream else first


class Exchange:
    """One query on its way. The driver carries out the actions returned, and calls `on_deadline` at `deadline`.

    *message*: the query without its ID; *question*: its question section.
    """

    __slots__ = ("_end", "_is_trial", "_message", "_no_edns", "_probes", "_question", "_reasons", "_silent", "_since",
                 "_trial", "_waiting", "deadline", "done")  # fmt: skip

    def __init__(self, upstreams: Sequence[UpstreamHealth], message: bytes, question: bytes, probes: LoopProbes, now: float) -> None:
        self._message = message
        self._question = question
        self._probes = probes
        self._reasons: list[str] = []
        self._silent: dict[UpstreamHealth, float] = {}
        self._since: dict[UpstreamHealth, float] = {}
        self._no_edns: set[UpstreamHealth] = set()
        self._end = now + limits.BUDGET
        self._is_trial = False
        self._trial: UpstreamHealth | None = None
        self._waiting = self._order(upstreams, now)
        self.deadline = self._end
        self.done = False

    @classmethod
    def begun(
        cls,
        upstreams: Sequence[UpstreamHealth],
        message: bytes,
        question: bytes,
        probes: LoopProbes,
        asked: UpstreamHealth,
        at: float,
    ) -> Exchange:
        """Return the exchange of a query that was sent to *asked*, its first upstream, at that time (see `first_upstream`)."""
        made = cls(upstreams, message, question, probes, at)
        made._waiting = [health for health in made._waiting if health is not asked]
        made._note_asked(asked, at)
        return made

    def _order(self, upstreams: Sequence[UpstreamHealth], now: float) -> list[UpstreamHealth]:
        """Return *upstreams* as they are to be asked: those in doubt behind the good ones, those that loop not at all."""
        good, doubtful = [], []
        for health in upstreams:
            if health.looping_until > now:
                self._reasons.append(f"{health.upstream} leads back to this resolver")
            elif health.is_unsure:
                doubtful.append(health)
            else:
                good.append(health)
        if doubtful:
            self._is_trial = not good
            if good:
                self._trial = next((health for health in doubtful if health.is_due(now)), None)
        return good + doubtful

    def start(self, now: float) -> Action:
        """Return the first action."""
        if not self._waiting:
            self.done = True
            return GiveUp("; ".join(self._reasons), asked=False)
        if self._is_trial:
            if any(health.refuses(now) for health in self._waiting):
                self.done = True
                return GiveUp("all nameservers failed a moment ago", asked=False)
            for health in self._waiting:
                health.probe(now)
        return self._next(now)

    def on_reply(self, send: Send, kind: Kind, message: bytes, now: float) -> Action:
        """Return what follows from the response *message* to what was sent. The upstream's health has been told of it."""
        if self.done:
            return ()
        upstream = send.upstream
        if kind is Kind.TRUNCATED and not send.stream:
            return (Send(upstream, send.message, stream=True, since=self._since.get(upstream)),)
        if kind is Kind.NO_EDNS and (plain := without_opt(send.message)) != send.message:
            self._no_edns.add(upstream)
            return (Send(upstream, plain, send.stream, since=self._since.get(upstream)),)
        self._silent.pop(upstream, None)
        if kind is Kind.FINAL and upstream in self._no_edns and len(send.message) < len(self._message):
            upstream.no_edns_until = now + limits.NO_EDNS
        if kind is Kind.FINAL or (kind is Kind.NO_EDNS and len(message) >= HEADER.size + len(self._question)):
            self._finish(now)
            return Done(upstream, message, self._is_trial)
        rcode = message[3] & 0xF
        failure = "truncated its response over TCP" if kind is Kind.TRUNCATED else f"answered {Rcode(rcode).name if rcode <= 5 else rcode}"
        self._reasons.append(f"{upstream.upstream} {failure}")
        return self._next_or_end(now)

    def on_failure(
        self, upstream: UpstreamHealth, reason: str, now: float, *, sent: float | None = None, is_socket: bool = False
    ) -> Action:
        """Return what follows when *upstream* can't be asked, or says that nobody listens.

        *sent*: when the query was, if it was. *is_socket*: perhaps its socket is what failed.
        """
        if self.done or (sent is not None and sent < self._silent.get(upstream, 0.0)):
            # It has been asked again since.
            return ()
        if is_socket and sent is not None and upstream not in self._since:
            return self._again(upstream, sent, now)
        self._silent.pop(upstream, None)
        upstream.failed(now)
        self._reasons.append(f"{upstream.upstream}: {reason}")
        return self._next_or_end(now)

    def on_other_path(self, upstream: UpstreamHealth, now: float) -> Action:
        """Return what follows when *upstream* is reached from another address than when it was asked."""
        if self.done or upstream not in self._silent:
            return ()
        return self._again(upstream, now, now)

    def on_deadline(self, now: float) -> Action:
        """Return what is due at `deadline`."""
        if now >= self._end:
            for health in self._silent:
                self._reasons.append(f"{health.upstream} did not answer")
            self._finish(now)
            return GiveUp("; ".join(self._reasons))
        if self._waiting:
            return self._next(now)
        self.deadline = self._next_resend(now)
        sends: tuple[Send, ...] = ()
        for health, asked in [*self._silent.items()]:
            sends += self._again(health, asked, now)
        return sends

    def _again(self, upstream: UpstreamHealth, since: float, now: float) -> tuple[Send, ...]:
        """Return the query to *upstream* once more, by a socket that was opened or heard something after *since*."""
        self._since[upstream] = since
        self._note_asked(upstream, now)
        return self._sends(upstream, now)

    def _next_or_end(self, now: float) -> Action:
        if self._waiting:
            return self._next(now)
        if self._silent:
            return ()
        self._finish(now)
        return GiveUp("; ".join(self._reasons))

    def _next(self, now: float) -> Action:
        upstream = self._waiting.pop(0)
        self._note_asked(upstream, now)
        trial, self._trial = self._trial, None
        return self._sends(upstream, now) if trial is None else self._sends(upstream, now) + self._sends(trial, now)

    def _sends(self, upstream: UpstreamHealth, now: float) -> tuple[Send, ...]:
        """Return the query to *upstream*, behind a loop probe if none was sent since it last failed."""
        message = self._message if upstream.no_edns_until <= now else without_opt(self._message)
        since = self._since.get(upstream)
        query = Send(upstream, message, upstream.is_stream, since=since)
        if upstream.loop_checked:
            return (query,)
        return Send(upstream, self._probes.make(upstream), upstream.is_stream, is_loop_probe=True, since=since), query

    def _note_asked(self, upstream: UpstreamHealth, now: float) -> None:
        self._silent[upstream] = now
        if self._waiting:
            self.deadline = min(now + upstream.patience, self._end)
        else:
            self.deadline = self._next_resend(now)

    def _next_resend(self, now: float) -> float:
        """Return when to ask again; the end, if an answer could hardly come before it."""
        at = now + limits.RESEND
        return at if at <= self._end - min(limits.NEXT_UPSTREAM, limits.RESEND) else self._end

    def _finish(self, now: float) -> None:
        """Note who stayed silent for longer than we waited before the next one was asked."""
        self.done = True
        for health, asked in self._silent.items():
            if now - asked >= limits.NEXT_UPSTREAM:
                health.failed(now)
            elif now - asked >= health.patience:
                health.missed(now)
        if self._is_trial:
            for health in (*self._silent, *self._waiting):
                health.probing = False
