"""One relayed TCP connection. Its octets never are in this process: splice(2) moves them from socket to pipe to socket.

So a daemon may end at any moment and lose nothing of them: sockets and pipes are kept (`netcore.keeper`), and the next daemon goes on
where this one was. On the loop; no task.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
import sys
import termios
from collections.abc import Sequence

_MOST = 1 << 20
"""Octets asked for in one splice; a pipe has room for 64 KiB."""
_TURNS = 8
"""Moves in one direction before the loop looks at others."""
_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
_F_SETPIPE_SZ, _PIPE, _LARGE_PIPE = 1031, 65_536, 1 << 20
"""Octets in a pipe as it is made, and in one that was full (F_SETPIPE_SZ in fcntl(2))."""

DESCRIPTORS = 6
"""Client, backend, and the two ends of the pipe of each direction."""


class LargePipes:
    """Bounds how many pipes are large: all pipes of an ordinary user share `fs.pipe-user-pages-soft` (pipe(7)). *left*: so many more."""

    def __init__(self, left: int) -> None:
        self.left = left

    def enlarge(self, pipe: int) -> bool:
        """Return whether *pipe* was made large."""
        if self.left <= 0:
            return False
        try:
            fcntl.fcntl(pipe, _F_SETPIPE_SZ, _LARGE_PIPE)
        except OSError:
            return False
        self.left -= 1
        return True


class _Direction:
    """What goes from *source* to *sink*. *is_over*: the source has sent its last octet, and the sink was told."""

    __slots__ = ("has_ended", "is_large", "is_over", "is_waiting", "large_pipes", "pipe", "sink", "source")

    def __init__(self, source: socket.socket, sink: socket.socket, pipe: tuple[int, int], large_pipes: LargePipes | None) -> None:
        self.large_pipes = large_pipes
        self.is_large = False
        self.source = source
        self.sink = sink
        self.pipe = pipe
        self.has_ended = False
        self.is_over = False
        # For the sink to take more of what is in the pipe. Nothing more is taken from the source meanwhile.
        self.is_waiting = False

    def move(self) -> bool:
        """Move what can be moved now; return whether there was any. OSError when one of the connections is broken."""
        moved = False
        for _ in range(_TURNS):
            taken = None if self.has_ended else _splice(self.source.fileno(), self.pipe[1])
            self.has_ended = self.has_ended or taken == 0
            if taken == _PIPE and not self.is_large and self.large_pipes is not None:
                self.is_large = self.large_pipes.enlarge(self.pipe[1])
            passed = _splice(self.pipe[0], self.sink.fileno())
            if not taken and not passed:
                break
            moved = True
        self.is_waiting = self._held() > 0
        if self.has_ended and not self.is_waiting and not self.is_over:
            self.is_over = True
            with contextlib.suppress(OSError):
                self.sink.shutdown(socket.SHUT_WR)
        return moved

    def _held(self) -> int:
        """Return how many octets are in the pipe (FIONREAD, ioctl_pipe(2))."""
        return int.from_bytes(fcntl.ioctl(self.pipe[0], termios.FIONREAD, bytes(4)), sys.byteorder)


def _splice(source: int, sink: int) -> int | None:
    """Return how many octets were moved, 0 at the end of the source; None if nothing can be moved now."""
    try:
        return os.splice(source, sink, _MOST, flags=_FLAGS)
    except BlockingIOError:
        return None


class Carried:
    """See the module. *over* is done when both directions have ended, or something broke. *last*: when something was moved.

    *client*, *backend*: connected, and the connection's own from now on. *pipes*: of an earlier daemon, else new ones. *large_pipes*: where
    they may be enlarged.
    """

    def __init__(
        self, client: socket.socket, backend: socket.socket, pipes: Sequence[int] = (), large_pipes: LargePipes | None = None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self._loop.create_future()
        self.last = self._loop.time()
        up, down = (pipes[:2], pipes[2:4]) if pipes else _two_pipes()
        self._watched: set[tuple[socket.socket, bool]] = set()
        self._client = client
        self._backend = backend
        self._directions = (
            _Direction(client, backend, (up[0], up[1]), large_pipes),
            _Direction(backend, client, (down[0], down[1]), large_pipes),
        )

    @property
    def has_ended(self) -> bool:
        """Whether one of the two sides has sent its last octet."""
        return any(direction.has_ended for direction in self._directions)

    def descriptors(self) -> list[int]:
        """Return what a later daemon needs to go on: `DESCRIPTORS` of them."""
        return [self._client.fileno(), self._backend.fileno(), *self._directions[0].pipe, *self._directions[1].pipe]

    def begin(self) -> None:
        """Begin to move octets."""
        self._move()

    def _move(self) -> None:
        if self.over.done():
            return
        try:
            moved = [direction.move() for direction in self._directions]
        except OSError:
            self.abort()
            return
        if any(moved):
            self.last = self._loop.time()
        if all(direction.is_over for direction in self._directions):
            self.leave()
            self.over.set_result(None)
            return
        for direction in self._directions:
            self._watch(direction.source, reads=True, wanted=not direction.has_ended and not direction.is_waiting)
            self._watch(direction.sink, reads=False, wanted=direction.is_waiting)

    def _watch(self, sock: socket.socket, *, reads: bool, wanted: bool) -> None:
        watched = sock, reads
        if wanted and watched not in self._watched:
            self._watched.add(watched)
            (self._loop.add_reader if reads else self._loop.add_writer)(sock.fileno(), self._move)
        elif not wanted and watched in self._watched:
            self._watched.remove(watched)
            (self._loop.remove_reader if reads else self._loop.remove_writer)(sock.fileno())

    def abort(self) -> None:
        """End both connections so that both other ends learn that something broke."""
        for sock in (self._client, self._backend):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.leave()
        if not self.over.done():
            self.over.set_result(None)

    def leave(self) -> None:
        """Have nothing more to do with it: where it is kept, a later daemon goes on; elsewhere it ends."""
        for sock in (self._client, self._backend):
            for reads in (True, False):
                self._watch(sock, reads=reads, wanted=False)
            sock.close()
        for direction in self._directions:
            for descriptor in direction.pipe:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
            direction.pipe = (-1, -1)
            if direction.is_large and direction.large_pipes is not None:
                direction.is_large = False
                direction.large_pipes.left += 1


def _two_pipes() -> tuple[tuple[int, int], tuple[int, int]]:
    first = _pipe()
    try:
        return first, _pipe()
    except OSError:
        for end in first:
            os.close(end)
        raise


def _pipe() -> tuple[int, int]:
    return os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
