"""Links, and the flags that are set on them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from netcore.desired.objects.kind import HOST, HOST_LINKS, Key, Kind, Lane, LinkReference, Order, Subsystem, where
from netcore.model import IPAddress, SandboxId


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge(Kind):
    """A bridge of ours on the host, up. *reused*: it was there before us and stays."""

    name: str
    mac: str
    mtu: int
    tag: str
    reused: bool = False
    order: ClassVar[Order] = Order.HOST_LINK
    lane: ClassVar[Lane] = HOST_LINKS

    @property
    def key(self) -> Key:
        return ("link", HOST, self.name)

    def links(self) -> tuple[LinkReference, ...]:
        return () if self.reused else ((HOST, self.name),)

    def describe(self) -> str:
        return f"link {self.name} type bridge address {self.mac} mtu {self.mtu}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VlanLink(Kind):
    """802.1Q link of VLAN *vid* over *base* on the host, up. One with our *tag* is taken as it is."""

    name: str
    base: str
    vid: int
    tag: str
    order: ClassVar[Order] = Order.HOST_LINK
    lane: ClassVar[Lane] = HOST_LINKS

    @property
    def key(self) -> Key:
        return ("link", HOST, self.name)

    def links(self) -> tuple[LinkReference, ...]:
        return ((HOST, self.name),)

    def describe(self) -> str:
        return f"link {self.name} type vlan id {self.vid} link {self.base}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DummyLink(Kind):
    """A link of the host that leads nowhere, up."""

    name: str
    mtu: int
    tag: str
    order: ClassVar[Order] = Order.HOST_LINK
    lane: ClassVar[Lane] = HOST_LINKS

    @property
    def key(self) -> Key:
        return ("link", HOST, self.name)

    def links(self) -> tuple[LinkReference, ...]:
        return ((HOST, self.name),)

    def describe(self) -> str:
        return f"link {self.name} type dummy mtu {self.mtu}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VxlanLink(Kind):
    """A tunnel to other hosts as a port of *bridge*, up. It neither learns nor floods: the bridge answers ARP and ND itself."""

    name: str
    vni: int
    port: int
    local: IPAddress
    bridge: str
    mtu: int
    tag: str
    order: ClassVar[Order] = Order.TUNNEL
    lane: ClassVar[Lane] = HOST_LINKS

    @property
    def key(self) -> Key:
        return ("link", HOST, self.name)

    def links(self) -> tuple[LinkReference, ...]:
        return ((HOST, self.name),)

    def describe(self) -> str:
        return f"link {self.name} type vxlan id {self.vni} dstport {self.port} local {self.local} master {self.bridge} mtu {self.mtu}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Veth(Kind):
    """A pair: host end on *bridge*, sandbox end created in place in the sandbox. Both are down; see `BridgePort`, `LinkUp`."""

    host_ifname: str
    sandbox_id: SandboxId
    ifname: str
    mac: str
    mtu: int
    bridge: str
    order: ClassVar[Order] = Order.SANDBOX_LINK
    deletion_order: ClassVar[Order] = Order.LEAVING
    lane: ClassVar[Lane] = HOST_LINKS

    @property
    def key(self) -> Key:
        return ("link", HOST, self.host_ifname)

    def links(self) -> tuple[LinkReference, ...]:
        return ((HOST, self.host_ifname), (self.sandbox_id, self.ifname))

    def describe(self) -> str:
        return (
            f"link {self.host_ifname} type veth master {self.bridge} mtu {self.mtu}"
            f" peer {self.ifname} address {self.mac}{where(self.sandbox_id)}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TapLink(Kind):
    """A persistent tap of the host on *bridge*, still down; see `BridgePort`. *owner*, *group*: who may open it, by number."""

    host_ifname: str
    owner: int | None
    group: int | None
    mtu: int
    bridge: str
    tag: str
    order: ClassVar[Order] = Order.SANDBOX_LINK
    deletion_order: ClassVar[Order] = Order.LEAVING
    lane: ClassVar[Lane] = HOST_LINKS

    @property
    def key(self) -> Key:
        return ("link", HOST, self.host_ifname)

    def links(self) -> tuple[LinkReference, ...]:
        return ((HOST, self.host_ifname),)

    def describe(self) -> str:
        owner = "".join(f" {kind} {number}" for kind, number in (("user", self.owner), ("group", self.group)) if number is not None)
        return f"link {self.host_ifname} type tap{owner} master {self.bridge} mtu {self.mtu}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VethPeer(Kind):
    """The sandbox's end of a `Veth`, with its name, MAC and MTU. It is made with the pair; the sandbox's own root can change it."""

    host_ifname: str
    sandbox_id: SandboxId
    ifname: str
    mac: str
    mtu: int
    order: ClassVar[Order] = Order.SANDBOX_LINK
    creation_lane: ClassVar[Lane] = HOST_LINKS
    """With the pair, and before anything that is in the sandbox."""

    @property
    def lane(self) -> Lane:
        return Lane(Subsystem.STACK, self.sandbox_id)

    @property
    def key(self) -> Key:
        return ("peer", self.sandbox_id, self.ifname)

    def goes_with(self, links: Collection[LinkReference]) -> bool:
        return (self.sandbox_id, self.ifname) in links

    def describe(self) -> str:
        return f"link {self.ifname} type veth peer {self.host_ifname} address {self.mac} mtu {self.mtu}{where(self.sandbox_id)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgePort(Kind):
    """A sandbox's port of a bridge, up. The bridge learns nothing from it, and knows *mac* as the one that is there.

    *router*: it may say that it is a router for multicast.
    """

    host_ifname: str
    mac: str
    router: bool = False
    order: ClassVar[Order] = Order.BRIDGE_PORT
    lane: ClassVar[Lane] = HOST_LINKS

    @property
    def key(self) -> Key:
        return ("port", HOST, self.host_ifname)

    def goes_with(self, links: Collection[LinkReference]) -> bool:
        return (HOST, self.host_ifname) in links

    def describe(self) -> str:
        return f"bridge port {self.host_ifname} up learning off fdb {self.mac} static sticky{' mcast_router' if self.router else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Macvlan(Kind):
    """A sub-interface of the host's link *parent* in a sandbox, still down. *mac* "": the kernel chooses."""

    sandbox_id: SandboxId
    ifname: str
    parent: str
    mode: str
    mac: str
    mtu: int
    order: ClassVar[Order] = Order.SANDBOX_LINK
    creation_lane: ClassVar[Lane] = HOST_LINKS
    """It is made from the host, where the parent is."""

    @property
    def lane(self) -> Lane:
        return Lane(Subsystem.STACK, self.sandbox_id)

    @property
    def key(self) -> Key:
        return ("link", self.sandbox_id, self.ifname)

    def links(self) -> tuple[LinkReference, ...]:
        return ((self.sandbox_id, self.ifname),)

    def describe(self) -> str:
        address = f" address {self.mac}" if self.mac else ""
        return f"link {self.ifname} type macvlan mode {self.mode} link {self.parent}{address} mtu {self.mtu}{where(self.sandbox_id)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ipvlan(Kind):
    """A sub-interface of the host's link *parent* in a sandbox, with the parent's MAC, still down."""

    sandbox_id: SandboxId
    ifname: str
    parent: str
    mode: str
    flag: str
    mtu: int
    order: ClassVar[Order] = Order.SANDBOX_LINK
    creation_lane: ClassVar[Lane] = HOST_LINKS
    """It is made from the host, where the parent is."""

    @property
    def lane(self) -> Lane:
        return Lane(Subsystem.STACK, self.sandbox_id)

    @property
    def key(self) -> Key:
        return ("link", self.sandbox_id, self.ifname)

    def links(self) -> tuple[LinkReference, ...]:
        return ((self.sandbox_id, self.ifname),)

    def describe(self) -> str:
        return f"link {self.ifname} type ipvlan mode {self.mode} {self.flag} link {self.parent} mtu {self.mtu}{where(self.sandbox_id)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedLink(Kind):
    """A link that somebody made on the host as *source*, moved into a sandbox, still down. Deleting it moves it back."""

    sandbox_id: SandboxId
    ifname: str
    source: str
    mac: str
    order: ClassVar[Order] = Order.SANDBOX_LINK
    creation_lane: ClassVar[Lane] = HOST_LINKS
    """It is on the host until then."""

    @property
    def lane(self) -> Lane:
        return Lane(Subsystem.STACK, self.sandbox_id)

    @property
    def key(self) -> Key:
        return ("link", self.sandbox_id, self.ifname)

    def links(self) -> tuple[LinkReference, ...]:
        return ((self.sandbox_id, self.ifname),)

    def describe(self) -> str:
        return f"link {self.source} moved to {self.ifname}{where(self.sandbox_id)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkUp(Kind):
    """The sandbox end is up. Apart from `Veth`, because addresses and sysctls come first."""

    sandbox_id: SandboxId
    ifname: str
    order: ClassVar[Order] = Order.LINK_UP

    @property
    def lane(self) -> Lane:
        return Lane(Subsystem.STACK, self.sandbox_id)

    @property
    def key(self) -> Key:
        return ("up", self.sandbox_id, self.ifname)

    def goes_with(self, links: Collection[LinkReference]) -> bool:
        return (self.sandbox_id, self.ifname) in links

    def describe(self) -> str:
        return f"link {self.ifname} up{where(self.sandbox_id)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hairpin(Kind):
    """The flag of a bridge port that lets a frame leave by the port it came in: needed while it publishes ports."""

    host_ifname: str
    order: ClassVar[Order] = Order.HAIRPIN
    lane: ClassVar[Lane] = HOST_LINKS

    @property
    def key(self) -> Key:
        return ("hairpin", HOST, self.host_ifname)

    def goes_with(self, links: Collection[LinkReference]) -> bool:
        return (HOST, self.host_ifname) in links

    def describe(self) -> str:
        return f"bridge port {self.host_ifname} hairpin on"


HostLink = Bridge | VlanLink | DummyLink | VxlanLink
"""Links that stay on the host."""

SandboxLink = Macvlan | Ipvlan | MovedLink
"""Links in a sandbox that have no other end of ours on the host."""
