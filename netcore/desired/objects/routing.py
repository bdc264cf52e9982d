"""Where packets go: addresses, neighbours, routes, and the forwarding entries of a tunnel."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import ClassVar

from netcore.default_route import DefaultRoute
from netcore.desired.objects.kind import HOST, HOST_LINKS, Key, Kind, Lane, LinkReference, Order, Subsystem, where
from netcore.model import IPAddress, IPInterface, IPNetwork, SandboxId

DEFAULT4 = IPv4Network("0.0.0.0/0")
DEFAULT6 = IPv6Network("::/0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address(Kind):
    """An address of a link, with its prefix length."""

    sandbox_id: SandboxId | None
    ifname: str
    interface: IPInterface

    @property
    def order(self) -> Order:
        return Order.HOST_ADDRESS if self.sandbox_id is HOST else Order.SANDBOX_ADDRESS

    @property
    def lane(self) -> Lane:
        return Lane(Subsystem.STACK, self.sandbox_id)

    @property
    def key(self) -> Key:
        return ("address", self.sandbox_id, self.ifname, str(self.interface))

    def goes_with(self, links: Collection[LinkReference]) -> bool:
        return (self.sandbox_id, self.ifname) in links

    def describe(self) -> str:
        return f"address {self.interface} dev {self.ifname}{where(self.sandbox_id)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbor(Kind):
    """A permanent neighbour: exempt from the table's bound of 1,024, and not to be changed by ARP or ND."""

    sandbox_id: SandboxId | None
    ifname: str
    address: IPAddress
    mac: str

    @property
    def order(self) -> Order:
        return Order.HOST_NEIGHBOR if self.sandbox_id is HOST else Order.SANDBOX_NEIGHBOR

    @property
    def lane(self) -> Lane:
        return Lane(Subsystem.STACK, self.sandbox_id)

    @property
    def key(self) -> Key:
        return ("neighbor", self.sandbox_id, self.ifname, str(self.address))

    def goes_with(self, links: Collection[LinkReference]) -> bool:
        return (self.sandbox_id, self.ifname) in links

    def describe(self) -> str:
        return f"neighbor {self.address} lladdr {self.mac} dev {self.ifname} permanent{where(self.sandbox_id)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route(Kind):
    """A route; its key has no next hop, so that a change is one atomic replace. *gateway* None: all of it is on the link."""

    sandbox_id: SandboxId | None
    destination: IPNetwork
    gateway: IPAddress | None
    ifname: str
    order: ClassVar[Order] = Order.ROUTE

    @property
    def lane(self) -> Lane:
        return Lane(Subsystem.STACK, self.sandbox_id)

    @property
    def key(self) -> Key:
        return ("route", self.sandbox_id, str(self.destination))

    def goes_with(self, links: Collection[LinkReference]) -> bool:
        return (self.sandbox_id, self.ifname) in links

    def describe(self) -> str:
        via = f" via {self.gateway}" if self.gateway is not None else ""
        return f"route {self.destination}{via} dev {self.ifname}{where(self.sandbox_id)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnDefaultRoute(Kind):
    """A default route that an adopted namespace has by itself, where it has to make way for ours, or to come back."""

    sandbox_id: SandboxId | None
    route: DefaultRoute
    order: ClassVar[Order] = Order.ROUTE

    @property
    def lane(self) -> Lane:
        return Lane(Subsystem.STACK, self.sandbox_id)

    @property
    def key(self) -> Key:
        return ("own default route", self.sandbox_id, self.route.message)

    def describe(self) -> str:
        return f"{self.route.describe()}{where(self.sandbox_id)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarding(Kind):
    """Frames for *mac* go by the tunnel *ifname* to the host at *vtep*: an FDB entry of the bridge and one of the tunnel."""

    ifname: str
    mac: str
    vtep: IPAddress
    order: ClassVar[Order] = Order.FORWARDING
    lane: ClassVar[Lane] = HOST_LINKS

    @property
    def key(self) -> Key:
        return ("forwarding", self.ifname, self.mac)

    def goes_with(self, links: Collection[LinkReference]) -> bool:
        return (HOST, self.ifname) in links

    def describe(self) -> str:
        return f"fdb {self.mac} dev {self.ifname} dst {self.vtep} static"
