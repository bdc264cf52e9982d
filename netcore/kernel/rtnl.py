"""rtnetlink: the requests for links, addresses, routes and neighbours, and what dumps of them say. `netlink` sends them.

Those that create a link are in `link_kinds`. What the kernel does not document: an alias can be set on a link that exists, but
not at its creation.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network

from netcore.errors import Conflict, KernelError
from netcore.kernel import rtnl_bodies as bodies
from netcore.kernel.netlink import CREATE, REPLACE, NetlinkSocket, Request, attr, find, nested, walk
from netcore.model import IPAddress, IPInterface, IPNetwork

_NEWLINK, _DELLINK, _GETLINK, _SETLINK = 16, 17, 18, 19
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_NEWNEIGH, _DELNEIGH, _GETNEIGH = 28, 29, 30
_UP, _POINT_TO_POINT = 1, 0x10
_LINKINFO, _INFO_KIND, _INFO_SLAVE_KIND, _INFO_SLAVE_DATA, _MASTER, _NET_NS_FD = 18, 1, 4, 5, 10, 28
_FORWARDING = 3
_IFA_F_NODAD = 0x02
_NUD_PERMANENT, _NUD_NOARP = 0x80, 0x40
_AF_BRIDGE, _NTF_SELF, _NTF_MASTER, _NTF_STICKY = 7, 2, 4, 0x40
_NDMSG = struct.Struct("=BxxxiHBB")
_TABLE_MAIN, _PROTO_STATIC, _SCOPE_UNIVERSE, _SCOPE_LINK, _UNICAST, _LOCAL = 254, 4, 0, 253, 1, 2
_IFI = struct.Struct("=BxHiII")
_ATTRIBUTE = struct.Struct("=HH")
_IFINFO = struct.Struct("=HHiII")
_AF_SPEC, _INET_CONF = 26, 1
_HARDWARE_ADDRESS, _IFNAME, _MTU, _LINK, _ALIAS, _GROUP = 1, 3, 4, 5, 20, 27
_BRPORT_STATE, _BRPORT_MODE, _BRPORT_LEARNING, _BRPORT_FLUSH, _BRPORT_ISOLATED = 1, 4, 8, 24, 33
_PORT_FLAGS = {
    "mode": (_BRPORT_MODE, "=B"),
    "learning": (_BRPORT_LEARNING, "=B"),
    "unicast_flood": (9, "=B"),
    "multicast_router": (25, "=B"),
    "mcast_flood": (27, "=B"),
    "bcast_flood": (30, "=B"),
    "group_fwd_mask": (31, "=H"),
    "neigh_suppress": (32, "=B"),
    "isolated": (_BRPORT_ISOLATED, "=B"),
    "mcast_max_groups": (42, "=I"),
}
"""Flag of a bridge port → its attribute (IFLA_BRPORT_), and how long its number is."""
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST = 1, 2, 4
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_NDA_DST, _NDA_LLADDR = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link as the kernel has it."""

    index: int
    name: str
    kind: str
    up: bool
    mtu: int
    mac: str
    alias: str
    master: int
    is_tunnel: bool = False
    """It has no neighbours: a packet for any address can be sent over it (IFF_POINTOPOINT)."""
    peer: int = 0
    """Index of the other end of a veth, in whose namespace that is, or of the link below."""
    has_hairpin: bool = False
    """As a bridge port it sends frames back by the way they came."""
    learns: bool = False
    """As a bridge port it has the bridge learn addresses."""
    is_isolated: bool = False
    """As a bridge port it reaches no other one that is isolated."""
    group: int = 0
    """Number of the group that it is in; 0 is the kernel's own for all links."""


def set_link(name: str, *, up: bool = True, alias: str | None = None, mtu: int | None = None) -> Request:
    attributes = [bodies.text(_IFNAME, name)]
    if alias is not None:
        attributes.append(bodies.text(_ALIAS, alias))
    if mtu is not None:
        attributes.append(bodies.number(_MTU, mtu))
    body = bodies.link(*attributes, flags=_UP if up else 0, change=_UP)
    return Request(_NEWLINK, 0, body, "change link", name)


def move_link(name: str, index: int, netns_descriptor: int, ifname: str) -> Request:
    """Move the link with *index* to the namespace of *netns_descriptor*, renamed to *ifname* there, down."""
    body = bodies.link(bodies.text(_IFNAME, ifname), bodies.number(_NET_NS_FD, netns_descriptor), index=index)
    return Request(_NEWLINK, 0, body, "move link", name)


def set_mac(name: str, mac: str) -> Request:
    return Request(_NEWLINK, 0, bodies.link(bodies.text(_IFNAME, name), bodies.mac(_HARDWARE_ADDRESS, mac)), "change link", name)


def set_master(name: str, master: int) -> Request:
    """Make a link a port of the bridge with the index *master*."""
    return Request(_NEWLINK, 0, bodies.link(bodies.text(_IFNAME, name), bodies.number(_MASTER, master)), "change link", name)


def rename_link(index: int, name: str) -> Request:
    """Give the link with *index* another name; one that is up only since Linux 6.2."""
    return Request(_NEWLINK, 0, bodies.link(bodies.text(_IFNAME, name), index=index), "rename link", name)


def set_down(index: int) -> Request:
    return Request(_NEWLINK, 0, bodies.link(index=index, change=_UP), "change link", str(index))


def put_in_group(index: int, group: int, name: str) -> Request:
    """Take the link with *index* off its bridge and out of its alias, and put it into *group*, called *name* from then on."""
    attributes = [bodies.text(_IFNAME, name), bodies.number(_MASTER, 0), attr(_ALIAS, b""), bodies.number(_GROUP, group)]
    return Request(_NEWLINK, 0, bodies.link(*attributes, index=index), "take off its bridge", str(index))


def set_ipv4_setting(name: str, setting: int, value: int) -> Request:
    """Set what is below /proc/sys/net/ipv4/conf/NAME too. *setting*: its number in include/uapi/linux/ip.h (IPV4_DEVCONF_)."""
    settings = nested(_INET_CONF, attr(setting, struct.pack("=I", value)))
    body = bodies.link(bodies.text(_IFNAME, name), nested(_AF_SPEC, nested(socket.AF_INET, settings)))
    return Request(_SETLINK, 0, body, "change link", name)


def delete_link(name: str) -> Request:
    return Request(_DELLINK, 0, bodies.link(bodies.text(_IFNAME, name)), "delete link", name)


def delete_group(group: int) -> Request:
    """Delete all links of *group*."""
    return Request(_DELLINK, 0, bodies.link(bodies.number(_GROUP, group)), "delete links", f"group {group}")


def forwarding(mac: str, vtep: IPAddress, index: int, *, create: bool) -> list[Request]:
    """Add or delete the two FDB entries that send frames for *mac* by the tunnel with *index* to *vtep*: the bridge's, the tunnel's."""
    type_, flags, verb = (_NEWNEIGH, CREATE | REPLACE, "set") if create else (_DELNEIGH, 0, "delete")
    address = bodies.mac(_NDA_LLADDR, mac)
    at_bridge = bodies.neighbor(_AF_BRIDGE, address, index=index, state=_NUD_NOARP, flags=_NTF_MASTER)
    at_tunnel = bodies.neighbor(
        _AF_BRIDGE, address, attr(_NDA_DST, vtep.packed), index=index, state=_NUD_PERMANENT | _NUD_NOARP, flags=_NTF_SELF
    )
    return [Request(type_, flags, body, f"{verb} forwarding", f"{mac} dst {vtep}") for body in (at_bridge, at_tunnel)]


def set_port(host_ifname: str, **flags: int) -> Request:
    """Set flags of a bridge port, see `_PORT_FLAGS`; `mode` is hairpin."""
    return _port(host_ifname, flags)


def start_port(host_ifname: str, flags: Mapping[str, int]) -> Request:
    """Set flags of a bridge port, as `set_port`, forget what was learned from it, and then bring it up."""
    return _port(host_ifname, flags, attr(_BRPORT_FLUSH, b""), link_flags=_UP)


def _port(host_ifname: str, flags: Mapping[str, int], *flush: bytes, link_flags: int = 0) -> Request:
    data = [attr(type_, struct.pack(length, flags[name])) for name, (type_, length) in ((name, _PORT_FLAGS[name]) for name in flags)]
    info = bodies.group(_LINKINFO, bodies.text(_INFO_SLAVE_KIND, "bridge"), bodies.group(_INFO_SLAVE_DATA, *data, *flush))
    body = bodies.link(bodies.text(_IFNAME, host_ifname), info, flags=link_flags, change=link_flags)
    return Request(_NEWLINK, 0, body, "change bridge port", host_ifname)


def static_entry(mac: str, index: int) -> Request:
    """Set the FDB entry that says that *mac* is at the bridge port with *index*. What a bridge sees elsewhere does not move it.

    Not NUD_PERMANENT: that makes it an address of the bridge itself.
    """
    address = bodies.mac(_NDA_LLADDR, mac)
    body = bodies.neighbor(_AF_BRIDGE, address, index=index, state=_NUD_NOARP, flags=_NTF_MASTER | _NTF_STICKY)
    return Request(_NEWNEIGH, CREATE | REPLACE, body, "set forwarding", f"{mac} static")


def _address(type_: int, flags: int, interface: IPInterface, index: int, operation: str) -> Request:
    length, own = interface.network.prefixlen, interface.ip.packed
    if interface.version == 6:
        body = bodies.address(socket.AF_INET6, attr(_IFA_ADDRESS, own), index=index, prefix_length=length, flags=_IFA_F_NODAD)
        return Request(type_, flags, body, operation, str(interface))
    attributes = [attr(_IFA_ADDRESS, own), attr(_IFA_LOCAL, own)]
    if length < 31 and type_ == _NEWADDR:
        attributes.append(attr(_IFA_BROADCAST, interface.network.broadcast_address.packed))
    body = bodies.address(socket.AF_INET, *attributes, index=index, prefix_length=length)
    return Request(type_, flags, body, operation, str(interface))


def add_address(interface: IPInterface, index: int) -> Request:
    """Add an address without duplicate detection: it is unique by allocation, and must be usable at once."""
    return _address(_NEWADDR, CREATE | REPLACE, interface, index, "add address")


def delete_address(interface: IPInterface, index: int) -> Request:
    return _address(_DELADDR, 0, interface, index, "delete address")


def _route(type_: int, flags: int, destination: IPNetwork, gateway: IPAddress | None, index: int, operation: str) -> Request:
    attributes = [bodies.number(_RTA_OIF, index)]
    if gateway is not None:
        attributes.append(attr(_RTA_GATEWAY, gateway.packed))
    if destination.prefixlen:
        attributes.append(attr(_RTA_DST, destination.network_address.packed))
    body = bodies.route(
        socket.AF_INET if destination.version == 4 else socket.AF_INET6,
        *attributes,
        prefix_length=destination.prefixlen,
        table=_TABLE_MAIN,
        protocol=_PROTO_STATIC,
        scope=_SCOPE_UNIVERSE if gateway is not None else _SCOPE_LINK,
        kind=_UNICAST,
    )
    return Request(type_, flags, body, operation, f"{destination} via {gateway or 'the link'}")


def replace_route(destination: IPNetwork, gateway: IPAddress | None, index: int) -> Request:
    return _route(_NEWROUTE, CREATE | REPLACE, destination, gateway, index, "set route")


def delete_route(destination: IPNetwork, gateway: IPAddress | None, index: int) -> Request:
    return _route(_DELROUTE, 0, destination, gateway, index, "delete route")


def _neighbor(type_: int, flags: int, address: IPAddress, mac: str, index: int, operation: str) -> Request:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    body = bodies.neighbor(family, attr(_NDA_DST, address.packed), bodies.mac(_NDA_LLADDR, mac), index=index, state=_NUD_PERMANENT)
    return Request(type_, flags, body, operation, f"{address} lladdr {mac}")


def replace_neighbor(address: IPAddress, mac: str, index: int) -> Request:
    return _neighbor(_NEWNEIGH, CREATE | REPLACE, address, mac, index, "set neighbor")


def delete_neighbor(address: IPAddress, mac: str, index: int) -> Request:
    return _neighbor(_DELNEIGH, 0, address, mac, index, "delete neighbor")


def get_link(name: str) -> Request:
    return Request(_GETLINK, 0, bodies.link(bodies.text(_IFNAME, name)), "look up link", name)


def find_link(netlink: NetlinkSocket, name: str) -> Link | None:
    """Return the link called *name*, or None."""
    try:
        message = netlink.get(get_link(name))
    except KernelError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    return read_link(message)


def link_index(netlink: NetlinkSocket, name: str) -> int:
    """Return the ifindex of the link called *name*; KernelError ENODEV if there is none."""
    message = netlink.get(get_link(name))
    index: int = _IFI.unpack_from(message, 16)[2]
    return index


def is_forwarding(netlink: NetlinkSocket, host_ifname: str) -> bool:
    """Return whether a bridge port passes frames."""
    message = netlink.get(get_link(host_ifname))
    state = find(message[16 + _IFI.size :], _LINKINFO, _INFO_SLAVE_DATA, _BRPORT_STATE)
    return state is not None and state[0] == _FORWARDING


def ensure_link(netlink: NetlinkSocket, creation: Request, tag: str) -> None:
    """Create a link of ours and bring it up. If a link of that name exists it must carry our *tag* as alias, else Conflict."""
    name = creation.target
    link = find_link(netlink, name)
    if link is None:
        # Sent together, so that a daemon that is killed now leaves no link without its tag.
        for error in netlink.run([creation, set_link(name, alias=tag)]):
            if error is not None:
                raise error
        return
    if link.alias != tag:
        raise Conflict("link", name, "exists and is not of this network; choose another name")
    netlink.execute(set_link(name, alias=tag))


def delete_ours(netlink: NetlinkSocket, name: str, tag: str) -> None:
    """Delete the link called *name* if it carries our *tag*; one of that name that somebody else made stays."""
    link = find_link(netlink, name)
    if link is not None and link.alias == tag:
        netlink.execute(delete_link(name))


def links(netlink: NetlinkSocket) -> list[Link]:
    """Return all links of the namespace."""
    return [read_link(message) for message in netlink.dump(Request(_GETLINK, 0, bodies.link(), "list", "links"))]


def _mac(octets: bytes) -> str:
    return ":".join(f"{octet:02x}" for octet in octets)


# Dumps are read by hand: with a thousand links pyroute2's decoder takes a second, and the interpreter with it.


def read_link(message: bytes) -> Link:
    """Return the link that a message (header included) tells of."""
    _, _, index, flags, _ = _IFINFO.unpack_from(message, 16)
    attributes = dict(walk(message[32:]))
    info = dict(walk(attributes.get(_LINKINFO, b"")))
    port = dict(walk(info.get(_INFO_SLAVE_DATA, b"")))
    return Link(
        index=index,
        name=_text(attributes[_IFNAME]),
        kind=_text(info.get(_INFO_KIND, b"")),
        up=bool(flags & _UP),
        mtu=_number(attributes.get(_MTU, b"")),
        mac=_mac(attributes.get(_HARDWARE_ADDRESS, b"")),
        alias=_text(attributes.get(_ALIAS, b"")),
        master=_number(attributes.get(_MASTER, b"")),
        is_tunnel=bool(flags & _POINT_TO_POINT),
        peer=_number(attributes.get(_LINK, b"")),
        has_hairpin=bool(_number(port.get(_BRPORT_MODE, b""))),
        group=_number(attributes.get(_GROUP, b"")),
        learns=bool(_number(port.get(_BRPORT_LEARNING, b""))),
        is_isolated=bool(_number(port.get(_BRPORT_ISOLATED, b""))),
    )


def link_name(message: bytes) -> str:
    """Return the name of the link that a message (header included) tells of. The kernel writes it first, so this is quick."""
    size, type_ = _ATTRIBUTE.unpack_from(message, 32)
    return _text(message[36 : 32 + size] if type_ == _IFNAME else find(message[32:], _IFNAME) or b"")


def link_group(message: bytes) -> int:
    """Return the group of the link that a message (header included) tells of. It is among the first of what the kernel writes."""
    return _number(find(message[32:], _GROUP) or b"")


def _text(octets: bytes) -> str:
    return octets.rstrip(b"\0").decode(errors="replace")


def _number(octets: bytes) -> int:
    return int.from_bytes(octets, sys.byteorder)


_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def addresses(netlink: NetlinkSocket, of_link: int = 0, versions: Iterable[int] = (4, 6)) -> list[tuple[int, IPInterface]]:
    """Return (ifindex, address) of all addresses of the namespace, or of the link with the index *of_link*. One dump for each version."""
    result = []
    for family in map(_FAMILIES.__getitem__, versions):
        request = Request(_GETADDR, 0, bodies.address(family, index=of_link), "list", "addresses")
        for message in netlink.dump(request):
            _, length, _, _, index = struct.unpack_from("=BBBBI", message, 16)
            attributes = dict(walk(message[24:]))
            own = attributes.get(_IFA_LOCAL) or attributes[_IFA_ADDRESS]
            result.append((index, ip_interface((own, length))))
    return result


def is_own_address(netlink: NetlinkSocket, address: IPAddress) -> bool:
    """Return whether packets to *address* end in this namespace, as the kernel's routes have it."""
    family, length = _FAMILIES[address.version], address.max_prefixlen
    body = bodies.route(family, attr(_RTA_DST, address.packed), prefix_length=length)
    try:
        message = netlink.get(Request(_GETROUTE, 0, body, "look up route", str(address)))
    except KernelError:
        # There is no route to it.
        return False
    return message[16 + 7] == _LOCAL


def routes(netlink: NetlinkSocket, index: int = 0, versions: Iterable[int] = (4, 6)) -> list[tuple[int, IPNetwork, IPAddress | None]]:
    """Return (ifindex, destination, next hop) of the unicast routes of the main table, or of those over a link; a dump for each version."""
    result: list[tuple[int, IPNetwork, IPAddress | None]] = []
    by_link = [bodies.number(_RTA_OIF, index)] if index else []
    for version in versions:
        family, size = _FAMILIES[version], 4 if version == 4 else 16
        request = Request(_GETROUTE, 0, bodies.route(family, *by_link), "list", "routes")
        for message in netlink.dump(request):
            _, length, _, _, table, _, _, kind = struct.unpack_from("=BBBBBBBB", message, 16)
            if kind != _UNICAST or table != _TABLE_MAIN:
                continue
            attributes = dict(walk(message[28:]))
            hop = attributes.get(_RTA_GATEWAY)
            destination = ip_network((attributes.get(_RTA_DST, bytes(size)), length))
            result.append((_number(attributes.get(_RTA_OIF, b"")), destination, ip_address(hop) if hop else None))
    return result


def neighbors(netlink: NetlinkSocket, versions: Iterable[int] = (4, 6)) -> list[tuple[int, IPAddress, str]]:
    """Return (ifindex, address, MAC) of the permanent neighbours. One dump for each version."""
    result = []
    for family in map(_FAMILIES.__getitem__, versions):
        request = Request(_GETNEIGH, 0, bodies.neighbor(family), "list", "neighbors")
        for message in netlink.dump(request):
            index, state = struct.unpack_from("=iH", message, 20)
            attributes = dict(walk(message[28:]))
            if state & _NUD_PERMANENT and attributes.get(_NDA_LLADDR):
                mac = _mac(attributes[_NDA_LLADDR])
                result.append((index, ip_address(attributes[_NDA_DST]), mac))
    return result


def find_neighbor(netlink: NetlinkSocket, index: int, address: IPAddress) -> str | None:
    """Return the MAC of the permanent neighbour with *address* on the link with *index*, None if there is none."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    body = bodies.neighbor(family, attr(_NDA_DST, address.packed), index=index)
    try:
        message = netlink.get(Request(_GETNEIGH, 0, body, "look up neighbor", str(address)))
    except KernelError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            return None
        raise
    attributes = dict(walk(message[28:]))
    is_permanent = struct.unpack_from("=H", message, 24)[0] & _NUD_PERMANENT
    return _mac(attributes.get(_NDA_LLADDR, b"")) if is_permanent else None


def has_static_entry(netlink: NetlinkSocket, mac: str, index: int) -> bool:
    """Return whether the bridge of the port with *index* has the entry that `static_entry` sets."""
    body = bodies.neighbor(_AF_BRIDGE, bodies.mac(_NDA_LLADDR, mac), index=index, flags=_NTF_MASTER)
    try:
        message = netlink.get(Request(_GETNEIGH, 0, body, "look up forwarding", mac))
    except KernelError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.EINVAL):
            return False
        if error.errno == errno.EOPNOTSUPP:
            # Before Linux 5.0 nobody can be asked for one.
            return True
        raise
    _, port, state, _, _ = _NDMSG.unpack_from(message, 16)
    return port == index and bool(state & _NUD_NOARP)


def static_entries(netlink: NetlinkSocket) -> list[tuple[str, int]]:
    """Return (MAC, ifindex of the port) of every entry of a bridge as `static_entry` sets them."""
    result = []
    for message in netlink.dump(Request(_GETNEIGH, 0, bodies.neighbor(_AF_BRIDGE), "list", "forwarding entries")):
        _, index, state, flags, _ = _NDMSG.unpack_from(message, 16)
        address = find(message[28:], _NDA_LLADDR)
        if state & _NUD_NOARP and not flags & _NTF_SELF and address is not None:
            result.append((_mac(address), index))
    return result


def forwardings(netlink: NetlinkSocket, index: int) -> list[tuple[str, IPAddress]]:
    """Return (MAC, VTEP) of the permanent forwarding entries of the tunnel with *index*."""
    result = []
    for message in netlink.dump(Request(_GETNEIGH, 0, bodies.neighbor(_AF_BRIDGE), "list", "forwarding entries")):
        _, link_index, state, flags, _ = _NDMSG.unpack_from(message, 16)
        attributes = dict(walk(message[28:]))
        if link_index == index and flags & _NTF_SELF and state & _NUD_PERMANENT and attributes.get(_NDA_DST):
            result.append((_mac(attributes[_NDA_LLADDR]), ip_address(attributes[_NDA_DST])))
    return result
