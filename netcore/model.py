"""The values of the field: networks, sandboxes, endpoints, published ports. Frozen, validated by their makers, no I/O.

sandbox  = one network stack (a netns with its hosts, resolv.conf and hostname files)
endpoint = one attachment of a sandbox to one network
network  = endpoints that reach each other, with a driver, pools and a zone
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Literal, NewType

from netcore.common_options import CommonOptions
from netcore.default_route import DefaultRoute
from netcore.dns_settings import DnsSettings
from netcore.health import Health, HealthCheck
from netcore.isolation import Isolation
from netcore.tap import Tap

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network

NetworkId = NewType("NetworkId", str)
SandboxId = NewType("SandboxId", str)
NetnsPath = NewType("NetnsPath", str)
"""Path of a file that a network namespace is mounted on."""

DEFAULT_BRIDGE = "bridge"
DNS_PORT = 53
"""Where berth's resolver answers at the gateway addresses of networks (RFC 1035 section 4.2)."""
GATEWAY_BRIDGE = "berth_gwbridge"
"""Where sandboxes get a way outside whose networks are of plugins and give none (rule GW-9)."""


class GatewayMode(StrEnum):
    """How a bridge network meets the outside, per family (rule BR-7)."""

    NAT = "nat"
    NAT_UNPROTECTED = "nat-unprotected"
    ROUTED = "routed"
    ISOLATED = "isolated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A process that a sandbox lives with, or that was started in it. *start_time* (clock ticks, /proc/PID/stat field 22) tells
    another process with the same pid apart.
    """

    pid: int
    start_time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """One subnet of a network. *gateway* None: the network has none in this family. *identity*: an IPAM plugin's PoolID."""

    subnet: IPNetwork
    ip_range: IPNetwork | None = None
    gateway: IPAddress | None = None
    auxiliary: tuple[tuple[str, IPAddress], ...] = ()
    identity: str | None = None

    def reserved(self) -> tuple[IPAddress, ...]:
        """Return the addresses that are never handed out to endpoints: the auxiliary ones and the gateway."""
        return (*(address for _, address in self.auxiliary), *(() if self.gateway is None else (self.gateway,)))


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginIpam:
    """The IPAM plugin that a network's addresses come from. *needs_mac*, *needs_replay*: as it says (rule RM-4)."""

    plugin: str
    space: str
    options: tuple[tuple[str, str], ...] = ()
    needs_mac: bool = False
    needs_replay: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VxlanOptions:
    """What makes a bridge one of many: the VXLAN between hosts (rule OV-1)."""

    vni: int
    port: int = 4789
    encrypted: bool = False

    @property
    def ifname(self) -> str:
        """The tunnel's link on each host."""
        return f"vx-{self.vni}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostAccess:
    """Which services of the host sandboxes reach: *everything*, or *ports* (protocol, number) alone."""

    everything: bool = False
    ports: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeOptions:
    """What `--opt` says of a bridge network; names in rule BR-1. *vxlan*: of an overlay, a bridge on each host.

    *host_access*, *allow_unknown_ports* None: as it follows from the rest, see `desired.host_rules`.
    """

    kind: Literal["bridge"] = "bridge"
    bridge_name: str
    bridge_mac: str
    reuse_bridge: bool = False
    icc: bool = True
    masquerade: bool = True
    host_binding: tuple[IPAddress, ...] = ()
    gateway_mode_ipv4: GatewayMode = GatewayMode.NAT
    gateway_mode_ipv6: GatewayMode = GatewayMode.NAT
    inhibit_ipv4: bool = False
    trusted_interfaces: tuple[str, ...] = ()
    snat_ipv4: IPv4Address | None = None
    snat_ipv6: IPv6Address | None = None
    vxlan: VxlanOptions | None = None
    host_access: HostAccess | None = None
    allow_unknown_ports: bool | None = None


class MadeLink(StrEnum):
    """The link that a network makes on the host to have a parent; it is removed with the last network on it."""

    NOTHING = ""
    VLAN = "vlan"
    DUMMY = "dummy"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentOptions:
    """What `--opt` says of a macvlan or ipvlan network (rules MV-1..MV-6, IV-1..IV-3).

    *parent*: link of the host that the sandboxes' links are sub-interfaces of; *flag*: of ipvlan only. With *makes* VLAN
    the parent is VLAN *vid* of *base*.
    """

    kind: Literal["parent"] = "parent"
    parent: str
    mode: str
    flag: str = ""
    makes: MadeLink = MadeLink.NOTHING
    base: str = ""
    vid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginOptions:
    """A network that a third-party plugin makes. *scope*: as it says. *no_gateway4*, *no_gateway6*: it wants none allocated."""

    kind: Literal["plugin"] = "plugin"
    plugin: str
    scope: str = "local"
    no_gateway4: bool = False
    no_gateway6: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomOptions:
    """What a driver from outside this tree keeps of a network: texts by name, which only that driver understands."""

    kind: Literal["custom"] = "custom"
    values: tuple[tuple[str, str], ...] = ()

    def __getitem__(self, name: str) -> str:
        """Return the value kept as *name*; KeyError if there is none."""
        return dict(self.values)[name]


DriverOptions = BridgeOptions | ParentOptions | PluginOptions | CustomOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticRoute:
    """A way to *destination* over *via*, a neighbour on the network that the route belongs to; None: it is on the link."""

    destination: IPNetwork
    via: IPAddress | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network as it exists. *options* are as the user gave them; *common* and *driver_options* are what they mean.

    *pools*: IPv4 first; of a bridge network at most one for each family. *egress*: rules of who joins without its own.
    """

    id: NetworkId
    name: str
    driver: str
    common: CommonOptions
    driver_options: DriverOptions
    internal: bool = False
    ipv4: bool = True
    ipv6: bool = False
    pools: tuple[Pool, ...] = ()
    ipam: PluginIpam | None = None
    options: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    routes: tuple[StaticRoute, ...] = ()
    owner: Owner | None = None
    created: float = 0.0
    egress: tuple[str, ...] | None = None

    @property
    def is_overlay(self) -> bool:
        """Whether it spans hosts."""
        return isinstance(self.driver_options, BridgeOptions) and self.driver_options.vxlan is not None

    @property
    def is_default_bridge(self) -> bool:
        """Whether it is Docker's predefined network `bridge`, where nobody has a name (rule DNS-41)."""
        return self.name == DEFAULT_BRIDGE

    @property
    def is_gateway_bridge(self) -> bool:
        """Whether it is the network that only gives a way outside."""
        return self.name == GATEWAY_BRIDGE

    @property
    def has_names(self) -> bool:
        """Whether its endpoints have names on it."""
        return not self.is_default_bridge and not self.is_gateway_bridge

    @property
    def bridge(self) -> BridgeOptions:
        """The options of a network whose driver is bridge."""
        assert isinstance(self.driver_options, BridgeOptions)
        return self.driver_options

    def pool(self, family: int) -> Pool | None:
        """Return the first pool of *family*, None if that is off."""
        return next((pool for pool in self.pools if pool.subnet.version == family), None)

    def pool_of(self, address: IPAddress) -> Pool | None:
        """Return the pool that *address* is in."""
        return next((pool for pool in self.pools if pool.subnet.version == address.version and address in pool.subnet), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PortMapping:
    """One published port, host port chosen. *host_address* None means every address of *family*, the host's family.

    *proxied*: of an endpoint's ports, those that the kernel's NAT can't carry: to an address of the other family, or
    from the host's ::1.
    """

    family: int
    protocol: str
    host_address: IPAddress | None
    host_port: int
    sandbox_port: int
    proxied: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PortRequest:
    """One `-p` as asked: equal-length ranges, or one sandbox port with a host range. Host range (0, 0) = any free port.

    *names*: of the services at the port, for SRV records.
    """

    host_address: IPAddress | None
    host_first: int
    host_last: int
    sandbox_first: int
    sandbox_last: int
    protocol: str
    text: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointRequest:
    """What a connect asks for. *link_local*: more addresses of the link, which are nobody's to hand out.

    *tap*: the link is one, called *ifname*; the sandbox's namespace has none then.
    """

    network: str
    aliases: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    link_local: tuple[IPAddress, ...] = ()
    mac: str | None = None
    gateway_priority: int = 0
    ifname: str | None = None
    routes: tuple[str, ...] = ()
    driver_options: tuple[tuple[str, str], ...] = ()
    tap: Tap | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginAnswer:
    """What a network plugin has made for an endpoint. *link*: its name on the host. *wants_gateway*: one of ours would do (GW-9)."""

    link: str | None
    gateway4: IPAddress | None = None
    gateway6: IPAddress | None = None
    wants_gateway: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One attachment. Its key is (origin, network id, sandbox id, ifname). *link_local*: addresses without names.

    *tap*: its link is one of the host, called both *ifname* and *host_ifname*, and nothing of it is in the sandbox's namespace.
    """

    origin: str
    network_id: NetworkId
    sandbox_id: SandboxId
    ifname: str
    host_ifname: str
    mac: str
    ipv4: IPv4Interface | None
    ipv6: IPv6Interface | None
    link_local: tuple[IPInterface, ...] = ()
    aliases: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    gateway_priority: int = 0
    routes: tuple[StaticRoute, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    ports: tuple[PortMapping, ...] = ()
    answer: PluginAnswer | None = None
    tap: Tap | None = None

    @property
    def id(self) -> str:
        """What a plugin knows the endpoint by: 64 hexadecimal digits, as of a network."""
        return hashlib.sha256(f"{self.origin}/{self.network_id}/{self.sandbox_id}".encode()).hexdigest()

    def addresses(self) -> tuple[IPAddress, ...]:
        """Return the addresses without their prefix length, IPv4 first."""
        return tuple(interface.ip for interface in (self.ipv4, self.ipv6) if interface is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteEndpoint:
    """An endpoint of an overlay network on another host. *vtep*: where its host takes VXLAN.

    *names*: the one for PTR first. *ports*: (port, protocol) that it serves. *services*: (name, protocol, port) of those with a name.
    *unhealthy*: its health check fails.
    """

    id: str
    network_id: NetworkId
    node: str
    vtep: IPAddress
    mac: str
    addresses: tuple[IPAddress, ...]
    names: tuple[str, ...]
    ports: tuple[tuple[int, str], ...] = ()
    services: tuple[tuple[str, str, int], ...] = ()
    unhealthy: bool = False


class Stack(StrEnum):
    """Whose network stack a sandbox has."""

    OWN = "own"
    NONE = "none"
    HOST = "host"
    SHARED = "container"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """One network stack under our care. *adopted*: the netns is somebody else's; ours is only the pin at *netns_path*.

    *leader*: the process whose namespaces a further command enters: the one that berth started in it, or the one that an
    adopted namespace was attached by. *forwards*: it is a router between its networks. *own_routes*: default routes that the
    adopted namespace has by itself; with *replaces_routes* ours take their place while there are any, otherwise they stay.
    *own_sysctls*: (path, value) that an adopted namespace had of those that berth sets there.
    *shared_with*: id of the sandbox whose stack it has, with *stack* SHARED. *ended*: removed, but for its stack, which others share.
    *health*: None without a *health_check*. *egress*: its rules (`egress.read`), None: those of its networks, or the default.
    *follows*: the program whose namespaces it has, one after the other, as in `podman:web`. *persists*: it is made again after a reboot.
    """

    id: SandboxId
    name: str
    hostname: str
    netns_path: NetnsPath
    boot_id: str
    adopted: bool = False
    domainname: str = ""
    origin: str = "api"
    owner: Owner | None = None
    leader: Owner | None = None
    dns: DnsSettings = field(default_factory=DnsSettings)
    extra_hosts: tuple[str, ...] = ()
    port_requests: tuple[PortRequest, ...] = ()
    ports: tuple[PortMapping, ...] = ()
    exposed: tuple[str, ...] = ()
    publish_all: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    created: float = 0.0
    stack: Stack = Stack.OWN
    shared_with: SandboxId | None = None
    ended: bool = False
    forwards: bool = False
    sysctls: tuple[tuple[str, str], ...] = ()
    own_routes: tuple[DefaultRoute, ...] = ()
    replaces_routes: bool = False
    own_sysctls: tuple[tuple[str, str], ...] = ()
    health_check: HealthCheck | None = None
    health: Health | None = None
    isolation: Isolation = field(default_factory=Isolation)
    egress: tuple[str, ...] | None = None
    follows: str = ""
    persists: bool = False

    @property
    def waits(self) -> bool:
        """Whether the program that it follows has no namespace now: names that others have too leave it out (DNS-49)."""
        return bool(self.follows) and not self.adopted

    @property
    def short_id(self) -> str:
        """The first 12 characters of the id, which is a DNS name and the default host name."""
        return self.id[:12]

    def keeps_default_route(self, family: int) -> bool:
        """Return whether the adopted namespace has a default route by itself that ours must not replace."""
        return not self.replaces_routes and any(route.family == family for route in self.own_routes)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRequest:
    """What a network create asks for; None and empty mean "choose". *predefined*: it is ours to make, not the user's.

    *problems*: (field, what is wrong with it), as far as only its maker can tell; it is refused with everything else that is wrong.
    """

    name: str
    driver: str = "bridge"
    internal: bool = False
    ipv4: bool | None = None
    ipv6: bool | None = None
    subnets: tuple[str, ...] = ()
    ip_ranges: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    auxiliary: tuple[tuple[str, str], ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    routes: tuple[str, ...] = ()
    ipam_driver: str = "default"
    ipam_options: tuple[tuple[str, str], ...] = ()
    owner: Owner | None = None
    predefined: bool = False
    egress: tuple[str, ...] | None = None
    problems: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxRequest:
    """What a sandbox is to be. *netns*: path of one to adopt. *leader*, *follows*, *persists*: see `Sandbox`.

    *again*: id and *created* of one that comes back.
    """

    name: str
    netns: str | None = None
    owner: Owner | None = None
    leader: Owner | None = None
    hostname: str = ""
    domainname: str = ""
    networks: tuple[EndpointRequest, ...] = ()
    dns: DnsSettings = field(default_factory=DnsSettings)
    extra_hosts: tuple[str, ...] = ()
    publish: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    publish_all: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    forwards: bool = False
    sysctls: tuple[str, ...] = ()
    replaces_routes: bool = False
    egress: tuple[str, ...] | None = None
    origin: str = "api"
    again: tuple[SandboxId, float] | None = None
    health_check: HealthCheck | None = None
    follows: str = ""
    persists: bool = False
    isolation: Isolation = field(default_factory=Isolation)
