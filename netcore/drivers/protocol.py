"""What a driver is: one object without state that says everything about the networks of its kind.

A driver only decides. It turns a request into options, and networks and endpoints into the kernel objects that must exist;
`desired.diff` finds the steps and `kernel.apply` carries them out. `drivers.defaults` has the answers that most drivers
share, docs/write-a-driver.md a small one from beginning to end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Literal, Protocol

from netcore.desired.objects import KernelObject
from netcore.drivers.facts import Facts, HostConstraints
from netcore.model import (
    DriverOptions,
    Endpoint,
    EndpointRequest,
    GatewayMode,
    IPAddress,
    IPInterface,
    Network,
    NetworkId,
    RemoteEndpoint,
)
from netcore.parse.options import Option


@dataclass(frozen=True, slots=True, kw_only=True)
class NewNetwork:
    """What is asked of a network that does not exist yet. *labels*: its options, as `Driver.read_options` returned them."""

    id: NetworkId
    name: str
    labels: Mapping[str, str]
    internal: bool = False
    ipv4: bool = True
    ipv6: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """What a driver makes of a request. *mtu*: of the links, unless `--opt mtu` gives another. *internal*: it leads nowhere."""

    options: DriverOptions
    mtu: int
    internal: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedLink:
    """The link of the host that the sandboxes of a network are attached to.

    *made*: berth made it for the network; otherwise the host has it anyway. *routed*: the host routes and filters what
    sandboxes send over it; otherwise their packets bypass the host's firewall and NAT.
    """

    name: str
    made: bool = True
    routed: bool = False


@dataclass(frozen=True, slots=True)
class Hop:
    """Where a default route leads: to the neighbour *address*; None: to the link itself (ipvlan l3, IV-2)."""

    address: IPAddress | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Publishing:
    """How ports are published in one family. *binding*: host addresses that `-p` without an address binds; empty: all of them."""

    mode: GatewayMode
    binding: tuple[IPAddress, ...] = ()


class ExistingNetworks(Collection[Network], Protocol):
    """The networks that there are, also by their links: there may be thousands, so who looks for some does not go through all."""

    def on_link(self, name: str) -> Collection[Network]:
        """Return the networks that are attached to the host's link *name*."""

    def of_driver(self, name: str) -> Collection[Network]:
        """Return the networks of the driver called *name*."""


class MacSource(Enum):
    """Where the MAC address of an endpoint comes from."""

    ENDPOINT = auto()
    """The user gives it, or berth takes a random one."""
    HOST_LINK = auto()
    """It is that of the host's link that the network is attached to, and can't be chosen."""
    PLUGIN = auto()
    """The plugin gives it, unless the user does."""


class Driver(Protocol):
    """Everything there is to know about one kind of network. All methods are pure: they get values and return values."""

    @property
    def name(self) -> str:
        """What users call it: `berth network create -d NAME`."""

    @property
    def options(self) -> Sequence[Option[Any]]:
        """The options of its networks, beside those of every driver (`parse.options.COMMON`)."""

    @property
    def several_subnets(self) -> bool:
        """Whether a network may have several subnets of one family."""

    @property
    def shares_subnets(self) -> bool:
        """Whether two networks may have the same subnet, divided between them by `--ip-range` (MV-5)."""

    @property
    def has_host_veth(self) -> bool:
        """Whether an endpoint is a veth pair with one end on the host, which berth then names (`Endpoint.host_ifname`)."""

    # --- a new network --------------------------------------------------------------------------------------------

    def read_options(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return the options *given* by short name or label, keyed by label; InvalidRequest names an unknown one."""

    def configure(self, new: NewNetwork, existing: ExistingNetworks, host: HostConstraints) -> Configured:
        """Return what *new* means, given the networks *existing* and this *host*; InvalidRequest or Conflict if it can't be made."""

    def wants_gateway(self, network: Network, family: int) -> bool:
        """Return whether a pool of *family* gets a gateway although the user gave none. *network* has no pools yet."""

    def link_kinds(self, network: Network) -> tuple[str, ...]:
        """Return the kinds of links, as rtnetlink names them, that *network* needs and a kernel may lack."""

    # --- kernel objects -------------------------------------------------------------------------------------------

    def network_objects(self, network: Network, facts: Facts, remotes: Iterable[RemoteEndpoint] = ()) -> tuple[KernelObject, ...]:
        """Return what must exist on this host for *network*, without its endpoints here. *remotes*: those on other hosts."""

    def exclusive_objects(
        self, network: Network, others: Iterable[Network], facts: Facts, remotes: Iterable[RemoteEndpoint] = ()
    ) -> tuple[KernelObject, ...]:
        """Return those of `network_objects` that are created and removed with *network*, because none of *others* needs them too."""

    def remote_objects(self, network: Network, remotes: Iterable[RemoteEndpoint]) -> tuple[KernelObject, ...]:
        """Return those of `network_objects` that are about *remotes*, endpoints on other hosts."""

    def endpoint_objects(self, network: Network, endpoint: Endpoint, facts: Facts, *, forwards: bool = False) -> tuple[KernelObject, ...]:
        """Return what must exist for *endpoint*, without routes and hosts lines, which depend on all endpoints of its sandbox.

        *forwards*: the sandbox is a router, and sends packets with the source addresses of others.
        """

    # --- the host, and the way outside ----------------------------------------------------------------------------

    def host_link(self, network: Network) -> AttachedLink | None:
        """Return the host's link that the sandboxes of *network* are attached to; None if there is none of ours."""

    def host_addresses(self, network: Network) -> tuple[IPInterface, ...]:
        """Return the addresses that the host has on *network*. The embedded resolver listens on them too."""

    def default_hop(self, network: Network, endpoint: Endpoint, family: int) -> Hop | None:
        """Return where the default route of *family* leads over *endpoint*; None if the network gives none (GW-6, BR-8)."""

    def may_lead_outside(self, network: Network, endpoint: Endpoint, family: int) -> bool:
        """Return whether *endpoint* counts as the way outside in *family*, even without a default route of ours (GW-7)."""

    def publishing(self, network: Network, family: int) -> Publishing | None:
        """Return how ports of its sandboxes are published in *family*; None if they can't be (MV-6)."""

    # --- a new endpoint -------------------------------------------------------------------------------------------

    def check_endpoint(self, network: Network, request: EndpointRequest, present: int) -> None:
        """Raise InvalidRequest or Exhausted if *network*, which has *present* endpoints, can't take one more as *request* asks."""

    def mac_source(self, network: Network) -> MacSource:
        """Return where the MAC addresses of endpoints come from."""

    # --- beyond this host and this tree ---------------------------------------------------------------------------

    def scope(self, network: Network) -> Literal["local", "global"]:
        """Return whether *network* is of one host or of many."""

    def plugin(self, network: Network) -> str | None:
        """Return the third-party plugin that makes *network* and its endpoints; None if berth does."""
