"""What the kernel has been told about endpoints on other hosts."""

from __future__ import annotations

from netcore.desired.objects import HOST, Forwarding, KernelObject, Neighbor
from netcore.errors import KernelError
from netcore.kernel import rtnl
from netcore.kernel.netlink import ROUTE, NetlinkSocket
from netcore.model import BridgeOptions


def remembered(options: BridgeOptions) -> tuple[KernelObject, ...]:
    """Return the forwarding entries of an overlay's tunnel and the neighbours of its bridge, ours included. Blocking."""
    if options.vxlan is None:
        return ()
    bridge, tunnel = options.bridge_name, options.vxlan.ifname
    with NetlinkSocket(ROUTE) as netlink:
        try:
            at_bridge, at_tunnel = rtnl.link_index(netlink, bridge), rtnl.link_index(netlink, tunnel)
        except KernelError:
            return ()
        forwardings = [Forwarding(ifname=tunnel, mac=mac, vtep=vtep) for mac, vtep in rtnl.forwardings(netlink, at_tunnel)]
        neighbors = [
            Neighbor(sandbox_id=HOST, ifname=bridge, address=address, mac=mac)
            for index, address, mac in rtnl.neighbors(netlink)
            if index == at_bridge
        ]
    return (*forwardings, *neighbors)
