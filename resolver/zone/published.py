"""A zone as it is now, and who must hear of its changes. Written by the registry only. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Protocol

from resolver.wire import name as names
from resolver.zone.static_names import StaticName
from resolver.zone.zone import Record, Zone


class NameChange:
    """Names whose records have changed. *qualified*: the same names below the network's own.

    *has_wildcards*: other names may be concerned, since the zone has wildcards, or had.

    One object for all watchers of a zone: there may be thousands of them, and what one derives from the names serves others.
    """

    __slots__ = ("_derived", "has_wildcards", "names", "qualified")

    def __init__(self, changed: frozenset[bytes], qualified: frozenset[bytes], *, has_wildcards: bool = False) -> None:
        self.names = changed
        self.qualified = qualified
        self.has_wildcards = has_wildcards
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
        self._show(self.current.with_changes(remove, add), frozenset(record.name for record in (*remove, *add)))

    def change_static(self, given: Mapping[bytes, StaticName | None]) -> None:
        """Let these names have these static records from now on, None: none, and tell the watchers."""
        self._show(self.current.with_static(given), frozenset(given))

    def _show(self, zone: Zone, changed: frozenset[bytes]) -> None:
        has_wildcards = bool(self.current.wildcards or zone.wildcards)
        self.current = zone
        change = NameChange(changed, frozenset(names.join(name, zone.label) for name in changed), has_wildcards=has_wildcards)
        for watcher in self.watchers:
            watcher.on_names_changed(change)
