"""Zones and views for tests of names."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from resolver.engine.view import AttachedZone, View
from resolver.wire.name import from_text
from resolver.zone.build import records
from resolver.zone.published import PublishedZone
from resolver.zone.subnets import Subnets
from resolver.zone.zone import Zone


def zone(label, *registrations, ttl=5, forward_single_label=True):
    """A zone where each registration is (names, addresses) of one endpoint."""
    made = Zone(label, from_text(label), ttl, forward_single_label)
    for number, (names, addresses) in enumerate(registrations):
        added = records(
            endpoint=f"{label}{number}", network=label, endpoint_names=names, addresses=[ip_address(text) for text in addresses]
        )
        made = made.with_changes((), added)
    return PublishedZone(made)


def view(*zones, links=(), **more):
    """A view of *zones*; *links*: (alias, target) of private aliases on the first."""
    aliases = {from_text(alias): from_text(target) for alias, target in links}
    attached = tuple(AttachedZone(published, aliases if number == 0 else {}) for number, published in enumerate(zones))
    return View(attached=attached, subnets=Subnets((ip_network("10.1.0.0/16"), ip_network("fd01::/64"))), **more)
