"""A connection to the admin socket: made, used for one request, and what can go wrong with it. Standard library only.

Of sockets only what the module `socket` is made of: that takes as long to import as everything here.
"""

from __future__ import annotations

import _socket
import errno
import os
import time

from resolver.light import TYPE_CHECKING, read_json, write_json
from resolver.rootless import places

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PATIENCE = 120.0
"""Seconds for the daemon to answer: a plugin may take 30 for a call, and other requests may be before this one."""
_READ_ONLY = "berth-ro.sock"
_BUSY_PAUSE = 0.01


class Refused(Exception):
    """The daemon refused, or can't be reached. Its text is for the user."""

    def __init__(self, message: str, kind: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind


class NoDaemon(Refused):
    """No daemon answers at the socket."""


class Unanswered(Refused):
    """The daemon has closed the connection before it answered: whether it has done what was asked for is not known."""

    def __init__(self) -> None:
        super().__init__("the daemon has ended, or has too many clients, and did not answer: this may be done or not; see `berth ps -a`")


def run_directory() -> str:
    """Return the directory of the daemon's socket: root's daemon for those whom its socket lets in, else the caller's own."""
    if uses_daemon_of_root():
        return places.ROOT.run_dir
    return places.places(os.geteuid(), os.environ).run_dir


def uses_daemon_of_root() -> bool:
    """Return whether this ordinary user is in the group of the socket of root's daemon, and names no other run directory."""
    if os.geteuid() == 0 or os.environ.get(places.RUN):
        return False
    return any(os.access(f"{places.ROOT.run_dir}/{name}", os.W_OK) for name in ("berth.sock", _READ_ONLY))


def socket_path() -> str:
    """Return the path of the daemon's socket."""
    return f"{places.socket_directory(run_directory())}/berth.sock"


def exchange(sock: _socket.socket, method: str, path: str, body: Any = None, meanwhile: Callable[[], None] | None = None) -> Any:
    """Send one request over *sock* and return the decoded response; raises Refused with the daemon's message.

    *meanwhile*: done between the two.
    """
    try:
        _send_what_is_read(sock, method, path, body)
        if meanwhile is not None:
            meanwhile()
        status, octets = _read(sock)
    except TimeoutError as error:
        raise _silent() from error
    except ConnectionError as error:
        raise Unanswered from error
    decoded = read_json(octets) if octets else None
    if status >= 400:
        told = (decoded or {}).get("error", {})
        raise Refused(told.get("message") or f"the daemon answered {status}", told.get("kind"))
    return decoded


def _send_what_is_read(sock: _socket.socket, method: str, path: str, body: Any) -> None:
    try:
        send(sock, method, path, body)
    except ConnectionError:
        # It may have answered, and closed the connection, before it was sent everything.
        return


def connect(path: str, *, reads_only: bool = False) -> _socket.socket:
    """Return a connection to the admin socket; NoDaemon or Refused say why not.

    *reads_only*: the other socket, which is for reading, will do if the caller may not use this one.
    """
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    sock.settimeout(PATIENCE)
    try:
        _connect(sock, path)
    except TimeoutError as error:
        sock.close()
        raise _silent() from error
    except OSError as error:
        sock.close()
        if error.errno == errno.EACCES and reads_only and not path.endswith(_READ_ONLY):
            return connect(f"{os.path.dirname(path)}/{_READ_ONLY}")
        if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
            raise NoDaemon(f"no berth daemon answers at {path}; start one with `berth daemon`") from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise Refused(
                f"{path}: permission denied; use sudo, or join the socket's group; without BERTH_RUN_DIR you have your own"
            ) from error
        raise Refused(f"{path}: {error.strerror}") from error
    return sock


def _connect(sock: _socket.socket, path: str) -> None:
    """Connect; while too many others wait to be accepted, again and again."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            sock.connect(path)
        except BlockingIOError as error:
            if time.monotonic() > end:
                raise TimeoutError from error
            time.sleep(_BUSY_PAUSE)
        else:
            return


def _silent() -> Refused:
    return Refused(f"the daemon did not answer within {PATIENCE:g} s; see `berth status`, and its log for what it is waiting for")


def send(sock: _socket.socket, method: str, path: str, body: Any = None) -> None:
    """Send one request; the connection closes with its response."""
    content = b"" if body is None else write_json(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: berth\r\nConnection: close\r\nContent-Length: {len(content)}\r\n"
    sock.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + content)


def _read(sock: _socket.socket) -> tuple[int, bytes]:
    octets = b""
    while part := sock.recv(65_536):
        octets += part
    head, _, body = octets.partition(b"\r\n\r\n")
    if not octets or len(body) < _length(head):
        raise Unanswered
    if not head.startswith(b"HTTP/1.1 "):
        raise Refused("what answers there is no berth daemon")
    return int(head[9:12]), body


def _length(head: bytes) -> int:
    """Return how long the body is, as the *head* of a response says; 0 if it does not."""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0
