"""Announcements of addresses to the neighbours on a link."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from netcore.desired.objects.kind import Key, Kind, Lane, LinkReference, Order, Subsystem, where
from netcore.model import IPAddress, SandboxId


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement(Kind):
    """Gratuitous ARP and unsolicited NA for fresh addresses. What was sent can't be taken back, so it is never deleted.

    *port*: the bridge port that must forward first, None if there is none. *interval*: seconds between *count* repetitions.
    """

    sandbox_id: SandboxId
    ifname: str
    port: str | None
    mac: str
    addresses: tuple[IPAddress, ...]
    count: int
    interval: float
    order: ClassVar[Order] = Order.ANNOUNCEMENT

    @property
    def lane(self) -> Lane:
        return Lane(Subsystem.PACKETS, self.sandbox_id)

    @property
    def key(self) -> Key:
        return ("announcement", self.sandbox_id, self.ifname)

    def goes_with(self, links: Collection[LinkReference]) -> bool:
        return True

    def describe(self) -> str:
        return f"announcement of {', '.join(map(str, self.addresses))} on {self.ifname}{where(self.sandbox_id)}"
