"""The zones of all networks of this host, by their names. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from resolver.wire import name as names
from resolver.zone.published import PublishedZone
from resolver.zone.zone import Zone


class KnownZones:
    """One object for all views, so that only one thing changes when a network comes or goes. Written by the registry."""

    __slots__ = ("_by_label",)

    def __init__(self, zones: Iterable[PublishedZone] = ()) -> None:
        # Names of networks that differ in the case of letters only are the same here.
        self._by_label: dict[bytes, list[PublishedZone]] = {}
        for published in zones:
            self.add(published)

    def add(self, published: PublishedZone) -> None:
        """Note that a network's zone is there."""
        self._by_label.setdefault(published.current.label, []).append(published)

    def discard(self, published: PublishedZone) -> None:
        """Note that a network's zone is gone."""
        alike = self._by_label.get(published.current.label, [])
        if published in alike:
            alike.remove(published)
        if not alike:
            self._by_label.pop(published.current.label, None)

    def holding(self, qname: bytes) -> Zone | None:
        """Return the zone that has NAME, where *qname* is NAME.NETWORK; None if no zone does.

        Any other name that ends like a network, such as go.dev beside a network dev, is in no zone.
        """
        at = 1 + qname[0]
        while at < len(qname) and qname[at]:
            for published in self._by_label.get(qname[at:], ()):
                if published.current.has(qname[:at] + names.ROOT):
                    return published.current
            at += 1 + qname[at]
        return None
