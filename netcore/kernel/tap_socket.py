"""A packet socket at a tap: what its guest sends by DHCP and router discovery comes in, before any rule of the firewall sees it.

What is sent goes to the guest alone, past the bridge. Spec: packet(7), socket(7).
"""

from __future__ import annotations

import fcntl
import socket
import struct

from netcore.kernel import socket_filter
from netcore.taps import frames

_ETH_ALL = 0x0003
_SIOCGIFHWADDR = 0x8927
_ROOM = 1 << 16
MOST_WAITING = 2 * _ROOM // 512
"""Frames that wait at one socket, at most: the kernel doubles the room, and counts more than this for each (socket(7), SO_RCVBUF)."""


def opened(ifname: str) -> socket.socket:
    """Return a socket that does not block, at the link *ifname* of the calling thread's namespace. Raises OSError."""
    # It gets nothing before it is bound, and then what the filter lets through.
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)
    try:
        socket_filter.attach(sock, frames.FILTER)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
        sock.bind((ifname, _ETH_ALL))
    except BaseException:
        sock.close()
        raise
    return sock


def index_of(ifname: str) -> int:
    """Return the index of the link *ifname* of the calling thread's namespace, 0 if there is none."""
    try:
        return socket.if_nametoindex(ifname)
    except OSError:
        return 0


def mac_of(ifname: str) -> bytes:
    """Return the MAC of the link *ifname* of the calling thread's namespace, b"" if there is none (netdevice(7), SIOCGIFHWADDR)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            answer = fcntl.ioctl(sock, _SIOCGIFHWADDR, struct.pack("16s24x", ifname.encode()))
        except OSError:
            return b""
    return answer[18:24]
