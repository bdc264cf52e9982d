"""Loop probes: does an upstream lead back to us? Pure.

An upstream is asked for a name that nobody else can know, below a domain of ours. If that query comes back to us, the
upstream forwards to us: each query to it would go round in circles until it times out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from resolver.engine.upstream_health import UpstreamHealth
from resolver.wire import name as names
from resolver.wire.message import RD, Type

LOOP_DOMAIN = b"\x05_loop\0"
_HEADER = RD.to_bytes(2, "big") + b"\0\1" + bytes(6)
_TXT_IN = Type.TXT.to_bytes(2, "big") + b"\0\1"


def _draw_label() -> bytes:
    return b"%016x" % random.SystemRandom().getrandbits(64)


class LoopProbes:
    """The probes under way. *domain*: names below it are ours. *draw_label*: returns a label that can't be guessed."""

    def __init__(self, domain: bytes = LOOP_DOMAIN, draw_label: Callable[[], bytes] = _draw_label) -> None:
        self.domain = domain
        self._draw_label = draw_label
        self._by_label: dict[bytes, UpstreamHealth] = {}

    def make(self, upstream: UpstreamHealth) -> bytes:
        """Return the query, without its ID, that probes *upstream*. What the response says does not matter."""
        upstream.loop_checked = True
        self.keep(health for health in self._by_label.values() if health is not upstream)
        label = self._draw_label()
        self._by_label[label] = upstream
        return _HEADER + names.join(bytes([len(label)]) + label + names.ROOT, self.domain) + _TXT_IN

    def on_query(self, qname: bytes, now: float) -> UpstreamHealth | None:
        """Take note of a query for *qname*, a name below the domain; return the upstream that is found to lead back to us."""
        upstream = self._by_label.pop(qname[1 : 1 + qname[0]], None)
        if upstream is not None:
            upstream.loops(now)
        return upstream

    def keep(self, used: Iterable[UpstreamHealth]) -> None:
        """Forget the probes of upstreams that are not among *used*."""
        wanted = set(used)
        self._by_label = {label: health for label, health in self._by_label.items() if health in wanted}
