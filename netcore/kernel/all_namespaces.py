"""Notifications of every namespace that is ours, through two sockets of the host: one of rtnetlink, one of nftables.

A socket with NETLINK_LISTEN_ALL_NSID hears all namespaces that have an id (nsid) in its own, and each message says
which. So a thousand sandboxes cost no descriptor. It needs CAP_NET_BROADCAST over them.

Spec: Linux include/uapi/linux/netlink.h (NETLINK_LISTEN_ALL_NSID), net_namespace.h (NETNSA_NSID).
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import NamedTuple

from netcore import limits
from netcore.errors import KernelError
from netcore.kernel import bursts, netns
from netcore.kernel.netlink import ROUTE, NetlinkSocket, Request, attr, find, messages
from netcore.kernel.notifications import LINKS, NFTABLES, Group, subscribe
from netcore.model import NetnsPath

_SOL_NETLINK, _LISTEN_ALL = 270, 8
_RECEIVE = 1 << 22
_NEIGHBORS = Group(ROUTE, 3)
_ROUTING, _SETTINGS = (tuple(Group(ROUTE, number) for number in numbers) for numbers in ((5, 9, 7, 11), (24, 25)))
_NEWNSID, _GETNSID = 88, 90
_NSID, _FD = 1, 3


class Notice(NamedTuple):
    """One message (header included). *nsid*: of the namespace that it is about, None for the host's own."""

    nsid: int | None
    message: bytes


class AllNamespaces:
    """A subscription to *groups* of one protocol in all namespaces with an id. OSError if the kernel refuses."""

    def __init__(self, *groups: Group) -> None:
        self._socket = subscribe(groups, _RECEIVE)
        self._hears_all = self._listen_to_all()

    @classmethod
    def links(cls) -> AllNamespaces:
        """Return a subscription to links, addresses, routes and neighbours."""
        return cls(LINKS, _NEIGHBORS, *_ROUTING, *_SETTINGS)

    @classmethod
    def tables(cls) -> AllNamespaces:
        """Return a subscription to nftables."""
        return cls(NFTABLES)

    def _listen_to_all(self) -> bool:
        try:
            self._socket.setsockopt(_SOL_NETLINK, _LISTEN_ALL, 1)
        except OSError:
            # Without CAP_NET_BROADCAST: only the host's own changes are heard.
            return False
        return True

    @property
    def hears_sandboxes(self) -> bool:
        """Return whether changes inside sandboxes come too."""
        return self._hears_all

    def fileno(self) -> int:
        """Return the descriptor that is readable once something has changed."""
        return self._socket.fileno()

    def read(self, pause: Callable[[], None]) -> list[Notice] | None:
        """Return what has come; None if some was lost, or there is more than one should look at. *pause*: is called now and then."""
        came: list[Notice] = []
        is_complete = True
        while len(came) < limits.DRIFT_MESSAGES:
            try:
                burst = bursts.receive(self._socket.fileno())
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                is_complete = False
                continue
            if not burst:
                return came if is_complete else None
            came += [Notice(nsid, message) for nsid, octets in burst for message in messages(octets)]
            pause()
        self._throw_away()
        return None

    def _throw_away(self) -> None:
        for _ in range(limits.DRIFT_MESSAGES):
            try:
                if not bursts.receive(self._socket.fileno()):
                    return
            except OSError:
                continue

    def close(self) -> None:
        """End the subscription."""
        self._socket.close()


def know(netns_path: NetnsPath) -> tuple[int, tuple[int, int]]:
    """Return the id that the namespace at *netns_path* has in the host's, and its identity. It gets an id if it has none. Blocking."""
    with netns.opened(netns_path) as descriptor, NetlinkSocket(ROUTE) as netlink:
        family, of_namespace = bytes(4), attr(_FD, struct.pack("=i", descriptor))
        fresh = Request(_NEWNSID, 0, family + of_namespace + attr(_NSID, struct.pack("=i", -1)), "give an id to", f"netns {netns_path}")
        error = netlink.run([fresh])[0]
        if error is not None and error.errno != errno.EEXIST:
            raise error
        answer = netlink.get(Request(_GETNSID, 0, family + of_namespace, "look up id of", f"netns {netns_path}"))
        found = find(answer[20:], _NSID)
        if found is None:
            raise KernelError("look up id of", f"netns {netns_path}", errno.ENOENT)
        return struct.unpack("=i", found)[0], netns.identity(descriptor)
