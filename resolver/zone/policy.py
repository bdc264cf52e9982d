"""Rules of one sandbox about its questions, as a view carries them. The places are here; no rule is.

A view without a policy pays nothing for them: both places are behind the look-up of rendered replies, and asked only
where a policy is set.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

import msgspec


class Refusal(msgspec.Struct, frozen=True):
    """A question that may not be asked: the RCODE of its reply, and why, for the client's extended DNS error."""

    rcode: int
    reason: str


class Policy(Protocol):
    """What a sandbox may ask, and what must have happened before it hears the answer.

    *has_effects*: whether `effect` is asked at all; without it repeated questions cost no more than without a policy.
    """

    has_effects: bool

    def verdict(self, qname: bytes, qtype: int) -> Refusal | None:
        """Return why the question may not be asked, None if it may. Pure, and asked before zone, cache and upstreams.

        Verdicts are remembered with the replies for as long as the view stands: another verdict takes another view.
        """

    def effect(self, qname: bytes, qtype: int, reply: bytes) -> Awaitable[None] | None:
        """Return what must be complete before *reply* leaves; None: nothing. Asked for each reply, repeated ones too.

        If it fails the client gets SERVFAIL.
        """
