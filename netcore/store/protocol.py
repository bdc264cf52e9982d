"""The `Store` protocol: load, transaction with compares, watch from a revision, sessions. No I/O here.

Keys are paths like `network/ID`; values are octets. Every commit gets the next revision; an item carries the revision
of its last change. A session groups keys that end together (with a boot, or with a lease of a host).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from netcore.errors import NetcoreError


@dataclass(frozen=True, slots=True)
class Item:
    """One stored value, the revision of its last change, and the session that it ends with; None: it stays until it is deleted."""

    value: bytes
    revision: int
    session: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One change as a watcher sees it; *value* None means deleted."""

    key: str
    value: bytes | None
    revision: int


@dataclass(frozen=True, slots=True)
class Transaction:
    """*writes*: key → value, or None to delete. *compares*: key → revision it must have, 0 for "absent".

    *session*: what is written ends with it; None: it stays.
    """

    writes: Mapping[str, bytes | None]
    compares: Mapping[str, int] = field(default_factory=dict)
    session: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that is stored, as of *revision*."""

    revision: int
    items: Mapping[str, Item]


class CompareFailed(NetcoreError):
    """A key of a transaction did not have the revision that was expected; nothing was written."""

    kind = "conflict"
    status = 409

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} was changed by somebody else; try again", subject=key)
        self.key = key


class Compacted(NetcoreError):
    """The changes after *revision* are no longer known: load everything and watch from there."""

    kind = "unavailable"
    status = 503

    def __init__(self, revision: int) -> None:
        super().__init__(f"the changes after revision {revision} are no longer known; load everything again", subject=None)
        self.revision = revision


class Store(Protocol):
    """Where records are kept."""

    async def load(self) -> Snapshot:
        """Return everything, as of one revision."""

    async def commit(self, transaction: Transaction) -> int:
        """Write all or nothing; return the new revision. Raises CompareFailed."""

    def watch(self, revision: int) -> AsyncIterator[Change]:
        """Yield every change after *revision*, in order, without end. Raises Compacted."""

    async def end_session(self, session: str) -> None:
        """Delete all keys of *session*, if there are any."""

    async def close(self) -> None:
        """Finish what was begun and release the store."""


class SharedStore(Store, Protocol):
    """A store that several hosts share, which may be out of reach."""

    async def probe(self) -> None:
        """Return if the store answers; Unavailable if it does not."""
