"""The nest's way to the edge: sockets of the host's network namespace. Blocking, for about 50 us; any thread."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import threading

_REQUEST = struct.Struct("=3I")
_ERRNO = struct.Struct("=I")
_PATIENCE = 5.0
"""Seconds for the edge to answer: it does nothing else."""


class Edge:
    """*path*: of the edge's socket. It is connected on first need, and anew if the edge was started anew."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None

    def open(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """Return a non-blocking socket that belongs to the host's network namespace; OSError as `socket.socket` raises it there."""
        request = _REQUEST.pack(family, kind & ~(socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC), protocol)
        with self._lock:
            try:
                octets, descriptors = self._ask(request)
            except OSError:
                # It has been started anew; what it was asked may be asked twice.
                self._leave()
                octets, descriptors = self._ask(request)
        (code,) = _ERRNO.unpack(octets)
        if code or not descriptors:
            # It was made, and there is no descriptor left for it here.
            code = code or errno.EMFILE
            raise OSError(code, os.strerror(code))
        return socket.socket(fileno=descriptors[0])

    def _ask(self, request: bytes) -> tuple[bytes, list[int]]:
        if self._connection is None:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
            made.settimeout(_PATIENCE)
            self._connection = made
            made.connect(self._path)
        self._connection.sendall(request)
        octets, descriptors, _, _ = socket.recv_fds(self._connection, _ERRNO.size, 1, socket.MSG_CMSG_CLOEXEC)
        if len(octets) != _ERRNO.size:
            raise ConnectionResetError("the edge has gone")
        return octets, descriptors

    def _leave(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Leave the edge."""
        with self._lock:
            self._leave()
