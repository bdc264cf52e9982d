"""The names that only egress rules keep from a sandbox: of its own networks, and of those whose names these have (`names_from`). Pure."""

from __future__ import annotations

from collections.abc import Sequence

from netcore.egress.surroundings import KnownNetwork
from resolver.wire import name as names
from resolver.zone.published import PublishedZone
from resolver.zone.zone import Zone


class HiddenNames:
    """See the module. *zones*: of each network. *suffix*: the domain that all networks are below."""

    def __init__(self, suffix: bytes, zones: Sequence[tuple[KnownNetwork, PublishedZone]]) -> None:
        self._suffix = suffix
        self._zones = tuple(zones)

    def network_of(self, qname: bytes) -> KnownNetwork | None:
        """Return the first network on which *qname* would be found; None if there is none."""
        if not self._zones:
            return None
        is_bare = not (qname.endswith(self._suffix) and len(qname) > len(self._suffix))
        name = qname if is_bare else qname[: -len(self._suffix)] + names.ROOT
        for network, published in self._zones:
            zone = published.current
            if (is_bare and _has(zone, name)) or (
                name.endswith(zone.label) and (name == zone.label or _has(zone, name[: -len(zone.label)] + names.ROOT))
            ):
                return network
        return None


def _has(zone: Zone, name: bytes) -> bool:
    return zone.has(name) or zone.has_below(name)


NOTHING_HIDDEN = HiddenNames(names.ROOT, ())
