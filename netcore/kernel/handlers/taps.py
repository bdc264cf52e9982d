"""Taps as ports of a network's bridge. The tag is set before a tap lasts, so none without it is ours."""

from __future__ import annotations

from netcore.desired.objects import HOST, TapLink
from netcore.errors import Conflict
from netcore.kernel import rtnl, tun
from netcore.kernel.handlers.handler import Handler
from netcore.kernel.inventory import Inventory
from netcore.kernel.netlink import Request
from netcore.kernel.sessions import NetlinkSessions


def _create(sessions: NetlinkSessions, tap: TapLink) -> tuple[()]:
    if _restore(sessions, tap):
        return ()
    with tun.made(tap.host_ifname, tap.owner, tap.group):
        _put_on_bridge(sessions, tap)
    return ()


def _restore(sessions: NetlinkSessions, tap: TapLink) -> bool:
    """Give a tap that is there its name, bridge and MTU back, so that who has it open goes on; False if there is none of ours."""
    netlink = sessions.rtnetlink(HOST)
    link = next((other for other in rtnl.links(netlink) if other.kind == tun.KIND and other.alias == tap.tag), None)
    if link is None:
        return False
    if link.name != tap.host_ifname:
        if rtnl.find_link(netlink, tap.host_ifname) is not None:
            raise Conflict("link", tap.host_ifname, "has taken the place of the sandbox's tap; rename it or remove it")
        for request in (rtnl.set_down(link.index), rtnl.rename_link(link.index, tap.host_ifname)):
            netlink.execute(request)
    _put_on_bridge(sessions, tap, up=link.up)
    return True


def _put_on_bridge(sessions: NetlinkSessions, tap: TapLink, *, up: bool = False) -> None:
    netlink = sessions.rtnetlink(HOST)
    netlink.execute(rtnl.set_link(tap.host_ifname, up=up, alias=tap.tag, mtu=tap.mtu))
    netlink.execute(rtnl.set_master(tap.host_ifname, sessions.link_index(HOST, tap.bridge)))


def _delete(sessions: NetlinkSessions, tap: TapLink) -> tuple[()]:
    rtnl.delete_ours(sessions.rtnetlink(HOST), tap.host_ifname, tap.tag)
    return ()


def _observe(inventory: Inventory, tap: TapLink) -> bool:
    link, host = inventory.link(HOST, tap.host_ifname), inventory.of(HOST)
    if link is None or host is None or link.kind != tun.KIND or link.alias != tap.tag:
        return False
    return host.names.get(link.master) == tap.bridge and link.up and link.mtu == tap.mtu


TAP: Handler[TapLink, Request] = Handler(create=_create, delete=_delete, observe=_observe)
