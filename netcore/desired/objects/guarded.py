"""What the guard tables keep closed while our firewall tables are gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from netcore.desired.objects.kind import Key, Kind, Lane, Order, Subsystem


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardedLink(Kind):
    """A bridge of ours that nothing passes without our firewall tables (see `kernel.guard`). The link need not exist."""

    ifname: str
    order: ClassVar[Order] = Order.GUARD
    lane: ClassVar[Lane] = Lane(Subsystem.GUARD)

    @property
    def key(self) -> Key:
        return ("guarded", self.ifname)

    def describe(self) -> str:
        return f"guard for {self.ifname}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardedPort(Kind):
    """A bridge port of ours that reaches no peer without our firewall tables. The link need not exist.

    *separate*: it is on a network without ICC; else its sandbox has egress rules, and no frame of it passes at all.
    """

    ifname: str
    separate: bool = False
    order: ClassVar[Order] = Order.GUARD
    lane: ClassVar[Lane] = Lane(Subsystem.GUARD)

    @property
    def key(self) -> Key:
        return ("guarded port", self.ifname, "separate" if self.separate else "confined")

    def describe(self) -> str:
        return f"guard for {'separate ' if self.separate else ''}port {self.ifname}"
