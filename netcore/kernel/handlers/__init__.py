"""The one table of how kernel objects are created, deleted and observed: kind → handler.

`apply` and `observe` look their handlers up here; a unit test holds that every kind has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netcore.desired.objects import (
    Address,
    Announcement,
    Bridge,
    BridgePort,
    DummyLink,
    Element,
    EspBlock,
    EspPolicy,
    EspState,
    Forwarding,
    GuardedLink,
    GuardedPort,
    Hairpin,
    HostsLines,
    Ipvlan,
    KernelObject,
    LinkUp,
    Macvlan,
    MovedLink,
    Neighbor,
    OwnDefaultRoute,
    Route,
    Sysctl,
    TapLink,
    Veth,
    VethPeer,
    VlanLink,
    VxlanLink,
)
from netcore.kernel.handlers import announcements, elements, esp, files, guarded, links, routing, sysctls, taps
from netcore.kernel.handlers.handler import Handler

HANDLERS: Mapping[type[KernelObject], Handler[Any, Any]] = {
    Bridge: links.BRIDGE,
    VlanLink: links.VLAN,
    DummyLink: links.DUMMY,
    VxlanLink: links.VXLAN,
    Veth: links.VETH,
    VethPeer: links.VETH_PEER,
    TapLink: taps.TAP,
    Macvlan: links.MACVLAN,
    Ipvlan: links.IPVLAN,
    MovedLink: links.MOVED,
    LinkUp: links.LINK_UP,
    BridgePort: links.BRIDGE_PORT,
    Hairpin: links.HAIRPIN,
    Sysctl: sysctls.SYSCTL,
    Address: routing.ADDRESS,
    Neighbor: routing.NEIGHBOR,
    Route: routing.ROUTE,
    OwnDefaultRoute: routing.OWN_DEFAULT_ROUTE,
    Forwarding: routing.FORWARDING,
    EspState: esp.STATE,
    EspPolicy: esp.POLICY,
    EspBlock: esp.BLOCK,
    GuardedLink: guarded.GUARDED_LINK,
    GuardedPort: guarded.GUARDED_PORT,
    Element: elements.ELEMENT,
    HostsLines: files.HOSTS_LINES,
    Announcement: announcements.ANNOUNCEMENT,
}


def handler_of(kernel_object: KernelObject) -> Handler[Any, Any]:
    """Return the handler of an object's kind."""
    return HANDLERS[type(kernel_object)]
