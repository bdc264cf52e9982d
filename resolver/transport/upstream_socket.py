"""UDP sockets to upstreams: each serves many queries."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import ip_address

from resolver import limits
from resolver.engine.upstream import Upstream
from resolver.transport.batch import LONGEST_SENT
from resolver.transport.pending import PendingQueries, PendingQuery
from resolver.transport.poller import Poller


class UpstreamSocket:
    """One connected UDP socket and the queries that wait on it; *unsent* go out at the end of the round."""

    __slots__ = ("_clock", "_poller", "_socket", "born", "last", "left", "pending", "unsent")

    def __init__(self, poller: Poller, sock: socket.socket, clock: Callable[[], float], draw: Callable[[], int]) -> None:
        self._poller = poller
        self._socket = sock
        self._clock = clock
        self.unsent: list[bytes] = []
        self.born = self.last = clock()
        self.left = limits.SOCKET_QUERIES
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
            self._refused(error)

    def _read(self) -> None:
        try:
            messages = self._poller.ipv4.receive_connected(self._socket.fileno(), limits.UDP_DRAIN)
        except OSError as error:
            self._refused(error)
            return
        self.pending.on_messages(messages, self._clock())

    def _refused(self, error: OSError) -> None:
        """Nobody listens there (an ICMP error), or it is unreachable: every query that waits here has failed."""
        self.fail(error.strerror or "unreachable")

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


def sockaddr(upstream: Upstream) -> tuple[str, int] | tuple[str, int, int, int]:
    """Return the address of *upstream* for the socket calls; its IPv6 zone is an interface of its namespace."""
    if ":" not in upstream.address:
        return upstream.address, upstream.port
    host, _, zone = upstream.address.partition("%")
    index = 0
    if zone:
        index = int(zone) if zone.isdigit() else socket.if_nametoindex(zone)
    return host, upstream.port, 0, index


def open_datagram(upstream: Upstream, kind: int) -> socket.socket:
    """Open a socket for *upstream* in the namespace of the calling thread, connected or connecting.

    The kernel then takes only datagrams from that very address, and reports when nobody listens there.
    """
    family = socket.AF_INET if ip_address(upstream.address.partition("%")[0]).version == 4 else socket.AF_INET6
    sock = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        sock.connect(sockaddr(upstream))
    except BlockingIOError:
        return sock
    except BaseException:
        sock.close()
        raise
    return sock
