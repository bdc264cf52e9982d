"""Links that are there, but not as they should be: renamed, off their bridge, down, with another MAC; and those that are gone.

A link that was renamed is found by its alias or by the other end of its pair, and gets its name back: what is attached to it
lives on. Only where nothing is left is a link made anew.
"""

from __future__ import annotations

import errno

from netcore.desired.objects import HOST, Bridge, Veth, VethPeer, VxlanLink
from netcore.errors import Conflict, NotFound
from netcore.kernel import rtnl
from netcore.kernel.netlink import NetlinkSocket
from netcore.kernel.sessions import NetlinkSessions
from netcore.model import SandboxId


def restore_bridge(sessions: NetlinkSessions, bridge: Bridge) -> bool:
    """Give a bridge its name, MAC, alias and state back; return False if there is none to be found."""
    netlink = sessions.rtnetlink(HOST)
    link = rtnl.find_link(netlink, bridge.name)
    if link is None and not bridge.reused:
        renamed = next((other for other in rtnl.links(netlink) if other.kind == "bridge" and other.alias == bridge.tag), None)
        if renamed is not None:
            _rename(netlink, renamed, bridge.name)
            link = rtnl.find_link(netlink, bridge.name)
    if link is None:
        return False
    if link.kind != "bridge":
        raise Conflict("link", bridge.name, "has taken the place of the network's bridge; rename it or remove it")
    if bridge.reused:
        netlink.execute(rtnl.set_link(bridge.name))
        return True
    if link.mac != bridge.mac:
        netlink.execute(rtnl.set_mac(bridge.name, bridge.mac))
    netlink.execute(rtnl.set_link(bridge.name, alias=bridge.tag))
    return True


def restore_veth(sessions: NetlinkSessions, veth: Veth) -> bool:
    """Give the host's end of a pair its name, bridge, MTU and state back; return False if the pair must be made, after removing its rest.

    The other end may have any name: whoever is root there may have given it.
    """
    netlink, inner = sessions.rtnetlink(HOST), sessions.rtnetlink(veth.sandbox_id)
    host, inside = rtnl.find_link(netlink, veth.host_ifname), rtnl.find_link(inner, veth.ifname)
    if host is None and inside is not None:
        host = _renamed(netlink, inside, veth.host_ifname)
    if host is None or _other_end(inner, host) is None:
        if host is not None and host.kind == "veth":
            netlink.run([rtnl.delete_link(host.name)])
        return False
    master = sessions.link_index(HOST, veth.bridge)
    if host.master != master:
        netlink.execute(rtnl.set_master(veth.host_ifname, master))
    netlink.execute(rtnl.set_link(veth.host_ifname, mtu=veth.mtu))
    return True


def restore_peer(sessions: NetlinkSessions, peer: VethPeer) -> None:
    """Give the sandbox's end of a pair its name, MAC and MTU back; NotFound if there is none."""
    inner, host = sessions.rtnetlink(peer.sandbox_id), rtnl.find_link(sessions.rtnetlink(HOST), peer.host_ifname)
    inside = rtnl.find_link(inner, peer.ifname)
    if inside is None and host is not None:
        inside = _renamed(inner, host, peer.ifname)
    if inside is None:
        raise NotFound("link", peer.describe())
    if inside.mac != peer.mac:
        inner.execute(rtnl.set_mac(peer.ifname, peer.mac))
    if inside.mtu != peer.mtu:
        inner.execute(rtnl.set_link(peer.ifname, up=inside.up, mtu=peer.mtu))


def restore_tunnel(sessions: NetlinkSessions, tunnel: VxlanLink) -> None:
    """Put a tunnel that is there back on its bridge, and up."""
    netlink = sessions.rtnetlink(HOST)
    netlink.execute(rtnl.set_master(tunnel.name, sessions.link_index(HOST, tunnel.bridge)))
    netlink.execute(rtnl.set_link(tunnel.name))


def restore_mac(sessions: NetlinkSessions, sandbox_id: SandboxId, ifname: str, mac: str) -> bool:
    """Give a link in a sandbox its MAC back; return False if the link is gone."""
    netlink = sessions.rtnetlink(sandbox_id)
    if rtnl.find_link(netlink, ifname) is None:
        return False
    if mac:
        netlink.execute(rtnl.set_mac(ifname, mac))
    return True


def _renamed(netlink: NetlinkSocket, other_end: rtnl.Link, name: str) -> rtnl.Link | None:
    """Return the end of a pair whose *other_end* is known, under its right *name* again; None if it is not in this namespace."""
    found = _other_end(netlink, other_end)
    if found is None:
        return None
    _rename(netlink, found, name)
    return rtnl.find_link(netlink, name)


def _other_end(netlink: NetlinkSocket, end: rtnl.Link) -> rtnl.Link | None:
    """Return the other end of a pair, if it is in the namespace of *netlink*."""
    return next((link for link in rtnl.links(netlink) if (link.index, link.peer, link.kind) == (end.peer, end.index, "veth")), None)


def _rename(netlink: NetlinkSocket, link: rtnl.Link, name: str) -> None:
    error = netlink.run([rtnl.rename_link(link.index, name)])[0]
    if error is None:
        return
    if error.errno != errno.EBUSY:
        raise error
    # Before Linux 6.2 only a link that is down can be renamed. Whoever needs it up sets it so.
    for request in (rtnl.set_down(link.index), rtnl.rename_link(link.index, name)):
        netlink.execute(request)
