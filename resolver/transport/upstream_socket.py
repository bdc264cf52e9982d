"""UDP sockets to upstreams: each serves many questions, told apart by unpredictable IDs (RFC 5452 section 9)."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from ipaddress import ip_address

from resolver import limits
from resolver.engine.exchange import Kind, classify
from resolver.transport.batch import LONGEST_SENT
from resolver.transport.poller import Poller
from resolver.transport.stream import Asked
from resolver.zone.upstream import Upstream


def identities() -> Callable[[], int]:
    """Return a source of unpredictable 16-bit numbers; a system call for each would cost more than all else about an ID."""
    numbers: list[int] = []

    def draw() -> int:
        if not numbers:
            numbers.extend(memoryview(os.urandom(4096)).cast("H"))
        return numbers.pop()

    return draw


class UpstreamSocket:
    """One connected UDP socket and the questions that wait on it; *unsent* go out at the end of the round."""

    __slots__ = ("_clock", "_draw", "_poller", "_socket", "born", "last", "left", "pending", "unsent")

    def __init__(self, poller: Poller, sock: socket.socket, clock: Callable[[], float], draw: Callable[[], int]) -> None:
        self._poller = poller
        self._socket = sock
        self._clock = clock
        self._draw = draw
        self.unsent: list[bytes] = []
        self.born = self.last = clock()
        self.left = limits.SOCKET_QUERIES
        self.pending: dict[int, Asked] = {}
        poller.add(sock.fileno(), self._read)

    def send(self, asked: Asked) -> None:
        """Send the question with a fresh ID at the end of this round."""
        pending, draw = self.pending, self._draw
        identity = draw()
        while identity in pending:
            identity = draw()
        asked.identity = identity
        pending[identity] = asked
        self.left -= 1
        self.last = asked.sent
        self.unsent.append(identity.to_bytes(2, "big") + asked.message)
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
        now, pending = self._clock(), self.pending
        for message in messages:
            asked = pending.get(message[0] << 8 | message[1]) if len(message) >= 12 else None
            if asked is not None:
                kind = classify(asked.question, asked.identity, message)
                if kind is not Kind.FOREIGN:
                    del pending[asked.identity]
                    asked.answered(kind, message, now)

    def _refused(self, error: OSError) -> None:
        """Nobody listens there (an ICMP error), or there is no way: everything that waits here has failed."""
        self.fail(error.strerror or "unreachable")

    def fail(self, reason: str) -> None:
        """Tell everything that waits here that it has failed."""
        waiting, self.pending = list(self.pending.values()), {}
        now = self._clock()
        for asked in waiting:
            asked.failed(reason, now)

    def drop_old(self, now: float) -> None:
        """Forget the questions whose time is over; late replies to them are of no use any more."""
        for identity in [key for key, asked in self.pending.items() if now - asked.sent > limits.BUDGET]:
            del self.pending[identity]

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
