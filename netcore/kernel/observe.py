"""Which of the desired objects the kernel has now: the "before" of the diff at a start. Blocking; reads only.

Objects that are cheap to set again (switches, flags) are reported as absent and so are written once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from netcore.desired.objects import (
    HOST,
    Address,
    Announcement,
    Bridge,
    DummyLink,
    Ipvlan,
    KernelObject,
    LinkUp,
    Macvlan,
    MovedLink,
    Neighbor,
    Route,
    Veth,
    VlanLink,
    VxlanLink,
)
from netcore.errors import NetcoreError
from netcore.kernel import netns, rtnl
from netcore.kernel.netlink import ROUTE, NetlinkSocket
from netcore.model import IPAddress, IPInterface, IPNetwork, NetnsPath, SandboxId


@dataclass(frozen=True, slots=True)
class _View:
    """What one namespace holds, by link name."""

    links: Mapping[str, rtnl.Link]
    names: Mapping[int, str]
    addresses: frozenset[tuple[str, IPInterface]]
    routes: frozenset[tuple[str, IPNetwork, IPAddress | None]]
    neighbors: frozenset[tuple[str, IPAddress, str]]


def observe(desired: Iterable[KernelObject], netns_path: Callable[[SandboxId], NetnsPath]) -> tuple[KernelObject, ...]:
    """Return those of *desired* that exist as they should."""
    views: dict[SandboxId | None, _View | None] = {HOST: _look()}

    def view(where: SandboxId | None) -> _View | None:
        if where is not None and where not in views:
            try:
                with netns.opened(netns_path(where)) as descriptor:
                    views[where] = netns.run_inside(descriptor, _look)
            except NetcoreError:
                views[where] = None
        return views[where]

    return tuple(item for item in desired if _exists(item, view))


def _look() -> _View:
    with NetlinkSocket(ROUTE) as netlink:
        links = {link.name: link for link in rtnl.links(netlink)}
        names = {link.index: name for name, link in links.items()}
        return _View(
            links,
            names,
            frozenset((names.get(index, ""), item) for index, item in rtnl.addresses(netlink)),
            frozenset((names.get(index, ""), destination, hop) for index, destination, hop in rtnl.routes(netlink)),
            frozenset((names.get(index, ""), address, mac) for index, address, mac in rtnl.neighbors(netlink)),
        )


def _exists(item: KernelObject, view: Callable[[SandboxId | None], _View | None]) -> bool:
    host = view(HOST)
    assert host is not None
    match item:
        case Announcement():
            return True
        case Bridge():
            link = host.links.get(item.name)
            return link is not None and link.kind == "bridge" and link.up and (item.reused or link.alias == item.tag)
        case VlanLink() | DummyLink() | VxlanLink():
            link = host.links.get(item.name)
            return link is not None and link.up
        case Macvlan() | Ipvlan() | MovedLink():
            inside = view(item.sandbox_id)
            return inside is not None and item.ifname in inside.links
        case Veth():
            link, inside = host.links.get(item.host_ifname), view(item.sandbox_id)
            return link is not None and host.names.get(link.master) == item.bridge and inside is not None and item.ifname in inside.links
        case Address() | LinkUp() | Neighbor() | Route():
            there = view(item.sandbox_id)
            return there is not None and _exists_in(item, there)
        case _:
            return False


def _exists_in(item: Address | LinkUp | Neighbor | Route, view: _View) -> bool:
    match item:
        case Address():
            return (item.ifname, item.interface) in view.addresses
        case LinkUp():
            return item.ifname in view.links and view.links[item.ifname].up
        case Neighbor():
            return (item.ifname, item.address, item.mac) in view.neighbors
        case Route():
            return (item.ifname, item.destination, item.gateway) in view.routes
