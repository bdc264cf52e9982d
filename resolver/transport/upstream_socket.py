"""UDP sockets to upstreams: each serves many questions."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import ip_address

from resolver import limits
from resolver.transport.batch import LONGEST_SENT
from resolver.transport.pending import Asked, Pending
from resolver.transport.poller import Poller
from resolver.zone.upstream import Upstream


class UpstreamSocket:
    """One connected UDP socket and the questions that wait on it; *unsent* go out at the end of the round."""

    __slots__ = ("_clock", "_poller", "_socket", "born", "last", "left", "pending", "unsent")

    def __init__(self, poller: Poller, sock: socket.socket, clock: Callable[[], float], draw: Callable[[], int]) -> None:
        self._poller = poller
        self._socket = sock
        self._clock = clock
        self.unsent: list[bytes] = []
        self.born = self.last = clock()
        self.left = limits.SOCKET_QUERIES
        self.pending = Pending(draw)
        poller.add(sock.fileno(), self._read)

    def send(self, asked: Asked) -> None:
        """Send the question with a fresh ID at the end of this round."""
        self.left -= 1
        self.last = asked.sent
        self.unsent.append(self.pending.add(asked))
        if len(self.unsent) == 1:
            self._poller.flush_later(self._flush)

    def _flush(self) -> None:
        out, self.unsent = self.unsent, []
        if self._socket.fileno() < 0:
            return
        try:
            if len(out) == 1:
                self._socket.send(out[0])
            else:
                self._poller.ipv4.send_connected(self._socket.fileno(), [item for item in out if len(item) <= LONGEST_SENT])
                for item in out:
                    if len(item) > LONGEST_SENT:
                        self._socket.send(item)
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
        """Nobody listens there (an ICMP error), or there is no way: everything that waits here has failed."""
        self.fail(error.strerror or "unreachable")

    def fail(self, reason: str) -> None:
        """Tell everything that waits here that it has failed."""
        now = self._clock()
        for asked in self.pending.take_all():
            asked.failed(reason, now)

    def is_worn(self, now: float) -> bool:
        """Return whether a fresh socket, with a fresh port, is to take its place."""
        return self.left <= 0 or now - self.born > limits.SOCKET_AGE

    def close(self) -> None:
        """Close it; who waits is not told."""
        if self._socket.fileno() >= 0:
            self._poller.remove(self._socket.fileno())
            self._socket.close()


def sockaddr(upstream: Upstream) -> tuple[str, int] | tuple[str, int, int, int]:
    """Return the address of *upstream* for the socket calls; a zone in it is an interface of its namespace."""
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
