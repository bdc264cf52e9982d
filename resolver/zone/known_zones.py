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
        self.swap(zones)

    def swap(self, zones: Iterable[PublishedZone]) -> None:
        """Replace all zones by *zones*."""
        self._by_label = {published.current.label: published for published in zones}

    def holding(self, qname: bytes) -> Zone | None:
        """Return the zone that has NAME, where *qname* is NAME.NETWORK; None if no zone does.

        Any other name that ends like a network, such as go.dev beside a network dev, is in no zone.
        """
        at = 1 + qname[0]
        while at < len(qname) and qname[at]:
            published = self._by_label.get(qname[at:])
            if published is not None and published.current.has(qname[:at] + names.ROOT):
                return published.current
            at += 1 + qname[at]
        return None
