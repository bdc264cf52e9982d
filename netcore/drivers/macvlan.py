"""The macvlan driver: a sandbox is a machine of the parent's network, with a MAC address of its own. Pure.

Rules MV-1..MV-7 of docs/rules.md; what it shares with ipvlan is in `parent`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netcore.desired.objects import KernelObject, Macvlan
from netcore.drivers import link
from netcore.drivers.facts import Facts
from netcore.drivers.parent import PARENT, ParentDriver, parent_options
from netcore.drivers.protocol import MacSource
from netcore.errors import Exhausted, InvalidRequest
from netcore.model import Endpoint, EndpointRequest, MadeLink, Network, NetworkId, ParentOptions
from netcore.parse.options import Option, one_of

PASSTHRU = "passthru"

OPTIONS: tuple[Option[Any], ...] = (
    PARENT,
    MODE := Option[str](
        name="macvlan_mode",
        label="macvlan_mode",
        meaning="mode of the links: bridge, private, vepa or passthru; passthru takes one sandbox, which has the parent's MAC address",
        parse=one_of("bridge", "private", "vepa", PASSTHRU),
        default="bridge",
    ),
)


class MacvlanDriver(ParentDriver):
    """See the module."""

    name = "macvlan"
    options = OPTIONS

    def parse_options(self, network_id: NetworkId, labels: Mapping[str, str]) -> ParentOptions:
        given = PARENT.of(labels)
        makes = MadeLink.NOTHING if given else MadeLink.DUMMY
        return ParentOptions(parent=given or f"dm-{network_id[:12]}", mode=MODE.of(labels), makes=makes)

    def conflict(self, new: ParentOptions, other: ParentOptions) -> str | None:
        return "passthru needs it for itself" if PASSTHRU in (new.mode, other.mode) else None

    def endpoint_objects(self, network: Network, endpoint: Endpoint, facts: Facts, *, forwards: bool = False) -> tuple[KernelObject, ...]:
        options = parent_options(network)
        sub_interface = Macvlan(
            sandbox_id=endpoint.sandbox_id,
            ifname=endpoint.ifname,
            parent=options.parent,
            mode=options.mode,
            # In passthru mode the link has the parent's MAC, and setting one would change the parent's.
            mac="" if options.mode == PASSTHRU else endpoint.mac,
            mtu=network.common.mtu,
        )
        return (sub_interface, *link.inside(network, endpoint))

    def check_endpoint(self, network: Network, request: EndpointRequest, present: int) -> None:
        if parent_options(network).mode != PASSTHRU:
            return
        if present:
            raise Exhausted("network", network.name, because="a macvlan network in passthru mode takes one endpoint")
        if request.mac:
            raise InvalidRequest("mac-address", "a link in passthru mode has its parent's address; leave it out")

    def mac_source(self, network: Network) -> MacSource:
        return MacSource.HOST_LINK if parent_options(network).mode == PASSTHRU else MacSource.ENDPOINT
