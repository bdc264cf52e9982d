"""A zone as it is now, and who must hear of its changes. Written by the registry only. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Protocol

from resolver.wire import name as names
from resolver.zone.zone import Record, Zone


class NameChange:
    """Names whose records have changed. *qualified*: the same names below the network's own.

    One object for all watchers of a zone: there may be thousands of them, and what one derives from the names serves others.
    """

    __slots__ = ("_derived", "names", "qualified")

    def __init__(self, changed: frozenset[bytes], qualified: frozenset[bytes]) -> None:
        self.names = changed
        self.qualified = qualified
        self._derived: dict[Hashable, frozenset[bytes]] = {}

    def derive(self, key: Hashable, make: Callable[[], frozenset[bytes]]) -> frozenset[bytes]:
        """Return what *make* returns, which is called once for all watchers with the same *key*."""
        derived = self._derived.get(key)
        if derived is None:
            derived = self._derived[key] = make()
        return derived


class NameWatcher(Protocol):
    """Who has told others of names, and must forget it when they change."""

    def on_names_changed(self, change: NameChange) -> None:
        """Forget what was derived from these names."""


class PublishedZone:
    """The one reference through which readers see a zone."""

    __slots__ = ("current", "watchers")

    def __init__(self, zone: Zone) -> None:
        self.current = zone
        self.watchers: set[NameWatcher] = set()

    def change(self, remove: Iterable[Record], add: Iterable[Record]) -> None:
        """Withdraw and publish records in one step, and tell the watchers."""
        remove, add = tuple(remove), tuple(add)
        self.current = self.current.with_changes(remove, add)
        changed = frozenset(record.name for record in (*remove, *add))
        change = NameChange(changed, frozenset(names.join(name, self.current.label) for name in changed))
        for watcher in self.watchers:
            watcher.on_names_changed(change)
