"""Copies of packets from the rules that log them to a group: a netlink socket for an event loop to wait on.

Spec: Linux include/uapi/linux/netfilter/nfnetlink_log.h; net/netfilter/nfnetlink_log.c.
"""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from netcore.kernel import netns
from netcore.kernel.netlink import NETFILTER, NetlinkSocket, Request, attr, is_of, message_type, messages, open_socket, walk

_SUBSYSTEM = 4
_PACKET, _CONFIG = _SUBSYSTEM << 8, _SUBSYSTEM << 8 | 1
_COMMAND, _MODE, _THRESHOLD = 1, 2, 5
_BIND, _COPY_PACKET = 1, 2
_WHOLE = 0xFFFF - 4
_MARK, _LINK, _HARDWARE_ADDRESS, _PAYLOAD, _PREFIX = 2, 4, 8, 9, 10
_HARDWARE = struct.Struct("!HH")
_HEAD = struct.Struct("!BBH")
_HEAD_END = 20
_RECEIVE = 1 << 18
_ROOM = 4 << 20
_SO_RCVBUFFORCE = 33
_BOUND = Path("/proc/self/net/netfilter/nfnetlink_log")
"""A line for each group that has a listener: its number, and the listener's address in netlink."""


@dataclass(frozen=True, slots=True)
class LoggedPacket:
    """A packet from its IP header on, perhaps cut. *link*: index of the link that it came in by. *mac*: of who sent it, if known."""

    prefix: str
    mark: int
    link: int
    mac: bytes
    packet: bytes


class PacketLog:
    """The copies of one group, in the namespace of the calling thread. Raises KernelError, with EPERM if another process has the group.

    *left*: the socket that an earlier process had for it, see `listens`; what has come since then is in it.
    """

    def __init__(self, group: int, left: socket.socket | None = None) -> None:
        if left is not None:
            self._socket = left
            self._socket.setblocking(False)
            return
        self._socket = open_socket(NETFILTER)
        try:
            netlink = NetlinkSocket(NETFILTER, self._socket)
            _make_room(self._socket)
            for body in (
                attr(_COMMAND, bytes([_BIND])),
                # Each at once: somebody waits for what is decided.
                attr(_MODE, struct.pack("!IBB", _WHOLE, _COPY_PACKET, 0)) + attr(_THRESHOLD, struct.pack("!I", 1)),
            ):
                netlink.execute(Request(_CONFIG, 0, _HEAD.pack(0, 0, group) + body, "bind", f"log group {group}"))
            self._socket.setblocking(False)
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor that is readable once a packet was logged."""
        return self._socket.fileno()

    def read(self, most: int) -> list[LoggedPacket]:
        """Return what has come, at most about *most* packets. Some may be missing: TCP sends them again."""
        came: list[LoggedPacket] = []
        while len(came) < most:
            try:
                octets = self._socket.recv(_RECEIVE)
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    continue
                return came
            came += [read_message(message) for message in messages(octets) if message_type(message) == _PACKET]
        return came

    def close(self) -> None:
        """Stop; the rules then log to nobody."""
        self._socket.close()


def _make_room(sock: socket.socket) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
    except PermissionError:
        # In a user namespace net.core.rmem_max bounds it.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)


def listens(sock: socket.socket, group: int) -> bool:
    """Return whether *sock* gets the copies of *group* in this process's namespace. Raises OSError."""
    if not is_of(sock, NETFILTER) or not netns.is_own_socket(sock):
        return False
    address = sock.getsockname()[0] & 0xFFFF_FFFF
    return any([int(number) for number in line.split()[:2]] == [group, address] for line in _BOUND.read_text().splitlines())


def read_message(message: bytes) -> LoggedPacket:
    """Return the packet in one message (header included)."""
    found = dict(walk(message[_HEAD_END:]))
    hardware = found.get(_HARDWARE_ADDRESS, b"")
    length = _HARDWARE.unpack_from(hardware)[0] if len(hardware) >= _HARDWARE.size else 0
    return LoggedPacket(
        prefix=found.get(_PREFIX, b"").rstrip(b"\0").decode(errors="replace"),
        mark=int.from_bytes(found.get(_MARK, b""), "big"),
        link=int.from_bytes(found.get(_LINK, b""), "big"),
        mac=hardware[_HARDWARE.size : _HARDWARE.size + length],
        packet=found.get(_PAYLOAD, b""),
    )
