"""What listeners need of whoever answers, and who answers of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from resolver.dns_client import Client


class ReplySender(Protocol):
    """Who sends responses that come later. *peer* is what came with the query."""

    def reply(self, peer: bytes, octets: bytes) -> None:
        """Send *octets* to *peer*, or forget them if it is gone."""


class Service(Protocol):
    """What answers queries."""

    def count_sent(self, count: int, rcodes: Sequence[int]) -> None:
        """Count *count* remembered replies that were sent; *rcodes*: of those that are not NOERROR."""

    def on_query(self, client: Client, octets: bytes, sender: ReplySender, peer: bytes, *, tcp: bool) -> bytes | None:
        """Return the response to *octets*; None if it comes later through *sender*, or never."""
