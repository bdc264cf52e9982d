"""rtnetlink: the requests that create a link, one for each kind. Pure, but for the question whether the kernel has a kind.

What the kernel does not document: a bridge without a MAC of its own changes it as ports come and go; the peer of a veth
can't be created up.

Spec: Linux include/uapi/linux/if_link.h.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence

from netcore.kernel import rtnl_bodies as bodies
from netcore.kernel.netlink import CREATE, EXCL, NetlinkSocket, Request, attr, nested
from netcore.model import IPAddress

_NEWLINK = 16
_HARDWARE_ADDRESS, _IFNAME, _MTU, _LINK, _MASTER, _LINKINFO, _INFO_KIND, _INFO_DATA = 1, 3, 4, 5, 10, 18, 1, 2
_NET_NS_FD, _NUM_TX_QUEUES, _NUM_RX_QUEUES, _VETH_INFO_PEER, _BR_MCAST_SNOOPING = 28, 31, 32, 1, 23
_MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
_IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}
_IPVLAN_FLAGS = {"bridge": 0, "private": 1, "vepa": 2}
_VXLAN_ID, _VXLAN_LOCAL, _VXLAN_LEARNING, _VXLAN_PORT, _VXLAN_LOCAL6 = 1, 4, 7, 15, 17
_MACVLAN_MODE, _IPVLAN_MODE, _IPVLAN_FLAGS_ATTR, _VLAN_ID = 1, 1, 2, 1


def add_bridge(name: str, mac: str, mtu: int) -> Request:
    # Without a querier snooping changes nothing, and a sandbox that is none can fill its table.
    info = bodies.group(_LINKINFO, bodies.text(_INFO_KIND, "bridge"), bodies.group(_INFO_DATA, bodies.octet(_BR_MCAST_SNOOPING, 0)))
    body = bodies.link(bodies.text(_IFNAME, name), bodies.mac(_HARDWARE_ADDRESS, mac), bodies.number(_MTU, mtu), info)
    return Request(_NEWLINK, CREATE | EXCL, body, "create bridge", name)


def add_veth(host_ifname: str, *, master: int, mtu: int, peer_ifname: str, peer_mac: str, peer_netns_descriptor: int) -> Request:
    """Create a pair in one request: host end on the bridge *master*, the other end inside the peer's namespace; both are down."""
    # One queue of each kind, not one for each processor: a veth needs them for XDP alone, and making more waits for readers.
    queues = bodies.number(_NUM_TX_QUEUES, 1) + bodies.number(_NUM_RX_QUEUES, 1)
    peer = bodies.link(
        bodies.text(_IFNAME, peer_ifname),
        bodies.mac(_HARDWARE_ADDRESS, peer_mac),
        bodies.number(_MTU, mtu),
        bodies.number(_NET_NS_FD, peer_netns_descriptor),
        queues,
    )
    info = bodies.group(_LINKINFO, bodies.text(_INFO_KIND, "veth"), bodies.group(_INFO_DATA, attr(_VETH_INFO_PEER, peer)))
    body = bodies.link(bodies.text(_IFNAME, host_ifname), bodies.number(_MTU, mtu), bodies.number(_MASTER, master), queues, info)
    return Request(_NEWLINK, CREATE | EXCL, body, "create veth", host_ifname)


def _add(kind: str, name: str, attributes: Sequence[bytes], *data: bytes) -> Request:
    """Create a link of *kind*. *data*: attributes of this kind alone."""
    info = [attr(_INFO_KIND, kind.encode()), *([nested(_INFO_DATA, *data)] if data else [])]
    body = bodies.link(bodies.text(_IFNAME, name), *attributes, nested(_LINKINFO, *info))
    return Request(_NEWLINK, CREATE | EXCL, body, f"create {kind}", name)


def add_vlan(name: str, *, base: int, vid: int) -> Request:
    return _add("vlan", name, [bodies.number(_LINK, base)], attr(_VLAN_ID, struct.pack("=H", vid)))


def add_dummy(name: str, mtu: int) -> Request:
    return _add("dummy", name, [bodies.number(_MTU, mtu)])


def add_macvlan(ifname: str, *, parent: int, netns_descriptor: int, mode: str, mac: str, mtu: int) -> Request:
    """Create a sub-interface, in another namespace, of the link that has the index *parent* here."""
    attributes = [bodies.number(_LINK, parent), bodies.number(_NET_NS_FD, netns_descriptor), bodies.number(_MTU, mtu)]
    attributes += [bodies.mac(_HARDWARE_ADDRESS, mac)] if mac else []
    return _add("macvlan", ifname, attributes, attr(_MACVLAN_MODE, struct.pack("=I", _MACVLAN_MODES[mode])))


def add_ipvlan(ifname: str, *, parent: int, netns_descriptor: int, mode: str, flag: str, mtu: int) -> Request:
    """Create a sub-interface, in another namespace, of the link that has the index *parent* here."""
    data = [
        attr(_IPVLAN_MODE, struct.pack("=H", _IPVLAN_MODES[mode])),
        attr(_IPVLAN_FLAGS_ATTR, struct.pack("=H", _IPVLAN_FLAGS[flag])),
    ]
    attributes = [bodies.number(_LINK, parent), bodies.number(_NET_NS_FD, netns_descriptor), bodies.number(_MTU, mtu)]
    return _add("ipvlan", ifname, attributes, *data)


def add_vxlan(name: str, *, vni: int, port: int, local: IPAddress, master: int, mtu: int) -> Request:
    """Create a tunnel as a port of the bridge with the index *master*. It learns nothing from what it receives."""
    data = [
        attr(_VXLAN_ID, struct.pack("=I", vni)),
        attr(_VXLAN_LOCAL if local.version == 4 else _VXLAN_LOCAL6, local.packed),
        attr(_VXLAN_LEARNING, b"\0"),
        attr(_VXLAN_PORT, struct.pack("!H", port)),
    ]
    return _add("vxlan", name, [bodies.number(_MTU, mtu), bodies.number(_MASTER, master)], *data)


def knows_kind(netlink: NetlinkSocket, kind: str) -> bool:
    """Return whether the kernel can make links of *kind*, loading its module if need be. No link is made.

    The request has a multicast MAC address (and no parent), which every kind refuses; but the kernel first checks whether
    it knows the kind at all.
    """
    error = netlink.run([_add(kind, "berth-probe", [bodies.mac(_HARDWARE_ADDRESS, "ff:ff:ff:ff:ff:ff")])])[0]
    return error is None or error.errno != errno.EOPNOTSUPP
