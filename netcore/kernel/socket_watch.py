"""Which of many sockets somebody has destroyed, as `ss -K` does: one epoll descriptor that waits for errors and hang-ups only.

The kernel announces a destroyed socket to nobody but those who wait for it (the groups of sock_diag hear of it when the last
descriptor is closed, and that is ours). Spec: epoll_ctl(2): EPOLLERR and EPOLLHUP need not be asked for.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_K = TypeVar("_K", bound=Hashable)


class SocketWatch(Generic[_K]):
    """Thread-safe. *on_note*: is called when `note` was. A TCP socket listens before it is followed."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._owners: dict[int, _K] = {}
        self._noted: set[_K] = set()
        self.on_note: Callable[[], None] = lambda: None

    def fileno(self) -> int:
        """Return the descriptor that is readable once a socket was destroyed."""
        return self._epoll.fileno()

    def follow(self, sock: socket.socket, owner: _K) -> None:
        """Wait for what happens to *sock* until it is closed. What the kernel refuses is not waited for."""
        self._owners[sock.fileno()] = owner
        with contextlib.suppress(OSError, ValueError):
            # Told once: the error stays.
            self._epoll.register(sock.fileno(), select.EPOLLONESHOT)

    def note(self, descriptor: int) -> None:
        """Take note of an error at a socket: whoever reads from it takes the error away with it."""
        if descriptor in self._owners:
            self._noted.add(self._owners[descriptor])
            self.on_note()

    def read(self) -> set[_K]:
        """Return the owners of sockets that something happened to since the last call."""
        noted, self._noted = self._noted, set()
        return noted | {self._owners[descriptor] for descriptor, _ in self._epoll.poll(0) if descriptor in self._owners}

    def close(self) -> None:
        """Stop watching."""
        self._epoll.close()
