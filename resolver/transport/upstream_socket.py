"""UDP sockets to upstreams: each serves many queries.

A connected socket keeps the source address that the kernel chose for it. When the host has another address, or another way
to the upstream, only a fresh socket takes note: see `path_of`.

Errors are queued (`IP_RECVERR`, ip(7)), so that each ICMP error is heard of: without it only "port unreachable" is, and that
not if it comes while several messages are sent with one system call.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from ipaddress import ip_address

from resolver import limits
from resolver.engine.upstream import Upstream
from resolver.transport.batch import LONGEST_SENT
from resolver.transport.pending import PendingQueries, PendingQuery
from resolver.transport.poller import Poller

Path = tuple[object, ...]
"""How an upstream is reached: from which source address, and by which interface if that is part of its address."""

_IP_RECVERR, _IPV6_RECVERR = 11, 25
_ERRNO = struct.Struct("=I")
_SIOCGIFINDEX, _IFREQ = 0x8933, struct.Struct("16si20x")


class UpstreamSocket:
    """One connected UDP socket and the queries that wait on it; *unsent* go out at the end of the round.

    *path*: see `path_of`. *heard*: when the last response came. *on_broken* is called before its queries fail with it.
    """

    __slots__ = ("_clock", "_on_broken", "_poller", "_socket", "born", "heard", "last", "left", "most", "path", "pending", "unsent")

    def __init__(
        self,
        poller: Poller,
        sock: socket.socket,
        clock: Callable[[], float],
        draw: Callable[[], int],
        on_broken: Callable[[UpstreamSocket], None],
    ) -> None:
        self._poller = poller
        self._socket = sock
        self._clock = clock
        self._on_broken = on_broken
        self.path = path_of(sock)
        self.unsent: list[bytes] = []
        self.born = self.heard = self.last = clock()
        self.left = limits.SOCKET_QUERIES
        self.most = limits.UDP_DRAIN
        self.pending = PendingQueries(draw)
        poller.add(sock.fileno(), self._read)

    def send(self, pending: PendingQuery) -> bool:
        """Send the query with a fresh ID at the end of this round; return whether another socket should take the next one.

        That is one with a fresh port: a port is not used for long.
        """
        self.left -= 1
        self.last = pending.sent
        self.unsent.append(self.pending.add(pending))
        if len(self.unsent) == 1:
            self._poller.flush_later(self._flush)
        return self.left <= 0 or pending.sent - self.born > limits.SOCKET_AGE

    def _flush(self) -> None:
        out, self.unsent = self.unsent, []
        if self._socket.fileno() < 0:
            return
        try:
            if len(out) == 1:
                self._socket.send(out[0])
            else:
                self._poller.ipv4.send_connected(self._socket.fileno(), [message for message in out if len(message) <= LONGEST_SENT])
                for message in out:
                    if len(message) > LONGEST_SENT:
                        self._socket.send(message)
        except (BlockingIOError, InterruptedError):
            # As if the network had lost it.
            return
        except OSError as error:
            self._broken(error)

    def _read(self) -> None:
        try:
            messages = self._poller.ipv4.receive_connected(self._socket.fileno(), self.most)
            if not messages:
                _raise_queued_error(self._socket)
                return
        except OSError as error:
            self._broken(error)
            return
        longest = max(map(len, messages))
        self.most = limits.UDP_DRAIN if longest <= limits.OUR_PAYLOAD else max(1, limits.UPSTREAM_OCTETS // longest)
        self.heard = now = self._clock()
        self.pending.on_messages(messages, now)

    def _broken(self, error: OSError) -> None:
        """Nobody listens there, or the upstream can't be reached from here: every query that waits here has failed.

        That nobody listens is the upstream's own word. Anything else may be due to this socket's source address.
        """
        self._on_broken(self)
        now = self._clock()
        for pending in self.pending.take_all():
            pending.failed(error.strerror or "unreachable", now, is_socket=error.errno != errno.ECONNREFUSED)

    def path_changed(self) -> None:
        """Tell every query that waits here that the upstream is reached in another way now."""
        now = self._clock()
        for pending in [*self.pending.values()]:
            pending.path_changed(now)

    def fail(self, reason: str) -> None:
        """Tell every query that waits here that it has failed."""
        now = self._clock()
        for pending in self.pending.take_all():
            pending.failed(reason, now)

    def close(self) -> None:
        """Close it; the queries that wait are not told."""
        if self._socket.fileno() >= 0:
            self._poller.remove(self._socket.fileno())
            self._socket.close()


def _raise_queued_error(sock: socket.socket) -> None:
    """Raise the OSError that waits in the error queue of *sock*, if one does (struct sock_extended_err, ip(7))."""
    try:
        _, control, _, _ = sock.recvmsg(0, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
    except (BlockingIOError, InterruptedError):
        return
    for _, kind, octets in control:
        if kind in (_IP_RECVERR, _IPV6_RECVERR):
            (number,) = _ERRNO.unpack_from(octets)
            raise OSError(number, os.strerror(number))


def path_of(sock: socket.socket) -> Path:
    """Return the path of a connected or connecting socket."""
    name = sock.getsockname()
    return name[0], *name[3:]


def sockaddr(upstream: Upstream, sock: socket.socket) -> tuple[str, int] | tuple[str, int, int, int]:
    """Return the address of *upstream* for the socket calls; its IPv6 zone is an interface of the namespace of *sock*."""
    if ":" not in upstream.address:
        return upstream.address, upstream.port
    host, _, zone = upstream.address.partition("%")
    index = 0
    if zone:
        index = int(zone) if zone.isdigit() else _link_index(zone, sock)
    return host, upstream.port, 0, index


def _link_index(name: str, sock: socket.socket) -> int:
    """Return the index of a link of the namespace that *sock* belongs to (SIOCGIFINDEX, netdevice(7))."""
    answer = fcntl.ioctl(sock, _SIOCGIFINDEX, _IFREQ.pack(name.encode(), 0))
    index: int = _IFREQ.unpack(answer)[1]
    return index


MakeSocket = Callable[[int, int], socket.socket]
"""As `socket.socket`: of a family and kind."""


def open_datagram(upstream: Upstream, kind: int, make: MakeSocket = socket.socket) -> socket.socket:
    """Open a socket for *upstream* in the namespace of the calling thread, or where *make* makes it, connected or connecting.

    The kernel then takes only datagrams from that very address, and reports when nobody listens there.
    """
    family = socket.AF_INET if ip_address(upstream.address.partition("%")[0]).version == 4 else socket.AF_INET6
    sock = make(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        if kind == socket.SOCK_DGRAM and family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        elif kind == socket.SOCK_DGRAM:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        sock.connect(sockaddr(upstream, sock))
    except BlockingIOError:
        return sock
    except BaseException:
        sock.close()
        raise
    return sock
