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

    *session*: what is written ends with it; None: it stays, as do *lasting* keys in any case.
    """

    writes: Mapping[str, bytes | None]
    compares: Mapping[str, int] = field(default_factory=dict)
    session: str | None = None
    lasting: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that is stored, as of *revision*."""

    revision: int
    items: Mapping[str, Item]


@dataclass(frozen=True, slots=True)
class KeyRange:
    """The keys from *first* on that are less than *end*, in the order of their octets. *end* None: to the last key."""

    first: str = ""
    end: str | None = None

    def __contains__(self, key: str) -> bool:
        return self.first <= key and (self.end is None or key < self.end)


EVERYTHING = KeyRange()


def beginning_with(prefix: str) -> KeyRange:
    """Return the range of all keys that begin with *prefix*, which is ASCII and not empty."""
    return KeyRange(prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1))


def only(key: str) -> KeyRange:
    """Return the range of one key."""
    return KeyRange(key, key + "\0")


@dataclass(frozen=True, slots=True)
class Conditions:
    """What else must hold for a transaction. *values*: key → value it must have. *empty*: ranges that must have no key."""

    values: Mapping[str, bytes] = field(default_factory=dict)
    empty: tuple[KeyRange, ...] = ()


NO_CONDITIONS = Conditions()


class CompareFailed(NetcoreError):
    """A key of a transaction was not as was expected; nothing was written."""

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

    async def load(self, scope: KeyRange = EVERYTHING) -> Snapshot:
        """Return everything in *scope*, as of one revision."""

    async def commit(self, transaction: Transaction, conditions: Conditions = NO_CONDITIONS) -> int:
        """Write all or nothing; return the new revision. Raises CompareFailed."""

    def watch(self, revision: int, scope: KeyRange = EVERYTHING) -> AsyncIterator[Change]:
        """Yield every change in *scope* after *revision*, in order, without end. Raises Compacted."""

    async def keep_session(self, session: str) -> frozenset[str]:
        """Begin *session*, or take over what an earlier process left of it, keep it from ending, and return its keys."""

    async def probe(self) -> None:
        """Return if the store answers; Unavailable if it does not."""
