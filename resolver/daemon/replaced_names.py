"""Names of sandboxes that are static names too, which are answered in their place (rule SN-2): a warning says so. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from resolver.wire import name as names
from resolver.zone.zone import Record, Zone


def warnings(zone: Zone, published: Iterable[Record]) -> Iterator[str]:
    """Yield a line for each name of the records *published* in *zone* that is answered with static records."""
    for name in dict.fromkeys(record.name for record in published):
        records = zone.look(name)
        if records is not None and records.static is not None and not records.values:
            text = names.to_text(name).removesuffix(".")
            yield f"its name {text} is a static name of {zone.source}, which is answered in its place"
