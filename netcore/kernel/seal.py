"""Whether anybody has changed a namespace since: its links, addresses, forwarding and firewall. Asking takes no visit to it.

Two notification sockets inside, which nobody reads: something in one means that something was changed. Spec: `notifications`.
"""

from __future__ import annotations

import contextlib
import socket

from netcore.kernel import netns
from netcore.kernel.netlink import ROUTE
from netcore.kernel.notifications import LINKS, NFTABLES, Group, subscribe

_INSIDE = (LINKS, *(Group(ROUTE, number) for number in (5, 9, 24, 25)))
"""With addresses, and what is set per link, of IPv4 and IPv6 (RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_NETCONF,
RTNLGRP_IPV6_NETCONF)."""
_ROOM = 1
"""Octets that may wait; the kernel makes it enough for one message, and what does not fit is told too."""


class Seal:
    """See the module. *netns_descriptor*: of the namespace, as it is to be. Raises OSError. Close it."""

    __slots__ = ("_sockets",)

    def __init__(self, netns_descriptor: int) -> None:
        with contextlib.ExitStack() as stack:

            def watch() -> list[socket.socket]:
                return [stack.enter_context(subscribe(groups, _ROOM)) for groups in (_INSIDE, (NFTABLES,))]

            self._sockets = netns.run_inside(netns_descriptor, watch)
            stack.pop_all()

    def is_whole(self) -> bool:
        """Return whether nothing was changed."""
        return not any(map(_was_told, self._sockets))

    def close(self) -> None:
        """Hear no more."""
        for sock in self._sockets:
            sock.close()


def _was_told(sock: socket.socket) -> bool:
    try:
        sock.recv(1)
    except BlockingIOError:
        return False
    except OSError:
        # There was more than it has room for.
        return True
    return True
