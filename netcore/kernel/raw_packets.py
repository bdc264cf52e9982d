"""Packets with headers of our own, of IPv4 and IPv6, routed like what the host itself sends.

Spec: raw(7) (IPPROTO_RAW implies IP_HDRINCL), ipv6(7), socket(7) (SO_MARK).
"""

from __future__ import annotations

import contextlib
import socket

from netcore.model import IPAddress

_SO_MARK = 36
_ROOM = 1 << 20


class RawPackets:
    """Sends packets in the namespace of the calling thread. *mark*: of each packet, 0 for none."""

    def __init__(self, mark: int = 0) -> None:
        self._sockets: dict[int, socket.socket] = {}
        try:
            self._open(socket.AF_INET, 4, mark)
            with contextlib.suppress(OSError):
                # A host without IPv6 has none.
                self._open(socket.AF_INET6, 6, mark)
        except BaseException:
            self.close()
            raise

    def _open(self, family: socket.AddressFamily, version: int, mark: int) -> None:
        self._sockets[version] = made = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW)
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM)
        if mark:
            made.setsockopt(socket.SOL_SOCKET, _SO_MARK, mark)

    def send(self, packet: bytes, destination: IPAddress) -> bool:
        """Send a packet that begins with its IP header; return whether it went. One that did not is as good as lost on its way."""
        sender = self._sockets.get(destination.version)
        if sender is None:
            return False
        try:
            sender.sendto(packet, (str(destination), 0))
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the sockets."""
        for made in self._sockets.values():
            made.close()
