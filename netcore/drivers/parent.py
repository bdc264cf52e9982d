"""What the macvlan and ipvlan drivers have in common: links of sandboxes that are sub-interfaces of a parent link. Pure.

Rules MV-1..MV-7, IV-1..IV-3, GW-7 of docs/rules.md. What leaves such a link goes to the parent's network and never meets
the host's routing and firewall, so there is no NAT and nothing is published.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace

from netcore.desired.objects import DummyLink, KernelObject, VlanLink
from netcore.drivers.defaults import DriverDefaults
from netcore.drivers.facts import Facts, HostConstraints
from netcore.drivers.protocol import AttachedLink, Configured, ExistingNetworks, NewNetwork
from netcore.errors import Conflict, InvalidRequest
from netcore.model import Endpoint, MadeLink, Network, NetworkId, ParentOptions, RemoteEndpoint
from netcore.parse.options import Option, link_name

TAG = "berth:parent"
"""Alias of the parent links that we made. One tag for all networks, because they share such a link."""

_VLAN_IDS = range(1, 4095)


def _parent(text: str) -> str:
    if text == "lo":
        raise ValueError("the loopback link can't be a parent")
    return link_name(text)


PARENT = Option[str | None](
    name="parent",
    label="parent",
    meaning="link of the host; eth0.10 is made as VLAN 10 of eth0 if it is missing, and removed with the last network on it",
    parse=_parent,
    default=None,
    default_text="a dummy link, and the network is internal",
)


def parent_options(network: Network) -> ParentOptions:
    """Return the options of a macvlan or ipvlan network."""
    assert isinstance(network.driver_options, ParentOptions)
    return network.driver_options


class ParentDriver(DriverDefaults, ABC):
    """See the module. Each of the two drivers says what its options are, what the sub-interface is, and who may share a parent."""

    several_subnets = True
    shares_subnets = True
    shares_objects = True
    """Networks on one VLAN share its link."""

    @abstractmethod
    def parse_options(self, network_id: NetworkId, labels: Mapping[str, str]) -> ParentOptions:
        """Return what *labels* mean; whether the parent exists is not asked here."""

    @abstractmethod
    def conflict(self, new: ParentOptions, other: ParentOptions) -> str | None:
        """Return why networks of this driver with these options can't be on one parent, None if they can."""

    def configure(self, new: NewNetwork, existing: ExistingNetworks, host: HostConstraints) -> Configured:
        parsed = find_parent(self.parse_options(new.id, new.labels), existing, host)
        self._check_sharing(parsed, existing)
        below = host.links.get(parsed.base or parsed.parent)
        return Configured(
            options=parsed,
            mtu=below.mtu if below is not None else host.egress_mtu,
            # A dummy link leads nowhere (MV-3).
            internal=new.internal or parsed.makes is MadeLink.DUMMY,
        )

    def _check_sharing(self, parsed: ParentOptions, existing: ExistingNetworks) -> None:
        """Raise Conflict if *parsed* can't have its parent together with the networks that have it (MV-4, IV-1)."""
        for network in existing.on_link(parsed.parent):
            other = network.driver_options
            if not isinstance(other, ParentOptions):
                continue
            if network.driver != self.name:
                reason: str | None = "macvlan and ipvlan can't share one"
            else:
                reason = self.conflict(parsed, other)
            if reason is not None:
                raise Conflict("link", parsed.parent, f"is the parent of {network.driver} network {network.name}; {reason}")

    def wants_gateway(self, network: Network, family: int) -> bool:
        return False

    def link_kinds(self, network: Network) -> tuple[str, ...]:
        made = parent_options(network).makes
        return (self.name,) if made is MadeLink.NOTHING else (self.name, made.value)

    def network_objects(self, network: Network, facts: Facts, remotes: Iterable[RemoteEndpoint] = ()) -> tuple[KernelObject, ...]:
        options = parent_options(network)
        match options.makes:
            case MadeLink.VLAN:
                return (VlanLink(name=options.parent, base=options.base, vid=options.vid, tag=TAG),)
            case MadeLink.DUMMY:
                return (DummyLink(name=options.parent, mtu=network.common.mtu, tag=TAG),)
            case MadeLink.NOTHING:
                return ()

    def exclusive_objects(
        self, network: Network, others: Iterable[Network], facts: Facts, remotes: Iterable[RemoteEndpoint] = ()
    ) -> tuple[KernelObject, ...]:
        own = parent_options(network).parent
        on_it = (other for other in others if isinstance(other.driver_options, ParentOptions) and other.driver_options.parent == own)
        return super().exclusive_objects(network, on_it, facts, remotes)

    def host_link(self, network: Network) -> AttachedLink | None:
        options = parent_options(network)
        return AttachedLink(name=options.parent, made=options.makes is not MadeLink.NOTHING)

    def may_lead_outside(self, network: Network, endpoint: Endpoint, family: int) -> bool:
        """Return whether the sandbox may know a way on by itself: it may on a network without a gateway too (GW-7)."""
        return not network.internal and (endpoint.ipv4 if family == 4 else endpoint.ipv6) is not None


def find_parent(parsed: ParentOptions, existing: ExistingNetworks, host: HostConstraints) -> ParentOptions:
    """Return *parsed* with what must be made so that its parent exists (MV-2)."""
    if parsed.makes is MadeLink.DUMMY:
        return parsed
    others = [network.driver_options for network in existing.on_link(parsed.parent)]
    sharing = next((other for other in others if isinstance(other, ParentOptions)), None)
    if sharing is not None and sharing.makes is MadeLink.VLAN:
        return replace(parsed, makes=MadeLink.VLAN, base=sharing.base, vid=sharing.vid)
    present = host.links.get(parsed.parent)
    if present is None and host.is_nest:
        raise InvalidRequest("option parent", f"{parsed.parent} is no link of this user's; the host's own can be used by root's berth only")
    if present is None:
        base, vid = vlan_of(parsed.parent)
        if base not in host.links:
            raise InvalidRequest("option parent", f"the host has neither a link {parsed.parent} nor {base}")
        return replace(parsed, makes=MadeLink.VLAN, base=base, vid=vid)
    if present.master:
        raise Conflict("link", parsed.parent, f"is a port of a {present.master}, which takes all its packets; name that one as parent")
    return parsed


def vlan_of(parent: str) -> tuple[str, int]:
    """Return (base link, VLAN id) of a parent written like eth0.10; InvalidRequest if it is not (MV-2)."""
    base, dot, number = parent.rpartition(".")
    is_number = number.isascii() and number.isdigit() and len(number) <= len(str(_VLAN_IDS[-1]))
    if not dot or not is_number or int(number) not in _VLAN_IDS:
        reason = f"the host has no link {parent}; name one that it has, or VLAN 1 to 4094 of one, like eth0.10"
        raise InvalidRequest("option parent", reason)
    return base, int(number)
