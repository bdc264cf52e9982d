"""Notifications: a netlink socket that the kernel writes to when something changes, for an event loop to wait on.

Who only wants to know that it is time for a look drains the socket. Who reads what came must be ready for the kernel
to have dropped some: then only a look tells.

Spec: Linux Documentation/userspace-api/netlink/intro.rst, "Multicast groups"; the groups are in nfnetlink.h and
rtnetlink.h below include/uapi/linux.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Collection
from dataclasses import dataclass

from netcore.classic_bpf import JUMP_IF_EQUAL, LOAD_HALF, LOAD_OCTET, RETURN, instruction
from netcore.kernel import bursts, nf_tables, socket_filter
from netcore.kernel.netlink import NETFILTER, ROUTE, XFRM, messages, open_socket

_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_LENGTH = 1 << 16
_RECEIVE = 1 << 21
_TYPE_AT, _FAMILY_AT = 4, 16
_NEWLINK, _DELLINK, _DELNETCONF = 16, 17, 81


@dataclass(frozen=True, slots=True)
class Group:
    """A multicast group of one netlink protocol."""

    protocol: int
    number: int


PATHS = tuple(Group(ROUTE, number) for number in (5, 9, 7, 11, 8, 19))
"""Every change of addresses, routes and rules, of IPv4 and IPv6 (RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE,
RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE)."""

LINKS = Group(ROUTE, 1)
"""Every change of a link (RTNLGRP_LINK)."""

ENCRYPTION = (Group(XFRM, 3), Group(XFRM, 4))
"""Every change of IPsec's states and policies (XFRMNLGRP_SA, XFRMNLGRP_POLICY)."""

NFTABLES = Group(NETFILTER, 7)
"""Every change of nftables (NFNLGRP_NFTABLES)."""

HOST = tuple(Group(ROUTE, number) for number in (1, 5, 9, 7, 11, 8, 19, 24, 25))
"""Links; addresses, routes and rules of IPv4 and IPv6; what is set per link below /proc/sys/net (RTNLGRP_LINK,
RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE,
RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF)."""


def _loaded(type_: int) -> int:
    """Return a message type as a filter loads it, which takes it for big-endian."""
    return int.from_bytes(struct.pack("=H", type_), "big")


_OF_LINKS_THEMSELVES = b"".join(
    (
        instruction(LOAD_HALF, _TYPE_AT),
        instruction(JUMP_IF_EQUAL, _loaded(_DELNETCONF), 5, 0),
        instruction(JUMP_IF_EQUAL, _loaded(_NEWLINK), 1, 0),
        instruction(JUMP_IF_EQUAL, _loaded(_DELLINK), 0, 2),
        instruction(LOAD_OCTET, _FAMILY_AT),
        instruction(JUMP_IF_EQUAL, socket.AF_UNSPEC, 0, 1),
        instruction(RETURN, 0xFFFF_FFFF),
        instruction(RETURN, 0),
    )
)
"""Lets through what `host_changes` looks at: not what bridges and IPv6 say of links, nor that links that go lose their settings."""

_OF_COMMITS = b"".join(
    (
        instruction(LOAD_HALF, _TYPE_AT),
        instruction(JUMP_IF_EQUAL, _loaded(nf_tables.NEWGEN), 0, 1),
        instruction(RETURN, 0xFFFF_FFFF),
        instruction(RETURN, 0),
    )
)
"""Lets through the one message with which each transaction of nftables ends."""


def subscribe(groups: Collection[Group], room: int = _RECEIVE) -> socket.socket:
    """Return a socket that gets what *groups* of one protocol tell, in the namespace of the calling thread; OSError if refused.

    *room*: octets that may wait in it.
    """
    (protocol,) = {group.protocol for group in groups}
    made = open_socket(protocol)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        for group in groups:
            made.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group.number)
    except BaseException:
        made.close()
        raise
    return made


class Notifications:
    """A subscription to *groups* of one protocol, in the namespace of the calling thread. OSError if the kernel refuses."""

    def __init__(self, *groups: Group) -> None:
        self._socket = subscribe(groups)

    @classmethod
    def of_host(cls) -> Notifications:
        """Return a subscription to `HOST`, without what is said of links more than once."""
        made = cls(*HOST)
        socket_filter.attach(made._socket, _OF_LINKS_THEMSELVES)
        return made

    @classmethod
    def of_commits(cls) -> Notifications:
        """Return a subscription to transactions of nftables: one message for each, not what it changed."""
        made = cls(NFTABLES)
        socket_filter.attach(made._socket, _OF_COMMITS)
        return made

    def fileno(self) -> int:
        """Return the descriptor that is readable once something has changed."""
        return self._socket.fileno()

    def drain(self) -> None:
        """Throw away what has come, so that the descriptor is readable again at the next change only."""
        try:
            while self._socket.recv(_LENGTH):
                continue
        except OSError:
            # Empty, or the kernel dropped some: either way the caller looks at what is there now.
            return

    def read(self) -> list[bytes] | None:
        """Return what has come, one message (header included) each; None if the kernel dropped some meanwhile."""
        came: list[bytes] = []
        is_complete = True
        while True:
            try:
                burst = bursts.receive(self._socket.fileno())
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    is_complete = False
                    continue
                return came if is_complete else None
            if not burst:
                return came if is_complete else None
            for _, octets in burst:
                came += messages(octets)

    def close(self) -> None:
        """End the subscription."""
        self._socket.close()
