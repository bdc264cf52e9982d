"""Published ports that NAT can't carry: from the host's ::1, and from an address of one family to a sandbox of the other.

A relay on the loop, for these alone: here the sandbox sees the host as its client, everywhere else it sees the client.
Bounds: `limits.PROXY_*`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Any, cast

from netcore import limits
from netcore.model import IPAddress, PortMapping
from netcore.plan.published_ports import Relayed
from netcore.relay import host_ports
from netcore.relay.host_ports import HostPorts

log = logging.getLogger(__name__)

Target = tuple[IPAddress, int]
_Peer = tuple[Any, ...]
"""An address as the socket module has it."""

IsPrisoner = Callable[[IPAddress, int], bool]
"""(client's address, index of the link it is on, 0 if that is not told) → whether it is on an internal network of ours.

What is relayed is delivered to the host, not forwarded, so the firewall does not keep such clients from it. A sandbox
can't feign its address: that is bound to its bridge port.
"""

_DATAGRAM = 65_535
_CONTROL = 128


class PortProxies:
    """The relays of all sandboxes, each on the socket that holds its port."""

    def __init__(self, ports: HostPorts, is_prisoner: IsPrisoner) -> None:
        self._ports = ports
        self._is_prisoner = is_prisoner
        self._relays: dict[str, dict[socket.socket, _TcpRelay | _UdpRelay]] = {}

    def settle(self, sandbox_id: str, wanted: Mapping[PortMapping, Relayed]) -> None:
        """From now on the ports of a sandbox that need a relay are *wanted*; connections of the others end."""
        relays = self._relays.pop(sandbox_id, {})
        duties = self._duties(wanted)
        for sock in [item for item in relays if duties.get(item) != relays[item].duty]:
            relays.pop(sock).close()
            if sock not in duties:
                host_ports.shut(sock)
        for sock, duty in duties.items():
            if sock not in relays:
                relays[sock] = (_TcpRelay if sock.type == socket.SOCK_STREAM else _UdpRelay)(sock, duty, self._is_prisoner)
        if relays:
            self._relays[sandbox_id] = relays

    def _duties(self, wanted: Mapping[PortMapping, Relayed]) -> dict[socket.socket, _Duty]:
        """Return what each socket is for. One may hold a port of both families, which then have the same target."""
        result: dict[socket.socket, _Duty] = {}
        for mapping, relayed in wanted.items():
            sock = self._ports.opened(mapping)
            if sock is None:
                log.warning("port is published without a relay port=%d protocol=%s", mapping.host_port, mapping.protocol)
                continue
            whom = frozenset({_LOOPBACK if relayed.only_loopback else mapping.family})
            before = result[sock].whom if sock in result else frozenset[int]()
            result[sock] = _Duty((relayed.address, relayed.port), whom | before)
        return result

    def close(self) -> None:
        """End all relays."""
        for relays in self._relays.values():
            for relay in relays.values():
                relay.close()
        self._relays.clear()


_LOOPBACK = 1


@dataclass(frozen=True, slots=True)
class _Duty:
    """*whom*: 4 and 6, clients of that family; `_LOOPBACK`: the host's own ::1. Others are for NAT: they come too early, or too late."""

    target: Target
    whom: frozenset[int]

    def serves(self, address: IPAddress) -> bool:
        return address.version in self.whom or (_LOOPBACK in self.whom and address.version == 6 and address.is_loopback)


class _TcpRelay:
    """Accepts connections at *listener* and relays each."""

    __slots__ = ("_is_prisoner", "_listener", "_loop", "_open", "duty")

    def __init__(self, listener: socket.socket, duty: _Duty, is_prisoner: IsPrisoner) -> None:
        self.duty = duty
        self._is_prisoner = is_prisoner
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._open: set[asyncio.Task[None]] = set()
        self._loop.add_reader(listener.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(limits.PROXY_BACKLOG):
            try:
                client, peer = self._listener.accept()
            except OSError:
                # Nobody more, gone already, or no descriptor is left: who waits in the backlog is accepted later.
                return
            client.setblocking(False)
            if len(self._open) >= limits.PROXY_CONNECTIONS or not _is_welcome(peer, self.duty, self._is_prisoner):
                _reset(client)
                continue
            task = self._loop.create_task(self._carry(client))
            self._open.add(task)
            task.add_done_callback(self._open.discard)

    async def _carry(self, client: socket.socket) -> None:
        """Relay one connection until both of its sides have ended."""
        address, port = self.duty.target
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        backend = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            async with asyncio.timeout(limits.PROXY_CONNECT):
                await self._loop.sock_connect(backend, (str(address), port))
        except (OSError, TimeoutError, asyncio.CancelledError):
            # As if nobody listened on the published port.
            backend.close()
            _reset(client)
            return
        here, there = _Side(), _Side()
        here.other, there.other = there, here
        await self._loop.connect_accepted_socket(lambda: here, client)
        await self._loop.create_connection(lambda: there, sock=backend)
        here.join()
        there.join()
        try:
            await asyncio.gather(here.over, there.over)
        finally:
            here.abort()
            there.abort()

    def close(self) -> None:
        self._loop.remove_reader(self._listener.fileno())
        for task in self._open:
            task.cancel()


def _is_welcome(peer: _Peer, duty: _Duty, is_prisoner: IsPrisoner) -> bool:
    """Return whether what comes from *peer* is relayed; an IPv4 address in an IPv6 one is taken as such."""
    address, scope = ip_address(peer[0].partition("%")[0]), 0
    if isinstance(address, IPv6Address):
        address, scope = address.ipv4_mapped or address, peer[3]
    return duty.serves(address) and not is_prisoner(address, scope)


def _reset(sock: socket.socket) -> None:
    """Close a connection so that its other end learns that it failed."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class _Side(asyncio.Protocol):
    """One of the two connections of a relayed one: what comes goes to *other*, no faster than that takes it.

    *over* is done when the connection is lost. What comes before `join` waits: the other one is not ready yet.
    """

    other: _Side

    def __init__(self) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] | None = []
        self._has_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def join(self) -> None:
        """The other side is ready: from now on what comes goes there at once."""
        early, self._early = self._early or [], None
        for data in early:
            self._pass_on(data)
        if self._has_ended:
            self._pass_end()
        if self.over.done():
            self.other.abort()

    def data_received(self, data: bytes) -> None:
        if self._early is None:
            self._pass_on(data)
        else:
            self._early.append(data)

    def eof_received(self) -> bool:
        self._has_ended = True
        return self._early is not None or self._pass_end()

    def _pass_on(self, data: bytes) -> None:
        if self.other._transport is not None:
            self.other._transport.write(data)

    def _pass_end(self) -> bool:
        """Tell the other side that this one has said all; return whether this connection goes on the other way."""
        other = self.other
        if other._transport is None or other._transport.is_closing():
            return False
        if not other._has_ended:
            other._transport.write_eof()
            return True
        # Both have ended; closing sends what is left first.
        other._transport.close()
        if self._transport is not None:
            self._transport.close()
        return False

    def pause_writing(self) -> None:
        if self.other._transport is not None:
            self.other._transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other._transport is not None and not self.other._transport.is_closing():
            self.other._transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.over.done():
            self.over.set_result(None)
        if self._early is None and self.other._transport is not None and (error is not None or not self._has_ended):
            # A reset is passed on as one.
            self.other._transport.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class _UdpRelay:
    """Relays datagrams: one socket for each client, closed when nothing came for a while.

    An answer leaves from the address that the client had asked (IP_PKTINFO), which is not always the first of the host.
    """

    __slots__ = ("_is_prisoner", "_loop", "_sessions", "_socket", "duty")

    def __init__(self, sock: socket.socket, duty: _Duty, is_prisoner: IsPrisoner) -> None:
        self.duty = duty
        self._is_prisoner = is_prisoner
        self._loop = asyncio.get_running_loop()
        self._socket = sock
        self._sessions: dict[_Peer, _Session] = {}
        ipv6 = sock.family == socket.AF_INET6
        sock.setsockopt(*((socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO) if ipv6 else (socket.IPPROTO_IP, _IP_PKTINFO)), 1)
        self._loop.add_reader(sock.fileno(), self._from_clients)

    def _from_clients(self) -> None:
        for _ in range(limits.PROXY_DATAGRAMS):
            try:
                data, control, _, peer = self._socket.recvmsg(_DATAGRAM, _CONTROL)
            except OSError:
                return
            session = self._sessions.get(peer) or self._begin(peer, control)
            if session is not None:
                session.to_sandbox(data)

    def _begin(self, peer: _Peer, control: list[tuple[int, int, bytes]]) -> _Session | None:
        if len(self._sessions) >= limits.PROXY_SESSIONS or not _is_welcome(peer, self.duty, self._is_prisoner):
            return None
        listener = self._socket
        answer_from = [(level, kind, _as_source(level, data)) for level, kind, data in control]

        def reply(data: bytes) -> None:
            with contextlib.suppress(OSError):
                listener.sendmsg([data], answer_from, 0, peer)

        try:
            session = _Session(self._loop, self.duty.target, reply, lambda: self._sessions.pop(peer, None))
        except OSError:
            return None
        self._sessions[peer] = session
        return session

    def close(self) -> None:
        for session in [*self._sessions.values()]:
            session.close()
        self._loop.remove_reader(self._socket.fileno())


_IP_PKTINFO = 8


def _as_source(level: int, data: bytes) -> bytes:
    """Return received packet information as that of a reply: in IPv4 the address of the header is the source (ip(7))."""
    return data[:4] + data[8:12] + data[8:12] if level == socket.IPPROTO_IP else data


class _Session:
    """One client's datagrams to the sandbox and back."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, target: Target, reply: Callable[[bytes], None], ended: Callable[[], object]
    ) -> None:
        address, port = target
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        self._loop = loop
        self._reply = reply
        self._ended = ended
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            self._socket.connect((str(address), port))
        except BaseException:
            self._socket.close()
            raise
        loop.add_reader(self._socket.fileno(), self._from_sandbox)
        self._last = loop.time()
        self._timer = loop.call_later(limits.PROXY_IDLE, self._look)

    def to_sandbox(self, data: bytes) -> None:
        self._last = self._loop.time()
        with contextlib.suppress(OSError):
            self._socket.send(data)

    def _from_sandbox(self) -> None:
        for _ in range(limits.PROXY_DATAGRAMS):
            try:
                data = self._socket.recv(_DATAGRAM)
            except OSError:
                # Nothing more, or nobody listens there (ECONNREFUSED): UDP tells the client nothing.
                return
            self._last = self._loop.time()
            self._reply(data)

    def _look(self) -> None:
        left = self._last + limits.PROXY_IDLE - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
            return
        self.close()

    def close(self) -> None:
        self._timer.cancel()
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        self._ended()
