"""Kernel objects that must exist: frozen values with a key that is a name, never an ifindex. Pure.

A driver says which objects must exist; `diff` turns two sets of them into steps; `kernel.apply` carries steps out, with
the handler that `kernel.handlers` has for each kind. *sandbox_id* says in whose namespace an object is; HOST is the host
itself. A new kind is one class in a module of this folder, one entry in `KernelObject`, and one handler.
"""

from __future__ import annotations

from netcore.desired.objects.announcements import Announcement
from netcore.desired.objects.elements import Element, FirewallSet
from netcore.desired.objects.esp import Esp, EspBlock, EspPolicy, EspState
from netcore.desired.objects.files import HostsLines
from netcore.desired.objects.guarded import GuardedLink, GuardedPort
from netcore.desired.objects.kind import HOST, Key, Lane, LinkReference, Order, Scalar, Subsystem
from netcore.desired.objects.links import (
    Bridge,
    BridgePort,
    DummyLink,
    Hairpin,
    HostLink,
    Ipvlan,
    LinkUp,
    Macvlan,
    MovedLink,
    SandboxLink,
    TapLink,
    Veth,
    VethPeer,
    VlanLink,
    VxlanLink,
)
from netcore.desired.objects.routing import DEFAULT4, DEFAULT6, Address, Forwarding, Neighbor, OwnDefaultRoute, Route
from netcore.desired.objects.sysctls import Sysctl

__all__ = [
    "DEFAULT4",
    "DEFAULT6",
    "HOST",
    "Address",
    "Announcement",
    "Bridge",
    "BridgePort",
    "DummyLink",
    "Element",
    "Esp",
    "EspBlock",
    "EspPolicy",
    "EspState",
    "FirewallSet",
    "Forwarding",
    "GuardedLink",
    "GuardedPort",
    "Hairpin",
    "HostLink",
    "HostsLines",
    "Ipvlan",
    "KernelObject",
    "Key",
    "Lane",
    "LinkReference",
    "LinkUp",
    "Macvlan",
    "MovedLink",
    "Neighbor",
    "Order",
    "OwnDefaultRoute",
    "Route",
    "SandboxLink",
    "Scalar",
    "Subsystem",
    "Sysctl",
    "TapLink",
    "Veth",
    "VethPeer",
    "VlanLink",
    "VxlanLink",
]

LinkPart = VethPeer | LinkUp | BridgePort | Hairpin | Address | Neighbor | Route | Forwarding
"""What belongs to one link, and goes with it."""

KernelObject = (
    Sysctl
    | HostLink
    | Veth
    | TapLink
    | SandboxLink
    | LinkPart
    | OwnDefaultRoute
    | Esp
    | GuardedLink
    | GuardedPort
    | Element
    | Announcement
    | HostsLines
)
