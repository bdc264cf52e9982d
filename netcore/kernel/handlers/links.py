"""Links are made one by one, at once: what follows needs their index. Flags of links go in the batch.

Pairs and bridges are only taken down when they go; `deferred_deletes` deletes them later. Others are deleted at once, as their
numbers (of a VLAN, of a tunnel) and their parents must be free for the next.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

from netcore import limits
from netcore.desired.objects import (
    HOST,
    Bridge,
    BridgePort,
    DummyLink,
    Hairpin,
    HostLink,
    Ipvlan,
    LinkUp,
    Macvlan,
    MovedLink,
    SandboxLink,
    Veth,
    VethPeer,
    VlanLink,
    VxlanLink,
)
from netcore.errors import NotFound
from netcore.kernel import link_kinds, netns, rtnl, sysctl
from netcore.kernel.handlers import link_repair
from netcore.kernel.handlers.handler import Handler, nothing
from netcore.kernel.inventory import Inventory
from netcore.kernel.netlink import NetlinkSocket, Request
from netcore.kernel.sessions import NetlinkSessions

_TUNNEL_PORT = {"neigh_suppress": 1, "learning": 0, "unicast_flood": 0, "mcast_flood": 0, "bcast_flood": 0}
"""Flags of a tunnel as a bridge port: entries say who is where, and the bridge answers ARP and ND for who is elsewhere."""
_SANDBOX_PORT = {"learning": 0, "isolated": 0, "unicast_flood": 0, "mcast_max_groups": limits.MULTICAST_GROUPS, "group_fwd_mask": 0xFFFD}
"""Flags of a sandbox's port. Its one address is an entry already, so what is for others is never sent to it.

The mask: frames for the groups that a bridge keeps to itself (01:80:c2:00:00:00 to 0f, but for 01, which is dropped anyway)
take the way of all others, where the firewall drops them. Without it the bridge hands them to the port's own link, past
source binding and past every rule for bridges, with whatever packet is in them; and learns their source first.
"""


def _create_bridge(sessions: NetlinkSessions, bridge: Bridge) -> tuple[()]:
    netlink = sessions.rtnetlink(HOST)
    if bridge.reused:
        netlink.execute(rtnl.set_link(bridge.name))
    else:
        rtnl.ensure_link(netlink, link_kinds.add_bridge(bridge.name, bridge.mac, bridge.mtu), bridge.tag)
    return ()


def _create_vlan(sessions: NetlinkSessions, link: VlanLink) -> tuple[()]:
    creation = link_kinds.add_vlan(link.name, base=sessions.link_index(HOST, link.base), vid=link.vid)
    rtnl.ensure_link(sessions.rtnetlink(HOST), creation, link.tag)
    return ()


def _create_dummy(sessions: NetlinkSessions, link: DummyLink) -> tuple[()]:
    rtnl.ensure_link(sessions.rtnetlink(HOST), link_kinds.add_dummy(link.name, link.mtu), link.tag)
    return ()


def _create_vxlan(sessions: NetlinkSessions, tunnel: VxlanLink) -> tuple[()]:
    netlink, master = sessions.rtnetlink(HOST), sessions.link_index(HOST, tunnel.bridge)
    creation = link_kinds.add_vxlan(tunnel.name, vni=tunnel.vni, port=tunnel.port, local=tunnel.local, master=master, mtu=tunnel.mtu)
    rtnl.ensure_link(netlink, creation, tunnel.tag)
    netlink.execute(rtnl.set_port(tunnel.name, **_TUNNEL_PORT))
    return ()


def _delete_host_link(sessions: NetlinkSessions, link: HostLink) -> tuple[()]:
    rtnl.delete_ours(sessions.rtnetlink(HOST), link.name, link.tag)
    return ()


def _delete_bridge(sessions: NetlinkSessions, bridge: Bridge) -> tuple[()]:
    """Take a bridge down, with its addresses and its name."""
    if bridge.reused:
        return ()
    netlink = sessions.rtnetlink(HOST)
    link = rtnl.find_link(netlink, bridge.name)
    if link is None or link.alias != bridge.tag:
        # Gone, or of somebody else, who gave it the same name.
        return ()
    group = sessions.deferred_deletes.bridge_group()
    addresses = [rtnl.delete_address(interface, index) for index, interface in rtnl.addresses(netlink, link.index) if index == link.index]
    # Down before it has another name: until Linux 6.2 no link that is up can be renamed.
    requests = [*addresses, rtnl.set_down(link.index), rtnl.put_in_group(link.index, group, _name_of_gone(link.index))]
    if _have_run(netlink, requests):
        sessions.deferred_deletes.put(group)
    else:
        netlink.execute(rtnl.delete_link(bridge.name))
    return ()


def _name_of_gone(index: int) -> str:
    """Return a name for a link that waits for being deleted; no other link that does has it."""
    return f"gone-{index}"


def _have_run(netlink: NetlinkSocket, requests: Sequence[Request]) -> bool:
    """Send *requests* together; return False if the new name is taken. Raises the first other error, but for what is gone already."""
    errors = [error for error in netlink.run(requests) if error is not None]
    for error in errors:
        if error.errno not in (errno.EADDRNOTAVAIL, errno.EEXIST):
            raise error
    return not any(error.errno == errno.EEXIST for error in errors)


def _observe_bridge(inventory: Inventory, bridge: Bridge) -> bool:
    link = inventory.link(HOST, bridge.name)
    if link is None or link.kind != "bridge" or not link.up:
        return False
    return bridge.reused or (link.alias == bridge.tag and link.mac == bridge.mac)


def _mend_bridge(sessions: NetlinkSessions, bridge: Bridge) -> tuple[()]:
    return () if link_repair.restore_bridge(sessions, bridge) else _create_bridge(sessions, bridge)


def _observe_host_link(inventory: Inventory, wanted: HostLink) -> bool:
    link = inventory.link(HOST, wanted.name)
    return link is not None and link.up and link.alias == wanted.tag


def _create_veth(sessions: NetlinkSessions, veth: Veth) -> tuple[()]:
    with sessions.netns(veth.sandbox_id) as peer_netns:
        creation = link_kinds.add_veth(
            veth.host_ifname,
            master=sessions.link_index(HOST, veth.bridge),
            mtu=veth.mtu,
            peer_ifname=veth.ifname,
            peer_mac=veth.mac,
            peer_netns_descriptor=peer_netns,
        )
        sessions.rtnetlink(HOST).execute(creation)
    # It is the port of a bridge, and needs no address and no route of its own: the kernel's work for them, which goes on behind
    # the reply and holds up all other changes of links, grows with the number of ports.
    sysctl.try_to_write(f"net/ipv6/conf/{veth.host_ifname}/disable_ipv6", "1")
    return ()


def _delete_veth(sessions: NetlinkSessions, veth: Veth) -> tuple[()]:
    """Take a pair down and off its bridge, and free its names: the host's, and the one in a sandbox that lives on."""
    netlink = sessions.rtnetlink(HOST)
    index = sessions.link_index(HOST, veth.host_ifname)
    group = sessions.deferred_deletes.pair_group()
    # Down before it is off the bridge, where nothing checks what it sends.
    if not _have_run(netlink, [rtnl.set_down(index), rtnl.put_in_group(index, group, _name_of_gone(index))]):
        netlink.execute(rtnl.delete_link(veth.host_ifname))
        return ()
    sessions.deferred_deletes.put(group)
    if sessions.ending != veth.sandbox_id and not _is_name_free(sessions, veth, index):
        sessions.deferred_deletes.delete(group)
    return ()


def _is_name_free(sessions: NetlinkSessions, veth: Veth, host_index: int) -> bool:
    """Take the sandbox's end of a pair down and give it another name, so that the next link can have its own; False if that can't be."""
    try:
        netlink = sessions.rtnetlink(veth.sandbox_id)
    except NotFound:
        # The namespace has gone, and its links with it.
        return True
    inside = rtnl.find_link(netlink, veth.ifname)
    # Whoever is root there may have given the name to another link.
    if inside is None or (inside.kind, inside.peer) != ("veth", host_index):
        return True
    return _have_run(netlink, [rtnl.set_down(inside.index), rtnl.rename_link(inside.index, _name_of_gone(inside.index))])


def _observe_veth(inventory: Inventory, veth: Veth) -> bool:
    link, host = inventory.link(HOST, veth.host_ifname), inventory.of(HOST)
    if link is None or host is None or host.names.get(link.master) != veth.bridge:
        return False
    return link.up and link.mtu == veth.mtu and is_pair_there(inventory, veth)


def is_pair_there(inventory: Inventory, veth: Veth) -> bool:
    """Return whether both ends of a pair are there, the sandbox's by whatever name."""
    link, sandbox = inventory.link(HOST, veth.host_ifname), inventory.of(veth.sandbox_id)
    return (
        link is not None
        and sandbox is not None
        and any((each.index, each.peer) == (link.peer, link.index) for each in sandbox.links.values())
    )


def _mend_veth(sessions: NetlinkSessions, veth: Veth) -> tuple[()]:
    return () if link_repair.restore_veth(sessions, veth) else _create_veth(sessions, veth)


def _observe_peer(inventory: Inventory, peer: VethPeer) -> bool:
    link, outside = inventory.link(peer.sandbox_id, peer.ifname), inventory.link(HOST, peer.host_ifname)
    # Where the host's end is not to be found, that is what is damaged.
    is_pair = link is not None and link.kind == "veth" and (outside is None or link.peer == outside.index)
    return link is not None and is_pair and link.mac == peer.mac and link.mtu == peer.mtu


def _mend_peer(sessions: NetlinkSessions, peer: VethPeer) -> tuple[()]:
    link_repair.restore_peer(sessions, peer)
    return ()


def _set_bridge_port(sessions: NetlinkSessions, port: BridgePort) -> list[Request]:
    """Set the flags before the port is up; entries that it left behind are those of an earlier version, which learned."""
    flags = {**_SANDBOX_PORT, "multicast_router": int(port.router)}
    return [rtnl.start_port(port.host_ifname, flags), rtnl.static_entry(port.mac, sessions.link_index(HOST, port.host_ifname))]


def _observe_bridge_port(inventory: Inventory, port: BridgePort) -> bool:
    link = inventory.link(HOST, port.host_ifname)
    if link is None or not link.up or not link.master or link.learns or link.is_isolated:
        return False
    return inventory.has_static_entry(port.host_ifname, port.mac)


def _create_sub_interface(sessions: NetlinkSessions, link: Macvlan | Ipvlan, creation: Callable[[int, int], Request]) -> tuple[()]:
    """Carry out *creation*, made of the parent's index and a descriptor of the sandbox's namespace."""
    parent = sessions.link_index(HOST, link.parent)
    with sessions.netns(link.sandbox_id) as descriptor:
        sessions.rtnetlink(HOST).execute(creation(parent, descriptor))
    return ()


def _create_macvlan(sessions: NetlinkSessions, link: Macvlan) -> tuple[()]:
    return _create_sub_interface(
        sessions,
        link,
        lambda parent, descriptor: link_kinds.add_macvlan(
            link.ifname, parent=parent, netns_descriptor=descriptor, mode=link.mode, mac=link.mac, mtu=link.mtu
        ),
    )


def _create_ipvlan(sessions: NetlinkSessions, link: Ipvlan) -> tuple[()]:
    return _create_sub_interface(
        sessions,
        link,
        lambda parent, descriptor: link_kinds.add_ipvlan(
            link.ifname, parent=parent, netns_descriptor=descriptor, mode=link.mode, flag=link.flag, mtu=link.mtu
        ),
    )


def _delete_sub_interface(sessions: NetlinkSessions, link: Macvlan | Ipvlan) -> tuple[()]:
    sessions.rtnetlink(link.sandbox_id).execute(rtnl.delete_link(link.ifname))
    return ()


def _move_in(sessions: NetlinkSessions, link: MovedLink) -> tuple[()]:
    index = sessions.link_index(HOST, link.source)
    with sessions.netns(link.sandbox_id) as descriptor:
        sessions.rtnetlink(HOST).execute(rtnl.move_link(link.source, index, descriptor, link.ifname))
    if link.mac:
        sessions.rtnetlink(link.sandbox_id).execute(rtnl.set_mac(link.ifname, link.mac))
    return ()


def _move_back(sessions: NetlinkSessions, link: MovedLink) -> tuple[()]:
    index = sessions.link_index(link.sandbox_id, link.ifname)
    with netns.opened(netns.OWN) as descriptor:
        sessions.rtnetlink(link.sandbox_id).execute(rtnl.move_link(link.ifname, index, descriptor, link.source))
    return ()


def _observe_sandbox_link(inventory: Inventory, link: SandboxLink) -> bool:
    found = inventory.link(link.sandbox_id, link.ifname)
    mac = "" if isinstance(link, Ipvlan) else link.mac
    return found is not None and (not mac or found.mac == mac)


def _mend_macvlan(sessions: NetlinkSessions, link: Macvlan) -> tuple[()]:
    return () if link_repair.restore_mac(sessions, link.sandbox_id, link.ifname, link.mac) else _create_macvlan(sessions, link)


def _mend_moved(sessions: NetlinkSessions, link: MovedLink) -> tuple[()]:
    return () if link_repair.restore_mac(sessions, link.sandbox_id, link.ifname, link.mac) else _move_in(sessions, link)


def _mend_vxlan(sessions: NetlinkSessions, tunnel: VxlanLink) -> tuple[()]:
    _create_vxlan(sessions, tunnel)
    link_repair.restore_tunnel(sessions, tunnel)
    return ()


def _observe_vxlan(inventory: Inventory, tunnel: VxlanLink) -> bool:
    link, host = inventory.link(HOST, tunnel.name), inventory.of(HOST)
    return link is not None and host is not None and link.up and host.names.get(link.master) == tunnel.bridge


def _observe_hairpin(inventory: Inventory, port: Hairpin) -> bool:
    link = inventory.link(HOST, port.host_ifname)
    return link is not None and link.has_hairpin


def _observe_up(inventory: Inventory, wanted: LinkUp) -> bool:
    link = inventory.link(wanted.sandbox_id, wanted.ifname)
    return link is not None and link.up


def _mend_up(sessions: NetlinkSessions, link: LinkUp) -> tuple[()]:
    sessions.rtnetlink(link.sandbox_id).execute(rtnl.set_link(link.ifname))
    return ()


BRIDGE: Handler[Bridge, Request] = Handler(create=_create_bridge, delete=_delete_bridge, observe=_observe_bridge, mend=_mend_bridge)
VLAN: Handler[VlanLink, Request] = Handler(create=_create_vlan, delete=_delete_host_link, observe=_observe_host_link)
DUMMY: Handler[DummyLink, Request] = Handler(create=_create_dummy, delete=_delete_host_link, observe=_observe_host_link)
VXLAN: Handler[VxlanLink, Request] = Handler(create=_create_vxlan, delete=_delete_host_link, observe=_observe_vxlan, mend=_mend_vxlan)
VETH: Handler[Veth, Request] = Handler(create=_create_veth, delete=_delete_veth, observe=_observe_veth, mend=_mend_veth)
VETH_PEER: Handler[VethPeer, Request] = Handler(create=_mend_peer, delete=nothing, observe=_observe_peer)
MACVLAN: Handler[Macvlan, Request] = Handler(
    create=_create_macvlan, delete=_delete_sub_interface, observe=_observe_sandbox_link, mend=_mend_macvlan
)
IPVLAN: Handler[Ipvlan, Request] = Handler(create=_create_ipvlan, delete=_delete_sub_interface, observe=_observe_sandbox_link)
MOVED: Handler[MovedLink, Request] = Handler(create=_move_in, delete=_move_back, observe=_observe_sandbox_link, mend=_mend_moved)
LINK_UP: Handler[LinkUp, Request] = Handler(
    create=lambda _, link: [rtnl.set_link(link.ifname)],
    delete=lambda _, link: [rtnl.set_link(link.ifname, up=False)],
    observe=_observe_up,
    # At once: what is behind it in the order needs it.
    mend=_mend_up,
)
BRIDGE_PORT: Handler[BridgePort, Request] = Handler(create=_set_bridge_port, delete=nothing, observe=_observe_bridge_port)
HAIRPIN: Handler[Hairpin, Request] = Handler(
    create=lambda _, port: [rtnl.set_port(port.host_ifname, mode=1)],
    delete=lambda _, port: [rtnl.set_port(port.host_ifname, mode=0)],
    observe=_observe_hairpin,
)
