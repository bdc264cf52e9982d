"""Accepts connections at a listening socket, on the loop. Where no descriptor is free those who connect wait, and so does the loop.

Such a socket stays readable: without a pause the loop would ask again and again.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Any

from netcore import limits
from netcore.relay.told import Told

log = logging.getLogger(__name__)

_OF_CLIENT = (errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.EINTR)
"""What only says that one client is gone, or was refused (accept(2))."""


class Accepting:
    """*take*: is given each connection and its peer. *at_once*: connections before the loop looks at others. *what*: for the log."""

    __slots__ = ("_at_once", "_listening", "_loop", "_pause", "_take", "_told", "_what")

    def __init__(self, listening: socket.socket, take: Callable[[socket.socket, Any], None], at_once: int, what: str) -> None:
        self._listening = listening
        self._take = take
        self._at_once = at_once
        self._what = what
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._told: Told[str] = Told(limits.ACCEPT_TOLD_AGAIN)
        self._loop.add_reader(listening.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(self._at_once):
            try:
                accepted, peer = self._listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _OF_CLIENT:
                    continue
                self._loop.remove_reader(self._listening.fileno())
                if error.errno != errno.EINVAL:
                    # Otherwise somebody has destroyed the socket (`ss -K`), which then is always ready.
                    self._wait(error)
                return
            self._take(accepted, peer)

    def _wait(self, error: OSError) -> None:
        if self._told.is_due("", self._loop.time()):
            log.warning("no connection can be accepted, those who connect wait at=%s reason=%s", self._what, error.strerror)
        self._pause = self._loop.call_later(limits.ACCEPT_PAUSE, self.try_again)

    def try_again(self) -> None:
        """Accept again before the pause is over, if there is one: something was closed."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
            self._loop.add_reader(self._listening.fileno(), self._accept)

    def close(self) -> None:
        """Accept no more. The socket stays open."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._loop.remove_reader(self._listening.fileno())
