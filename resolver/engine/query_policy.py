"""Rules of one sandbox about what it may ask, as a view carries them. The two stages are here; no rule is.

A view without a policy pays nothing for them: both stages come after the look-up of remembered replies, and are called
only where a policy is set.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

import msgspec


class Refusal(msgspec.Struct, frozen=True):
    """A query that is not allowed: the RCODE of its response, and the reason for the client's extended DNS error."""

    rcode: int
    reason: str


class QueryPolicy(Protocol):
    """What a sandbox may ask, and what must have happened before it gets the response.

    *has_effects*: whether `effect` is called at all; without it repeated queries cost no more than without a policy.
    """

    has_effects: bool

    def verdict(self, qname: bytes, qtype: int) -> Refusal | None:
        """Return why the query is refused; None if it is allowed. Pure, and called before zone, cache and upstreams.

        Verdicts are remembered with the replies for as long as the view stands: another verdict takes another view.
        """

    def effect(self, qname: bytes, qtype: int, reply: bytes) -> Awaitable[None] | None:
        """Return what must be complete before *reply* leaves; None: nothing. Called for each response, repeated ones too.

        If it fails the client gets SERVFAIL.
        """
