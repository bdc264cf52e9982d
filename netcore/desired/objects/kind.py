"""What every kind of kernel object says of itself: when it is created, by which subsystem, what goes with it, how it is described.

`diff` and `kernel.apply` ask the objects, so a new kind needs no change there.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, IntEnum, auto
from typing import Protocol

from netcore.model import IPAddress, SandboxId

HOST = None
"""In place of a sandbox id: the host's own namespace."""

Key = tuple[str | None, ...]
"""What tells an object from all others: its kind, where it is, its name there."""

LinkReference = tuple[SandboxId | None, str]
"""A link: in whose namespace it is, and its name there."""


@dataclass(frozen=True, slots=True)
class Between:
    """A field of a set of intervals: all from *first* to *last*."""

    first: int | IPAddress
    last: int | IPAddress

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


Scalar = str | int | IPAddress | Between
"""One field of a firewall key or datum: link name or MAC (str), port or mark (int), protocol name (str), address; or a range of these."""


class Order(IntEnum):
    """The steps of creation, first to last. Deletion goes the other way."""

    GUARD = auto()
    """Before the link is there, and until it is gone: nothing passes it meanwhile."""
    ESP_STATE = auto()
    """Before anything is sent to the other host, and before a policy requires it."""
    ESP_POLICY = auto()
    HOST_LINK = auto()
    FORWARDING_GUARD = auto()
    """What keeps packets of others from being forwarded, before forwarding is switched on."""
    HOST_SYSCTL = auto()
    """The host's sysctls are those of its bridge, so the bridge must exist."""
    HOST_ADDRESS = auto()
    TUNNEL = auto()
    """A tunnel is a port of the bridge."""
    FORWARDING = auto()
    PORT_BINDING = auto()
    """What a port may send, before it exists; and until it is gone."""
    SANDBOX_LINK = auto()
    BRIDGE_PORT = auto()
    """Before anything else of the link: until then the port is down."""
    HAIRPIN = auto()
    SANDBOX_SYSCTL = auto()
    """Before the address: with accept_dad off it is usable at once."""
    SANDBOX_ADDRESS = auto()
    LINK_UP = auto()
    SANDBOX_NEIGHBOR = auto()
    ROUTE = auto()
    HOST_NEIGHBOR = auto()
    FIREWALL_ELEMENT = auto()
    HOSTS_LINES = auto()
    ANNOUNCEMENT = auto()
    """Last, because neighbours send to the address from then on."""
    LEAVING = auto()
    """Nothing is created then. A pair is taken off its bridge before anything that bound or knew it is deleted."""


class Subsystem(Enum):
    """What carries out the creation and deletion of an object."""

    LINKS = "rtnetlink: links, and the flags of bridge ports"
    STACK = "rtnetlink and /proc/sys: sysctls, addresses, neighbours, routes of one namespace"
    XFRM = "xfrm netlink"
    NFTABLES = "one nftables transaction"
    GUARD = "the guard table, by the socket that owns it"
    FILES = "files of sandboxes"
    PACKETS = "frames sent over a link"


@dataclass(frozen=True, slots=True)
class Lane:
    """A subsystem in one namespace. Neighbouring steps of one lane are carried out as one batch."""

    subsystem: Subsystem
    sandbox_id: SandboxId | None = HOST


HOST_LINKS = Lane(Subsystem.LINKS)


class _HasLane(Protocol):
    @property
    def lane(self) -> Lane: ...


class _HasOrder(Protocol):
    @property
    def order(self) -> Order: ...


class Kind:
    """What holds for a kind of object that does not say otherwise. Holds no state.

    Each kind also has `order`, `lane` and `describe`, as class variables where they are the same for all its objects.
    """

    __slots__ = ()

    @property
    def creation_lane(self: _HasLane) -> Lane:
        """The lane that the object is created in, where that is not the one that it is deleted in."""
        return self.lane

    @property
    def deletion_order(self: _HasOrder) -> Order:
        """When the object is deleted: the last first. The order of its creation, where it does not say otherwise."""
        return self.order

    def links(self) -> tuple[LinkReference, ...]:
        """Return the links that go when the object is deleted."""
        return ()

    def goes_with(self, links: Collection[LinkReference]) -> bool:
        """Return whether the object needs no deletion when *links* go: the kernel does it, or there is nothing to delete."""
        return False


def where(sandbox_id: SandboxId | None) -> str:
    """Return the end of a description: in which sandbox the object is."""
    return "" if sandbox_id is HOST else f" in {sandbox_id[:12]}"


def joined(fields: tuple[Scalar, ...]) -> str:
    """Return the fields of a key or datum as nft writes them."""
    return " . ".join(map(str, fields))
