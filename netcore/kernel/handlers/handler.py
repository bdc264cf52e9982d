"""What a handler is: how objects of one kind are created, deleted and observed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from netcore.kernel.inventory import Inventory
from netcore.kernel.sessions import NetlinkSessions

K = TypeVar("K")
"""The kind of object."""

W = TypeVar("W", covariant=True)
"""What is left to do: `netlink.Request`, or `nft.ElementChange`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler(Generic[K, W]):
    """What the executor and `observe` call for objects of one kind.

    *create*, *delete*: act at once, and return (), or return what the executor sends, as one batch with what the
    neighbouring steps of the lane return. They raise KernelError.
    *replace*: (sessions, before, after); None if *create* of the new object replaces the old one.
    *visit*: the part of creation that happens inside the object's namespace, before everything else of its lane.
    *already*: error numbers of a creation that say that the object is there as it should be.
    *waits*: error numbers of a creation that say that the object can't be there yet: its link is down.
    *observe*: whether the object exists as it should.
    *mend*: puts right one that is there but not as it should be, or not there; None if *create* does that too.
    """

    create: Callable[[NetlinkSessions, K], Sequence[W]]
    delete: Callable[[NetlinkSessions, K], Sequence[W]]
    observe: Callable[[Inventory, K], bool]
    replace: Callable[[NetlinkSessions, K, K], Sequence[W]] | None = None
    visit: Callable[[K], None] | None = None
    already: frozenset[int] = frozenset()
    waits: frozenset[int] = frozenset()
    mend: Callable[[NetlinkSessions, K], Sequence[W]] | None = None


def nothing(_sessions: NetlinkSessions, _object: object) -> tuple[()]:
    """Do nothing: in place of a creation or deletion that needs nothing."""
    return ()


def set_again(_inventory: Inventory, _object: object) -> bool:
    """Report the object as absent: in place of an observation that costs more than setting the object once more."""
    return False
