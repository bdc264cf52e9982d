"""What is remembered of one upstream: how fast it is, whether it fails, whether it leads back to us. Pure: time is an argument."""

from __future__ import annotations

from resolver import limits
from resolver.engine.upstream import Upstream


class UpstreamHealth:
    """The state of one upstream. *patience*: seconds after which the next upstream is asked too.

    *loop_checked*: a loop probe has been sent since it last failed. *is_stream*: it is asked over TCP or TLS only.
    """

    __slots__ = ("_deviation", "_misses", "_tried", "down_until", "failures", "is_stream", "is_unsure", "last_failure", "loop_checked",
                 "looping_until", "no_edns_until", "patience", "probed", "probing", "queries", "rtt", "upstream")  # fmt: skip

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.is_stream = upstream.transport != "udp"
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
        self.patience = limits.NEXT_UPSTREAM
        self._tried = 0.0
        self._deviation = 0.0
        self._misses = 0

    def path_changed(self) -> None:
        """Forget how fast it was and that it failed: it is reached in another way now."""
        self.rtt = self._deviation = self._tried = self.down_until = self.looping_until = self.no_edns_until = 0.0
        self.patience = limits.NEXT_UPSTREAM
        self.last_failure = -limits.DOWN
        self._misses = 0
        self.is_unsure = self.probing = self.loop_checked = False

    def failed(self, now: float) -> None:
        """Note that it gave no answer."""
        self.failures += 1
        self._misses = 0
        self.is_unsure = True
        self.probing = False
        # A query that comes back to us is never answered: perhaps that was the reason.
        self.loop_checked = False
        self.last_failure = now
        self.down_until = now + limits.DOWN

    def missed(self, now: float) -> None:
        """Note that another upstream answered in its place; it may only be slow with one name."""
        self._misses += 1
        if self._misses >= limits.MISSES:
            self.failed(now)

    def answered(self, took: float) -> None:
        """Note an answer after *took* seconds (smoothed as in RFC 6298 section 2)."""
        self._misses = 0
        if self.is_unsure:
            self.is_unsure = self.probing = False
            self._tried = self.down_until = 0.0
        if self.rtt:
            self._deviation += (abs(took - self.rtt) - self._deviation) / 4
            self.rtt += (took - self.rtt) / 8
        else:
            self.rtt, self._deviation = took, took / 2
        patience = self.rtt + 4 * self._deviation
        if patience < limits.HEDGE:
            patience = limits.HEDGE
        self.patience = patience if patience < limits.NEXT_UPSTREAM else limits.NEXT_UPSTREAM

    def loops(self, now: float) -> None:
        """Note that it leads back to us."""
        self.looping_until = now + limits.LOOP
        self.loop_checked = False

    def state(self, now: float) -> str:
        """Return `looping`, `down` or `ok`."""
        if self.looping_until > now:
            return "looping"
        return "down" if self.down_until > now else "ok"

    def is_due(self, now: float) -> bool:
        """Return whether it failed, and is to be tried now beside a good one. Silence to the last trial is one more failure."""
        if self.down_until > now:
            return False
        if not self._tried:
            self._tried = now
            return True
        if now - self._tried >= limits.NEXT_UPSTREAM:
            self._tried = 0.0
            self.failed(now)
        return False

    def probe(self, now: float) -> None:
        """Note that a query tries it again."""
        if not self.probing:
            self.probing, self.probed = True, now

    def refuses(self, now: float) -> bool:
        """Return whether it is too early to try it again: a query did a moment ago, or does and should have been answered by now.

        Queries that come together are tried together: a stub asks for A and AAAA at once, and takes one failure for the answer.
        """
        if self.probing:
            return now - self.probed >= limits.NEXT_UPSTREAM
        return now - self.last_failure < limits.PROBE_PAUSE
