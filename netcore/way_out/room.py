"""How much the way out carries at once, by the descriptors that it may have. Pure."""

from __future__ import annotations

from typing import NamedTuple

from netcore import limits


class Room(NamedTuple):
    """Connections, pairs that exchange datagrams, and programs that ping."""

    connections: int
    flows: int
    pings: int


def room_for(descriptors: int) -> Room:
    """Return what there is room for with *descriptors*, those that the way out needs for itself among them.

    Everything that is carried has some, however few there are: datagrams are mostly questions for names.
    """
    left = max(descriptors - limits.WAY_OUT_OWN_DESCRIPTORS, 0)
    pings = max(min(limits.WAY_OUT_PINGS, left // 16), 1)
    flows = max(min(limits.WAY_OUT_FLOWS, left // 4 // limits.WAY_OUT_FLOW_DESCRIPTORS), 1)
    rest = left - pings - flows * limits.WAY_OUT_FLOW_DESCRIPTORS
    return Room(max(min(limits.WAY_OUT_CONNECTIONS, rest // limits.WAY_OUT_DESCRIPTORS), 1), flows, pings)
