"""The macvlan and ipvlan drivers: links of sandboxes that are slices of a link of the host. Pure.

Rules MV-1..MV-7, IV-1..IV-3, GW-7 of docker-behaviour. What leaves such a link goes to the parent's network without the
host's routing and firewall, so there is no NAT and nothing is published.
"""

from __future__ import annotations

from netcore.desired.objects import DummyLink, Ipvlan, KernelObject, Macvlan, VlanLink
from netcore.drivers import link
from netcore.model import Endpoint, Makes, Network, ParentOptions

TAG = "berth:parent"
"""Alias of the parent links that we made. One tag for all networks, because they share such a link."""

_MODULES = {Makes.NOTHING: (), Makes.VLAN: ("vlan",), Makes.DUMMY: ("dummy",)}


def link_kinds(network: Network, options: ParentOptions) -> tuple[str, ...]:
    """Return the kinds of links that the kernel must know for *network*, as rtnetlink names them."""
    return (network.driver, *_MODULES[options.makes])


def network_objects(options: ParentOptions, mtu: int) -> tuple[KernelObject, ...]:
    """Return what must exist for a network without any endpoint: its parent, if we make it."""
    match options.makes:
        case Makes.VLAN:
            return (VlanLink(name=options.parent, base=options.base, vid=options.vid, tag=TAG),)
        case Makes.DUMMY:
            return (DummyLink(name=options.parent, mtu=mtu, tag=TAG),)
        case Makes.NOTHING:
            return ()


def endpoint_objects(network: Network, options: ParentOptions, endpoint: Endpoint) -> tuple[KernelObject, ...]:
    """Return what must exist for *endpoint*, without the sandbox's routes and hosts lines."""
    sandbox_id, ifname, mtu = endpoint.sandbox_id, endpoint.ifname, network.common.mtu
    slice_: KernelObject
    if network.driver == "macvlan":
        # In passthru mode the link has the parent's MAC, and setting one would change the parent's.
        mac = "" if options.mode == "passthru" else endpoint.mac
        slice_ = Macvlan(sandbox_id=sandbox_id, ifname=ifname, parent=options.parent, mode=options.mode, mac=mac, mtu=mtu)
    else:
        slice_ = Ipvlan(sandbox_id=sandbox_id, ifname=ifname, parent=options.parent, mode=options.mode, flag=options.flag, mtu=mtu)
    # With ipvlan l3 the link answers no ARP or neighbour discovery, and sends none.
    return (slice_, *link.inside(network, endpoint, announces=options.mode not in ("l3", "l3s")))
