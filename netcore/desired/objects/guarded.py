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
    """The bridge port of a sandbox with egress rules: no frame of it passes without our firewall tables. The link need not exist."""

    ifname: str
    order: ClassVar[Order] = Order.GUARD
    lane: ClassVar[Lane] = Lane(Subsystem.GUARD)

    @property
    def key(self) -> Key:
        return ("guarded port", self.ifname)

    def describe(self) -> str:
        return f"guard for port {self.ifname}"
