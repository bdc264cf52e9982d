"""The sockets of one run of steps: those of the host are lent; others are opened, each in its namespace, and closed at the end."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from types import MappingProxyType
from typing import TypeVar

from netcore.desired.objects import HOST
from netcore.kernel import announce, netns, rtnl
from netcore.kernel.deferred_deletes import DeferredDeletes
from netcore.kernel.guard import Guard
from netcore.kernel.host_sockets import HostSockets
from netcore.kernel.netlink import NETFILTER, ROUTE, XFRM, NetlinkSocket
from netcore.kernel.repeated_announcements import RepeatedAnnouncements
from netcore.model import NetnsPath, SandboxId

_T = TypeVar("_T")


class NetlinkSessions:
    """Use as a context manager. *netns_path*: sandbox id → path of its namespace.

    *announcements*: takes those that are sent again. *guard*: the one of this host, whose socket outlasts the run, as those of
    *host_sockets* do. *deferred_deletes*: of links, held off meanwhile. *ending*: the sandbox whose namespace goes next, so nothing
    has to be tidied in it. *announced*: how many links of each sandbox will announce addresses, so that one visit is for that too.
    """

    def __init__(
        self,
        netns_path: Callable[[SandboxId], NetnsPath],
        announcements: RepeatedAnnouncements,
        guard: Guard,
        host_sockets: HostSockets,
        deferred_deletes: DeferredDeletes,
        ending: SandboxId | None = None,
        announced: Mapping[SandboxId, int] = MappingProxyType({}),
    ) -> None:
        self.announcements = announcements
        self.guard = guard
        self.deferred_deletes = deferred_deletes
        self.ending = ending
        self._netns_path = netns_path
        self._host_sockets = host_sockets
        self._stack = ExitStack()
        self._announced = announced
        self._packet_sockets: dict[SandboxId, list[socket.socket]] = {}
        self._rtnetlink: dict[SandboxId, NetlinkSocket] = {}
        self._of_host: dict[int, NetlinkSocket] = {}
        self._indexes: dict[tuple[SandboxId | None, str], int] = {}

    def __enter__(self) -> NetlinkSessions:
        self._stack.enter_context(self.deferred_deletes.held_off())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        for unused in (sock for opened in self._packet_sockets.values() for sock in opened):
            unused.close()

    def rtnetlink(self, sandbox_id: SandboxId | None, visit: Callable[[], None] | None = None) -> NetlinkSocket:
        """Return the rtnetlink socket of a namespace, *visit* having been called inside: one entry for both."""
        if sandbox_id is HOST:
            if visit is not None:
                visit()
            return self._host(ROUTE)

        def enter() -> NetlinkSocket | None:
            if visit is not None:
                visit()
            if sandbox_id not in self._packet_sockets:
                self._packet_sockets[sandbox_id] = [announce.open_packet_socket() for _ in range(self._announced.get(sandbox_id, 0))]
            return None if sandbox_id in self._rtnetlink else NetlinkSocket(ROUTE)

        if sandbox_id not in self._rtnetlink or visit is not None:
            opened = self._inside(sandbox_id, enter)
            if opened is not None:
                self._rtnetlink[sandbox_id] = self._stack.enter_context(opened)
        return self._rtnetlink[sandbox_id]

    def nftables(self) -> NetlinkSocket:
        """Return the socket for nftables transactions on the host."""
        return self._host(NETFILTER)

    def xfrm(self) -> NetlinkSocket:
        """Return the socket for IPsec on the host."""
        return self._host(XFRM)

    def _host(self, protocol: int) -> NetlinkSocket:
        if protocol not in self._of_host:
            self._of_host[protocol] = self._stack.enter_context(self._host_sockets.lent(protocol))
        return self._of_host[protocol]

    def link_index(self, sandbox_id: SandboxId | None, ifname: str) -> int:
        """Return the ifindex of a link; KernelError ENODEV if there is none."""
        if (sandbox_id, ifname) not in self._indexes:
            self._indexes[sandbox_id, ifname] = rtnl.link_index(self.rtnetlink(sandbox_id), ifname)
        return self._indexes[sandbox_id, ifname]

    def packet_socket(self, sandbox_id: SandboxId, ifname: str) -> socket.socket:
        """Return a new packet socket on a sandbox's link. It is the caller's to close."""
        ready = self._packet_sockets.get(sandbox_id)
        sock = ready.pop() if ready else self._inside(sandbox_id, announce.open_packet_socket)
        try:
            sock.bind((ifname, 0))
        except BaseException:
            sock.close()
            raise
        return sock

    def netns(self, sandbox_id: SandboxId) -> AbstractContextManager[int]:
        """Give a descriptor of a sandbox's namespace for the length of a block."""
        return netns.opened(self._netns_path(sandbox_id))

    def _inside(self, sandbox_id: SandboxId, body: Callable[[], _T]) -> _T:
        with self.netns(sandbox_id) as descriptor:
            return netns.run_inside(descriptor, body)
