"""Our part of a sandbox's files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from netcore.desired.objects.kind import Key, Kind, Lane, Order, Subsystem


@dataclass(frozen=True, slots=True, kw_only=True)
class HostsLines(Kind):
    """Our lines in the hosts file of a sandbox."""

    path: str
    lines: tuple[str, ...]
    order: ClassVar[Order] = Order.HOSTS_LINES
    lane: ClassVar[Lane] = Lane(Subsystem.FILES)

    @property
    def key(self) -> Key:
        return ("hosts", self.path)

    def describe(self) -> str:
        return f"hosts lines {self.path}: {'; '.join(line.replace(chr(9), ' ') for line in self.lines)}"
