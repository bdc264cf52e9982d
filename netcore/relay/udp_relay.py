"""Relays datagrams from a published UDP port to a sandbox, and the answers back. On the loop; bounds: `limits.PROXY_*`."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from netcore import limits
from netcore.relay.clients import IsInternalClient, Peer, RelayRule, Target
from netcore.relay.shares import PlacesOfPort, source_of
from netcore.relay.transparent import take_source

_DATAGRAM = 65_535
_CONTROL = 128
_IP_PKTINFO = 8


class UdpRelay:
    """Relays datagrams: one socket to the sandbox for each client, closed when nothing was sent or received for a while.

    An answer leaves from the address that the client sent to (IP_PKTINFO), which is not always the first one of the host.
    *rule*: which clients are relayed, and where to. *places*: who may have one more. *keeps_source*: the sandbox sees the client's address.
    """

    __slots__ = ("_clients", "_is_internal_client", "_keeps_source", "_loop", "_places", "_socket", "rule")

    def __init__(
        self,
        sock: socket.socket,
        rule: RelayRule,
        is_internal_client: IsInternalClient,
        places: PlacesOfPort,
        *,
        keeps_source: bool = False,
    ) -> None:
        self.rule = rule
        self._keeps_source = keeps_source
        self._is_internal_client = is_internal_client
        self._loop = asyncio.get_running_loop()
        self._socket = sock
        self._clients: dict[Peer, _Client] = {}
        self._places = places
        ipv6 = sock.family == socket.AF_INET6
        sock.setsockopt(*((socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO) if ipv6 else (socket.IPPROTO_IP, _IP_PKTINFO)), 1)
        self._loop.add_reader(sock.fileno(), self._from_clients)

    def _from_clients(self) -> None:
        for _ in range(limits.PROXY_DATAGRAMS):
            try:
                data, control, _, peer = self._socket.recvmsg(_DATAGRAM, _CONTROL)
            except OSError:
                return
            client = self._clients.get(peer) or self._begin(peer, control)
            if client is not None:
                client.to_sandbox(data)

    def _begin(self, peer: Peer, control: list[tuple[int, int, bytes]]) -> _Client | None:
        source = source_of(peer)
        targets = self.rule.targets(peer, self._is_internal_client)
        if not targets or not self._places.take(source):
            return None
        listener = self._socket
        answer_from = [(level, kind, _as_source(level, data)) for level, kind, data in control]

        def reply(data: bytes) -> None:
            with contextlib.suppress(OSError):
                listener.sendmsg([data], answer_from, 0, peer)

        def ended() -> None:
            if self._clients.pop(peer, None) is not None:
                self._places.give_back(source)

        try:
            client = _Client(self._loop, targets, peer if self._keeps_source else None, reply, ended)
        except OSError:
            self._places.give_back(source)
            return None
        self._clients[peer] = client
        return client

    def follow(self, rule: RelayRule) -> None:
        """Relay by *rule* from now on. Clients end whose datagrams it sends elsewhere, or nowhere: their next one begins anew."""
        self.rule = rule
        for peer, client in [*self._clients.items()]:
            client.follow(rule.targets(peer, self._is_internal_client))

    def leave(self) -> None:
        """Stop; a client's next datagram begins anew with the next daemon."""
        self.close()

    def close(self) -> None:
        for client in [*self._clients.values()]:
            client.close()
        self._loop.remove_reader(self._socket.fileno())


def _as_source(level: int, data: bytes) -> bytes:
    """Return received packet information as that of a reply: in IPv4 the address of the header is the source (ip(7))."""
    return data[:4] + data[8:12] + data[8:12] if level == socket.IPPROTO_IP else data


class _Client:
    """One client's datagrams to the sandbox and back.

    Until the first answer they are kept: if a target refuses them, the next one gets them.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        targets: tuple[Target, ...],
        peer: Peer | None,
        reply: Callable[[bytes], None],
        ended: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._targets = targets
        self._peer = peer
        self._reply = reply
        self._ended = ended
        self._at = 0
        self._unanswered: list[bytes] | None = []
        self._socket = self._open()
        self._last = loop.time()
        self._timer = loop.call_later(limits.PROXY_IDLE, self._close_if_idle)

    def _open(self) -> socket.socket:
        address, port = self._targets[self._at]
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            if self._peer is not None:
                take_source(sock, self._peer)
            sock.connect((str(address), port))
            self._other_end = sock.getpeername()[:2]
        except BaseException:
            sock.close()
            raise
        self._loop.add_reader(sock.fileno(), self._from_sandbox)
        return sock

    def follow(self, targets: tuple[Target, ...]) -> None:
        """Have *targets* from now on; close if what is sent to now is none of them."""
        target = self._targets[self._at]
        if target in targets:
            self._targets, self._at = targets, targets.index(target)
        else:
            self.close()

    def to_sandbox(self, data: bytes) -> None:
        self._last = self._loop.time()
        if self._unanswered is not None and len(self._unanswered) < limits.PROXY_UNANSWERED:
            self._unanswered.append(data)
        self._send(data)

    def _send(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except ConnectionRefusedError:
            self._try_next()
        except OSError:
            return

    def _from_sandbox(self) -> None:
        for _ in range(limits.PROXY_DATAGRAMS):
            try:
                data, sender = self._socket.recvfrom(_DATAGRAM)
            except ConnectionRefusedError:
                self._try_next()
                return
            except OSError:
                return
            if sender[:2] != self._other_end:
                # It came after the socket had the client's address, and before it had its target's: it is no answer.
                continue
            self._unanswered = None
            self._last = self._loop.time()
            self._reply(data)

    def _try_next(self) -> None:
        """Send what was refused to the next target. After the last one it is lost, as in UDP the client is not told."""
        if self._unanswered is None or len(self._targets) == 1:
            return
        refused, self._unanswered = self._unanswered, []
        self._at = (self._at + 1) % len(self._targets)
        self._leave()
        try:
            self._socket = self._open()
        except OSError:
            self._end()
            return
        for data in refused if self._at else ():
            self.to_sandbox(data)

    def _close_if_idle(self) -> None:
        left = self._last + limits.PROXY_IDLE - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._close_if_idle)
            return
        self.close()

    def close(self) -> None:
        self._leave()
        self._end()

    def _leave(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def _end(self) -> None:
        self._timer.cancel()
        self._ended()
