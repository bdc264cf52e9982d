"""The ipvlan driver: sandboxes on the parent's network, all with the parent's MAC address. Pure.

Rules IV-1..IV-3 of docs/rules.md; what it shares with macvlan is in `parent`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netcore.desired.objects import Ipvlan, KernelObject
from netcore.drivers import link
from netcore.drivers.facts import Facts
from netcore.drivers.parent import PARENT, ParentDriver, parent_options
from netcore.drivers.protocol import Hop, MacSource
from netcore.errors import InvalidRequest
from netcore.model import Endpoint, EndpointRequest, MadeLink, Network, NetworkId, ParentOptions
from netcore.parse.options import Option, one_of

_LAYER3 = ("l3", "l3s")

OPTIONS: tuple[Option[Any], ...] = (
    PARENT,
    MODE := Option[str](
        name="ipvlan_mode",
        label="ipvlan_mode",
        meaning="layer that packets are forwarded at: l2, l3 or l3s; with l3 and l3s the default route is the link itself",
        parse=one_of("l2", *_LAYER3),
        default="l2",
    ),
    FLAG := Option[str](
        name="ipvlan_flag",
        label="ipvlan_flag",
        meaning="which sandboxes on one parent reach each other: bridge, private or vepa",
        parse=one_of("bridge", "private", "vepa"),
        default="bridge",
    ),
)


class IpvlanDriver(ParentDriver):
    """See the module."""

    name = "ipvlan"
    options = OPTIONS

    def parse_options(self, network_id: NetworkId, labels: Mapping[str, str]) -> ParentOptions:
        given = PARENT.of(labels)
        makes = MadeLink.NOTHING if given else MadeLink.DUMMY
        return ParentOptions(parent=given or f"di-{network_id[:12]}", mode=MODE.of(labels), flag=FLAG.of(labels), makes=makes)

    def conflict(self, new: ParentOptions, other: ParentOptions) -> str | None:
        if (other.mode, other.flag) == (new.mode, new.flag):
            return None
        # The kernel keeps both for the parent: the new network would change the old one.
        return f"it has mode {other.mode} and flag {other.flag}, and all on one parent have the same"

    def endpoint_objects(self, network: Network, endpoint: Endpoint, facts: Facts, *, forwards: bool = False) -> tuple[KernelObject, ...]:
        options = parent_options(network)
        sub_interface = Ipvlan(
            sandbox_id=endpoint.sandbox_id,
            ifname=endpoint.ifname,
            parent=options.parent,
            mode=options.mode,
            flag=options.flag,
            mtu=network.common.mtu,
        )
        # In layer 3 modes the link answers no ARP or neighbour discovery, and sends none.
        return (sub_interface, *link.inside(network, endpoint, announces=options.mode not in _LAYER3))

    def default_hop(self, network: Network, endpoint: Endpoint, family: int) -> Hop | None:
        if parent_options(network).mode not in _LAYER3:
            return super().default_hop(network, endpoint, family)
        interface = endpoint.ipv4 if family == 4 else endpoint.ipv6
        return None if network.internal or interface is None else Hop(None)

    def check_endpoint(self, network: Network, request: EndpointRequest, present: int) -> None:
        if request.mac:
            raise InvalidRequest("mac-address", "ipvlan interfaces do not support custom mac address assignment")

    def mac_source(self, network: Network) -> MacSource:
        return MacSource.HOST_LINK
