"""Rules of one sandbox about what it may ask, as a view carries them. The places where they are asked are here; no rule is.

Names of networks are none of its business: a view has only the networks that the sandbox may know of. A view without a policy pays
nothing for it: both places come after the look-up of remembered replies, and are called only where a policy is set.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

import msgspec

from resolver.engine.received import Received
from resolver.wire.message import Query, Rcode


class Refusal(msgspec.Struct, frozen=True):
    """A query that is not allowed: the RCODE of its response, and the reason for the client's extended DNS error."""

    rcode: int
    reason: str


class QueryPolicy(Protocol):
    """What a sandbox may ask of others, and what must have happened before it gets their answer."""

    def verdict(self, qname: bytes, qtype: int) -> Refusal | None:
        """Return why nobody may be asked; None if somebody may. Called before cache and upstreams, and again before an answer leaves."""

    def hidden(self, qname: bytes) -> Refusal | None:
        """Return why a name of ours does not exist for this sandbox, if it is the rules that keep it from it."""

    def shown(self, query: Query, received: Received) -> Received:
        """Return what the sandbox may see of *received*: the same object, if that is all. Called for each answer of others."""

    def open(self, query: Query, received: Received) -> Awaitable[None] | None:
        """Do what must be complete before *received* leaves; return what to wait for, if that takes longer.

        Called for each answer of others but not for remembered replies, which last a second: what it does must hold that long and longer.
        If it raises, or what is waited for does, the client gets SERVFAIL with the text of the error.
        """


class NobodyAsked:
    """The policy of those that may ask nothing. *reason*: a sentence for them."""

    def __init__(self, reason: str) -> None:
        self._refusal = Refusal(Rcode.REFUSED, reason)

    def verdict(self, qname: bytes, qtype: int) -> Refusal:
        """See `QueryPolicy`."""
        return self._refusal

    def hidden(self, qname: bytes) -> None:
        """See `QueryPolicy`."""

    def shown(self, query: Query, received: Received) -> Received:
        """See `QueryPolicy`."""
        return received

    def open(self, query: Query, received: Received) -> None:
        """See `QueryPolicy`: nothing is answered."""
