"""Kernel objects that must exist: frozen values with a key that is a name, never an ifindex. Pure.

A driver says which objects must exist; `diff` turns two sets of them into steps; `kernel.apply` carries steps out.
*sandbox_id* says in whose namespace an object is; HOST is the host itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from netcore.model import IPAddress, IPInterface, IPNetwork, SandboxId

HOST = None
DEFAULT4 = IPv4Network("0.0.0.0/0")
DEFAULT6 = IPv6Network("::/0")

Key = tuple[str | None, ...]
"""What tells an object from all others: its kind, where it is, its name there."""

Scalar = str | int | IPAddress
"""One field of a firewall key or datum: link name or MAC (str), port (int), protocol name (str), address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl:
    """A file under /proc/sys. Deleting it does nothing: what it governs goes with its link, or must stay for others."""

    sandbox_id: SandboxId | None
    path: str
    value: str
    optional: bool = False

    @property
    def key(self) -> Key:
        return ("sysctl", self.sandbox_id, self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """A bridge of ours on the host, up. *reused*: it was there before us and stays."""

    name: str
    mac: str
    mtu: int
    tag: str
    reused: bool = False

    @property
    def key(self) -> Key:
        return ("link", HOST, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Veth:
    """A pair: host end on *bridge* and up, sandbox end created in place in the sandbox, still down."""

    host_ifname: str
    sandbox_id: SandboxId
    ifname: str
    mac: str
    mtu: int
    bridge: str

    @property
    def key(self) -> Key:
        return ("link", HOST, self.host_ifname)


@dataclass(frozen=True, slots=True, kw_only=True)
class VlanLink:
    """802.1Q link of VLAN *vid* over *base* on the host, up. One with our *tag* is taken as it is."""

    name: str
    base: str
    vid: int
    tag: str

    @property
    def key(self) -> Key:
        return ("link", HOST, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class DummyLink:
    """A link of the host that leads nowhere, up."""

    name: str
    mtu: int
    tag: str

    @property
    def key(self) -> Key:
        return ("link", HOST, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class VxlanLink:
    """A tunnel to other hosts as port of *bridge*, up. It neither learns nor floods: ARP and ND are answered by the bridge."""

    name: str
    vni: int
    port: int
    local: IPAddress
    bridge: str
    mtu: int
    tag: str

    @property
    def key(self) -> Key:
        return ("link", HOST, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarding:
    """Frames for *mac* go by the tunnel *ifname* to the host at *vtep*: an FDB entry of the bridge and one of the tunnel."""

    ifname: str
    mac: str
    vtep: IPAddress

    @property
    def key(self) -> Key:
        return ("forwarding", self.ifname, self.mac)


@dataclass(frozen=True, slots=True, kw_only=True)
class EspState:
    """An IPsec security association between hosts. *key_material*: 20 octets as hexadecimal digits, never shown."""

    source: IPAddress
    target: IPAddress
    spi: int
    key_material: str
    request_id: int

    @property
    def key(self) -> Key:
        return ("esp", str(self.source), str(self.target), str(self.spi))


@dataclass(frozen=True, slots=True, kw_only=True)
class EspPolicy:
    """UDP from *source* to *port* of *target* goes, or comes, by ESP only."""

    source: IPAddress
    target: IPAddress
    port: int
    outgoing: bool
    request_id: int

    @property
    def key(self) -> Key:
        return ("esp-policy", str(self.outgoing), str(self.source), str(self.target), str(self.port))


@dataclass(frozen=True, slots=True, kw_only=True)
class EspBlock:
    """UDP between *own* and *port* of whoever goes, or comes, only where an `EspPolicy` lets it."""

    own: IPAddress
    port: int
    outgoing: bool

    @property
    def key(self) -> Key:
        return ("esp-block", str(self.outgoing), str(self.own), str(self.port))


@dataclass(frozen=True, slots=True, kw_only=True)
class Macvlan:
    """A slice of the host's link *parent* in a sandbox, still down. *mac* "": as the kernel says."""

    sandbox_id: SandboxId
    ifname: str
    parent: str
    mode: str
    mac: str
    mtu: int

    @property
    def key(self) -> Key:
        return ("link", self.sandbox_id, self.ifname)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ipvlan:
    """A slice of the host's link *parent* in a sandbox, with the parent's MAC, still down."""

    sandbox_id: SandboxId
    ifname: str
    parent: str
    mode: str
    flag: str
    mtu: int

    @property
    def key(self) -> Key:
        return ("link", self.sandbox_id, self.ifname)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hairpin:
    """The flag of a bridge port that lets a frame leave by the port it came in: needed while it publishes ports."""

    host_ifname: str

    @property
    def key(self) -> Key:
        return ("hairpin", HOST, self.host_ifname)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    sandbox_id: SandboxId | None
    ifname: str
    interface: IPInterface

    @property
    def key(self) -> Key:
        return ("address", self.sandbox_id, self.ifname, str(self.interface))


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkUp:
    """The sandbox end is up. Apart from `Veth`, because addresses and sysctls come first."""

    sandbox_id: SandboxId
    ifname: str

    @property
    def key(self) -> Key:
        return ("up", self.sandbox_id, self.ifname)


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbor:
    """A permanent neighbour: exempt from the table's bound of 1,024, and not to be changed by ARP or ND."""

    sandbox_id: SandboxId | None
    ifname: str
    address: IPAddress
    mac: str

    @property
    def key(self) -> Key:
        return ("neighbor", self.sandbox_id, self.ifname, str(self.address))


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route; its key has no next hop, so that a change is one atomic replace. *gateway* None: all of it is on the link."""

    sandbox_id: SandboxId | None
    destination: IPNetwork
    gateway: IPAddress | None
    ifname: str

    @property
    def key(self) -> Key:
        return ("route", self.sandbox_id, str(self.destination))


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """One element of a set or map in our firewall tables."""

    table: str
    set: str
    fields: tuple[Scalar, ...]
    data: tuple[Scalar, ...] = ()

    @property
    def key(self) -> Key:
        return ("element", self.table, self.set, *map(str, self.fields))


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """Gratuitous ARP and unsolicited NA for a fresh address, sent once the bridge port *port* forwards, if there is one.

    Deleting it does nothing.
    """

    sandbox_id: SandboxId
    ifname: str
    port: str
    mac: str
    addresses: tuple[IPAddress, ...]
    count: int
    interval: float

    @property
    def key(self) -> Key:
        return ("announcement", self.sandbox_id, self.ifname)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostsLines:
    """Our lines in the hosts file of a sandbox."""

    path: str
    lines: tuple[str, ...]

    @property
    def key(self) -> Key:
        return ("hosts", self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedLink:
    """A link that somebody made on the host as *source*, moved into a sandbox, still down. Deleting it moves it back."""

    sandbox_id: SandboxId
    ifname: str
    source: str
    mac: str

    @property
    def key(self) -> Key:
        return ("link", self.sandbox_id, self.ifname)


HostLink = Bridge | VlanLink | DummyLink | VxlanLink
"""Links that stay on the host."""

SandboxLink = Macvlan | Ipvlan | MovedLink
"""Links in a sandbox that have no other end of ours on the host."""

LinkPart = Address | LinkUp | Neighbor | Hairpin | Forwarding
"""What belongs to one link, and goes with it."""

Esp = EspState | EspPolicy | EspBlock
"""What encrypts traffic between hosts."""

KernelObject = Sysctl | HostLink | Esp | Veth | SandboxLink | LinkPart | Route | Element | Announcement | HostsLines
