"""Where the admin API listens: two Unix sockets and, if configured, a TCP port with TLS; and who is calling.

| | Who | What |
|---|---|---|
| `berth.sock` | root and `socket_group` | everything; whoever can connect can make the daemon do anything that root can |
| `berth-ro.sock` | root and `read_group` | what changes nothing |
| `api_listen` | a certificate of `api_client_ca`, or the token | what `api_access` says |

The Unix sockets are in the run directory, mode 0660. If somebody removes one it is made again.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import logging
import os
import socket
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from netcore.kernel import files, process
from netcore.relay.accepting import Accepting
from resolver import limits
from resolver.daemon import api_tls
from resolver.daemon.admission import Admission, Peer, Scope
from resolver.daemon.api_route import Caller
from resolver.daemon.config import DaemonConfig
from resolver.rootless import places

log = logging.getLogger(__name__)

_MODE = 0o660
_BACKLOG = 128
_STOP_WITHIN = 2.0
_NOBODY = 65_534
_GONE = Caller(pid=0, uid=_NOBODY, name="nobody")


def caller_of(transport: asyncio.BaseTransport | None) -> Caller:
    """Return who is calling. Over TCP, and if the connection is closed already, it has the rights of nobody."""
    sock = transport.get_extra_info("socket") if transport is not None else None
    if transport is None or sock is None:
        return _GONE
    if sock.family == socket.AF_UNIX:
        pid, uid = process.peer(sock)
        return Caller(pid, uid, name=f"uid {uid} pid {pid}")
    address = (transport.get_extra_info("peername") or ("?",))[0]
    certificate = transport.get_extra_info("peercert") or {}
    subject = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    return Caller(pid=0, uid=_NOBODY, name=f"certificate {subject[0]} at {address}" if subject else f"token at {address}", peer=address)


class Listener:
    """Accepts connections at a listening socket and hands them to a server, within the bounds of *admission*."""

    def __init__(self, runner: web.AppRunner, admission: Admission, tls: ssl.SSLContext | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._runner = runner
        self._admission = admission
        self._tls = tls
        self._socket: socket.socket | None = None
        self._accepting: Accepting | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        # Whoever has connected and sent nothing yet.
        self._silent: set[_Connection] = set()
        self._heard = asyncio.Event()

    def open(self, listening: socket.socket) -> None:
        """Accept at *listening* from now on, in place of where it was before."""
        self.close()
        listening.setblocking(False)
        self._socket = listening
        self._accepting = Accepting(listening, self._take, 1, "admin API")

    def close(self) -> None:
        """Accept no more."""
        if self._accepting is not None:
            self._accepting.close()
            self._accepting = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def finish(self) -> None:
        """Accept those who have connected already, and nobody else; wait a moment for their requests, so that each has an answer."""
        listening = self._socket
        if listening is None or self._accepting is None:
            return
        self._accepting.close()
        self._take_all(listening)
        # Who connects from now on is refused at once. Who came in between stays in the queue of a Unix socket.
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RD)
        self._take_all(listening)
        self.close()
        end = self._loop.time() + limits.LAST_REQUESTS
        while (self._tasks or self._silent) and self._loop.time() < end:
            self._heard.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(end - self._loop.time()):
                    await self._heard.wait()

    def _take_all(self, listening: socket.socket) -> None:
        """Serve everybody who is in the queue of *listening*."""
        with contextlib.suppress(OSError):
            while True:
                self._take(*listening.accept())

    def _take(self, accepted: socket.socket, address: Any) -> None:
        """Serve a connection that was accepted."""
        peer: Peer = address[0] if accepted.family != socket.AF_UNIX else process.peer(accepted)[1]
        if not self._admission.connect(peer):
            accepted.close()
            return
        task = self._loop.create_task(self._serve(accepted, peer))
        self._tasks.add(task)
        task.add_done_callback(self._served)

    def _served(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._heard.set()

    def _has_sent(self, connection: _Connection) -> None:
        self._silent.discard(connection)
        self._heard.set()

    async def _serve(self, accepted: socket.socket, peer: Peer) -> None:
        server = self._runner.server
        assert server is not None, "set up before it listens"
        connection = _Connection(server(), lambda: self._admission.disconnect(peer), self._has_sent)
        self._silent.add(connection)
        handshake = None if self._tls is None else limits.API_HANDSHAKE
        try:
            await self._loop.connect_accepted_socket(lambda: connection, accepted, ssl=self._tls, ssl_handshake_timeout=handshake)
        except (OSError, TimeoutError) as error:
            # It hung up, or showed no certificate that we accept.
            log.info("connection to the admin API failed peer=%s reason=%s", peer, error)
            connection.end()


class _Connection(asyncio.Protocol):
    """A protocol that also calls *on_end* once, at the end of the connection or, by `end`, if none was made.

    *on_data*: called with it when something comes, and at its end.
    """

    def __init__(self, inner: asyncio.Protocol, on_end: Callable[[], None], on_data: Callable[[_Connection], None]) -> None:
        self._inner = inner
        self._on_end: Callable[[], None] | None = on_end
        self._on_data = on_data

    def end(self) -> None:
        """Note that there is no connection any more."""
        if self._on_end is not None:
            self._on_end()
            self._on_end = None
            self._on_data(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)
        self._on_data(self)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self.end()
        self._inner.connection_lost(exc)


class UnixListener:
    """A Unix socket below the run directory. It is made again if somebody removes it, the directory included."""

    def __init__(self, path: Path, group: str | None, listener: Listener) -> None:
        self._path = path
        self._group = group
        self._listener = listener
        self._made = (0, 0)

    def make(self) -> None:
        """Make the socket and accept at it."""
        self._path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        files.remove(str(self._path))
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Nobody can connect before the mode is right and it listens.
            listening.bind(str(self._path))
            self._path.chmod(_MODE)
            if self._group is not None:
                self._give_to(self._group)
            listening.listen(_BACKLOG)
        except BaseException:
            listening.close()
            raise
        self._listener.open(listening)
        status = self._path.lstat()
        self._made = status.st_dev, status.st_ino

    def _give_to(self, group: str) -> None:
        try:
            os.chown(self._path, -1, grp.getgrnam(group).gr_gid)
        except (KeyError, OSError) as error:
            log.warning("admin socket keeps its group path=%s group=%s reason=%s", self._path, group, error)

    async def keep(self) -> None:
        """Look again and again whether the socket is there, and make it again if it is not."""
        while True:
            await asyncio.sleep(limits.RUN_DIRECTORY_LOOK)
            try:
                status = self._path.lstat()
                if (status.st_dev, status.st_ino) == self._made:
                    continue
            except OSError:
                # Gone, or in a directory that is.
                pass
            try:
                self.make()
            except OSError as error:
                log.warning("admin socket can't be made again path=%s reason=%s", self._path, error)
            else:
                log.warning("admin socket was removed and is made again path=%s", self._path)

    async def close(self) -> None:
        """Remove the socket, and accept no more but who has connected already."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
        await self._listener.finish()


class _Application(Protocol):
    """Makes the application for one listener. *token*: what each request must carry, if anything."""

    def __call__(self, admission: Admission, scope: Scope, *, token: str | None = None) -> web.Application: ...


async def serve(
    application: _Application, config: DaemonConfig, admission: Admission, stack: AsyncExitStack, *, has_anything: bool = False
) -> None:
    """Serve the API at all its listeners until *stack* closes. Raises ConfigError if certificates or the token can't be read.

    *has_anything*: there are sandboxes or networks to serve, also when nobody can ask for changes: a socket that can't be made now
    is made as soon as it can. Without them it raises OSError.
    """
    remote = api_tls.remote_api(config)
    run_directory = Path(places.socket_directory(config.run_dir))
    for name, scope, group in (("berth.sock", Scope.CHANGE, config.socket_group), ("berth-ro.sock", Scope.READ, config.read_group)):
        runner = await _set_up(application(admission, scope), stack)
        unix = UnixListener(run_directory / name, group or None, Listener(runner, admission))
        stack.push_async_callback(unix.close)
        try:
            unix.make()
        except OSError as error:
            if not has_anything:
                raise
            log.error("admin socket can't be made path=%s reason=%s", run_directory / name, error)
        stack.callback(asyncio.create_task(unix.keep()).cancel)
    if remote is not None:
        runner = await _set_up(application(admission, remote.scope, token=remote.token), stack)
        listener = Listener(runner, admission, remote.tls)
        stack.push_async_callback(listener.finish)
        listener.open(socket.create_server(remote.address, family=remote.family, backlog=_BACKLOG))


async def _set_up(application: web.Application, stack: AsyncExitStack) -> web.AppRunner:
    runner = web.AppRunner(application, shutdown_timeout=_STOP_WITHIN)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    return runner
