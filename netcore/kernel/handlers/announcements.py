"""Announcements: sent once the bridge port forwards, then again on a timer. There is nothing to delete or to observe."""

from __future__ import annotations

import errno
import time

from netcore import limits
from netcore.desired.objects import HOST, Announcement
from netcore.errors import KernelError
from netcore.kernel import announce, rtnl
from netcore.kernel.handlers.handler import Handler, nothing
from netcore.kernel.netlink import NetlinkSocket, Request
from netcore.kernel.sessions import NetlinkSessions


def _announce(sessions: NetlinkSessions, announcement: Announcement) -> tuple[()]:
    if announcement.port is not None:
        _wait_until_forwarding(sessions.rtnetlink(HOST), announcement.port)
    if not announcement.addresses:
        # Nobody has to be told.
        return ()
    sock = sessions.packet_socket(announcement.sandbox_id, announcement.ifname)
    announce.send(sock, announcement.mac, announcement.addresses)
    sessions.announcements.put(sock, announcement, announcement.count - 1)
    return ()


def _wait_until_forwarding(netlink: NetlinkSocket, host_ifname: str) -> None:
    """Wait until the port passes frames; otherwise the first packet of a new sandbox is lost and costs a second."""
    end = time.monotonic() + limits.FORWARDING_WAIT
    pause = 0.0002
    while time.monotonic() < end:
        if rtnl.is_forwarding(netlink, host_ifname):
            return
        time.sleep(pause)
        pause = min(pause * 1.5, 0.005)
    raise KernelError("wait for", f"bridge port {host_ifname}", errno.ETIMEDOUT, "it does not reach the forwarding state")


ANNOUNCEMENT: Handler[Announcement, Request] = Handler(create=_announce, delete=nothing, observe=lambda *_: True)
