"""What was refused lately: a bounded memory, the same for each sandbox, whatever it sends. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from netcore import limits

QUESTION, CONNECTION = "question", "connection"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """*kind*: a question, or a connection. *name*: that was asked for, or that the address was answered for; "": none.

    *address*, *protocol*, *port*: of a connection. *reason*: a sentence. *lacks*: the rule that would allow it, None if none would.
    *count*: how often since *first*; *last*: the last time. Repeated packets within a second are counted as one.
    """

    sandbox: str
    sandbox_id: str
    kind: str
    name: str
    address: str
    protocol: str
    port: int
    reason: str
    lacks: str | None
    first: float
    last: float
    count: int = 1

    @property
    def what(self) -> tuple[str, str, str, str, int]:
        """What tells it from others of the sandbox."""
        return self.kind, self.name, self.address, self.protocol, self.port


class Refusals:
    """See the module. Each sandbox has room for `limits.EGRESS_REFUSALS`; what was refused least lately goes."""

    def __init__(self) -> None:
        self._by_sandbox: dict[str, dict[tuple[str, str, str, str, int], Refused]] = {}
        self.counts: dict[str, int] = {}
        """Sandbox id → how many questions and connections were refused in all."""

    def put(self, refused: Refused) -> tuple[Refused, bool]:
        """Remember *refused*; return it with what was known of it, and whether it is news: new, or not told for a minute."""
        known = self._by_sandbox.pop(refused.sandbox_id, None)
        entries = known if known is not None else {}
        self._by_sandbox[refused.sandbox_id] = entries
        before = entries.pop(refused.what, None)
        merged = refused if before is None else replace(refused, first=before.first, count=before.count + refused.count)
        entries[refused.what] = merged
        while len(entries) > limits.EGRESS_REFUSALS:
            del entries[next(iter(entries))]
        while len(self._by_sandbox) > limits.EGRESS_REFUSING_SANDBOXES:
            gone = next(iter(self._by_sandbox))
            del self._by_sandbox[gone]
            self.counts.pop(gone, None)
        self.counts[refused.sandbox_id] = self.counts.get(refused.sandbox_id, 0) + refused.count
        is_news = before is None or refused.last - before.last > limits.EGRESS_TOLD_AGAIN
        return merged, is_news

    def __iter__(self) -> Iterator[Refused]:
        """Yield all that is remembered, the last one last."""
        yield from sorted((one for entries in self._by_sandbox.values() for one in entries.values()), key=lambda one: one.last)
