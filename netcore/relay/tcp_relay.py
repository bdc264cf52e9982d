"""Relays TCP connections from a published port to a sandbox. On the loop; bounds: `limits.PROXY_*`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import os
import socket
import struct
from collections.abc import Coroutine, Sequence
from ipaddress import ip_address
from typing import Any

from netcore import limits
from netcore.keeper.kept_sockets import KeptSockets
from netcore.relay.accepting import Accepting
from netcore.relay.carried import DESCRIPTORS, Carried
from netcore.relay.clients import IsInternalClient, Peer, RelayRule, Target
from netcore.relay.shares import PlacesOfPort, source_of
from netcore.relay.transparent import take_source

_SO_COOKIE = 57


class _Connection:
    """One connection of the client *peer*. *target*: where it leads to, or is being connected to; None: nowhere yet, or no longer.

    *carried*: once it is connected.
    """

    __slots__ = ("carried", "peer", "target")

    def __init__(self, peer: Peer, target: Target | None = None, carried: Carried | None = None) -> None:
        self.peer = peer
        self.target = target
        self.carried = carried


class TcpRelay:
    """Accepts connections at *listener* and relays each. *rule*: which clients are relayed, and where to.

    *kept*: has the connections of an earlier daemon, and keeps those of this one. *places*: who may have one more. *keeps_source*: the
    sandbox sees the client's address.
    """

    __slots__ = (
        "_accepting", "_is_internal_client", "_is_left", "_keeps_source", "_kept", "_loop", "_name", "_open", "_places", "rule"
    )  # fmt: skip

    def __init__(
        self,
        listener: socket.socket,
        rule: RelayRule,
        is_internal_client: IsInternalClient,
        kept: KeptSockets,
        places: PlacesOfPort,
        *,
        keeps_source: bool = False,
    ) -> None:
        self.rule = rule
        self._keeps_source = keeps_source
        self._is_internal_client = is_internal_client
        self._loop = asyncio.get_running_loop()
        self._open: dict[asyncio.Task[None], _Connection] = {}
        self._places = places
        self._is_left = False
        self._kept = kept
        # By the listener, which stays the same socket when another daemon goes on with it.
        self._name = f"relayed/{cookie(listener)}/"
        self._go_on()
        self._accepting = Accepting(listener, self._take, limits.PROXY_BACKLOG, f"published port {listener.getsockname()[1]}")

    def _take(self, client: socket.socket, peer: Peer) -> None:
        client.setblocking(False)
        source = source_of(peer)
        if not self._targets(peer) or not self._places.take(source):
            _reset(client)
            return
        connection = _Connection(peer)
        self._note(self._carry(client, connection), connection, source)

    def _targets(self, peer: Peer) -> tuple[Target, ...]:
        return self.rule.targets(peer, self._is_internal_client)

    def follow(self, rule: RelayRule) -> None:
        """Relay by *rule* from now on; connections that lead, or are being connected, to where it sends nothing of their client end."""
        self.rule = rule
        for task, connection in self._open.items():
            targets = self._targets(connection.peer)
            if targets and (connection.target is None or connection.target in targets):
                continue
            if connection.carried is not None:
                connection.carried.abort()
            elif connection.target is not None:
                task.cancel()

    def _note(self, work: Coroutine[Any, Any, None], connection: _Connection, source: str) -> None:
        """Do *work*, which carries *connection*, of *source*."""
        task = self._loop.create_task(work)
        self._open[task] = connection
        task.add_done_callback(functools.partial(self._ended, source))

    def _ended(self, source: str, task: asyncio.Task[None]) -> None:
        del self._open[task]
        self._places.give_back(source)
        self._accepting.try_again()

    async def _carry(self, client: socket.socket, connection: _Connection) -> None:
        """Relay one connection until both of its sides have ended, or have been silent for too long."""
        try:
            backend = await self._connect(connection)
        except (OSError, TimeoutError, asyncio.CancelledError):
            # To the client it looks as if nobody listened on the published port.
            _reset(client)
            return
        for sock in (client, backend):
            keep_alive(sock)
        try:
            carried = Carried(client, backend)
        except OSError:
            # No descriptor is left for its pipes.
            backend.close()
            _reset(client)
            return
        names = [f"{self._name}{cookie(client)}/{number}" for number in range(DESCRIPTORS)]
        self._kept.keep(dict(zip(names, carried.descriptors(), strict=True)))
        connection.carried = carried
        carried.begin()
        await self._see_through(carried, names)

    async def _see_through(self, carried: Carried, names: Sequence[str]) -> None:
        """Return when a connection is over; it ends if this is cancelled, unless the daemon leaves it to the next one."""
        try:
            await self._until_over(carried)
        finally:
            if not self._is_left:
                self._kept.forget(names)
                carried.leave()

    def _go_on(self) -> None:
        """Go on with the connections that an earlier daemon relayed."""
        found: dict[str, dict[str, int]] = {}
        for name, descriptor in self._kept.take_group(self._name).items():
            group, _, number = name.rpartition("/")
            found.setdefault(group, {})[number] = descriptor
        for group, by_number in found.items():
            names = [f"{group}/{number}" for number in by_number]
            peer = _peer_of(by_number.get("0"))
            if peer is None or len(by_number) < DESCRIPTORS:
                self._kept.forget(names)
                for descriptor in by_number.values():
                    os.close(descriptor)
                continue
            source = source_of(peer)
            self._places.keep(source)
            ordered = [by_number[str(number)] for number in range(DESCRIPTORS)]
            server = _peer_of(ordered[1])
            target = (ip_address(server[0]), server[1]) if server is not None else None
            carried = Carried(socket.socket(fileno=ordered[0]), socket.socket(fileno=ordered[1]), ordered[2:])
            connection = _Connection(peer, target, carried)
            carried.begin()
            self._note(self._see_through(carried, names), connection, source)

    def leave(self) -> None:
        """Stop, and leave the connections to the next daemon."""
        self._is_left = True
        for connection in self._open.values():
            if connection.carried is not None:
                connection.carried.leave()
        self.close()

    async def _connect(self, connection: _Connection) -> socket.socket:
        """Return a connection to the first target that takes it; OSError if none does."""
        tried: set[Target] = set()
        # Asked for again each time: the rule may be another one by then.
        while left := [target for target in self._targets(connection.peer) if target not in tried]:
            connection.target = left[0]
            tried.add(left[0])
            with contextlib.suppress(OSError, TimeoutError):
                return await self._connect_to(left[0], connection.peer)
        raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))

    async def _connect_to(self, target: Target, peer: Peer) -> socket.socket:
        address, port = target
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        backend = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            if self._keeps_source:
                take_source(backend, peer)
            async with asyncio.timeout(limits.PROXY_CONNECT):
                await self._loop.sock_connect(backend, (str(address), port))
        except BaseException:
            backend.close()
            raise
        return backend

    async def _until_over(self, carried: Carried) -> None:
        """Return when a connection is over, or nothing has come over it for too long."""
        while not carried.over.done():
            patience = limits.PROXY_HALF_CLOSED if carried.has_ended else limits.PROXY_TCP_IDLE
            left = carried.last + patience - self._loop.time()
            if left <= 0:
                return
            # Looked at again at least that often: one side may end meanwhile.
            await asyncio.wait([carried.over], timeout=min(left, limits.PROXY_HALF_CLOSED))

    def close(self) -> None:
        self._accepting.close()
        for task in self._open:
            task.cancel()


def _peer_of(descriptor: int | None) -> Peer | None:
    """Return the other end of a connection that an earlier daemon left; None if there is none any more."""
    if descriptor is None:
        return None
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as sock:
        return tuple(sock.getpeername())
    return None


def cookie(sock: socket.socket) -> int:
    """Return the number that *sock* has in every process (SO_COOKIE)."""
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8), "little")


def _reset(sock: socket.socket) -> None:
    """Close a connection so that its other end learns that it failed."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def keep_alive(sock: socket.socket) -> None:
    """Have the kernel find out when the peer of *sock* is gone without a word (tcp(7))."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    for name, value in zip(names, limits.PROXY_KEEPALIVE, strict=True):
        sock.setsockopt(socket.IPPROTO_TCP, name, value)
