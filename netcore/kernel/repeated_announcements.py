"""Sends announcements again, one after the other at a bounded rate. Thread-safe; blocking.

A broadcast goes through every port of its bridge: on one with a thousand ports the kernel needs 5 ms for it. A thousand sandboxes
that were made together would all be announced again in the same second, while others connect.
"""

from __future__ import annotations

import heapq
import math
import socket
import time
from collections.abc import Callable
from itertools import count
from threading import Lock

from netcore import limits
from netcore.desired.objects import Announcement
from netcore.kernel import announce


class RepeatedAnnouncements:
    """See the module. *later*: (seconds, what to do then on a worker thread). *clock*: seconds."""

    def __init__(self, later: Callable[[float, Callable[[], None]], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._later = later
        self._clock = clock
        self._lock = Lock()
        self._order = count()
        self._due: list[tuple[float, int, socket.socket, Announcement, int]] = []
        self._next_look = math.inf
        self._looks = 0
        self._rest_until = -math.inf
        self._is_looking = False

    def put(self, sock: socket.socket, announcement: Announcement, left: int) -> None:
        """Send *announcement* by *sock* *left* times more, an interval apart or later, and then close *sock*."""
        if left <= 0:
            self._close(sock)
            return
        with self._lock:
            heapq.heappush(self._due, (self._clock() + announcement.interval, next(self._order), sock, announcement, left))
        self._arm()

    def _close(self, sock: socket.socket) -> None:
        # The kernel waits for its readers, 5 to 10 ms: neither on the way of a connect nor of the next announcement.
        self._later(0.0, sock.close)

    def _arm(self) -> None:
        """Look at what is due when the first is, but not before the rest after the last look, unless that is done sooner anyway."""
        now = self._clock()
        with self._lock:
            at = max(now, self._due[0][0], self._rest_until) if self._due else math.inf
            if self._is_looking or at >= self._next_look:
                return
            self._next_look = at
            self._looks += 1
            number = self._looks
        self._later(at - now, lambda: self._look(number))

    def _look(self, number: int) -> None:
        """Send what is due, for a short time, if this look is the last one that was asked for. Nobody else does meanwhile."""
        now = self._clock()
        with self._lock:
            # Told apart by number: a timer may fire a little early, and then nothing would be looked at any more.
            if self._is_looking or number != self._looks:
                return
            self._is_looking = True
        while (first := self._take(now + limits.ANNOUNCE_FOR)) is not None:
            self._send(*first)
        self._arm()

    def _take(self, end: float) -> tuple[socket.socket, Announcement, int] | None:
        """Return what is due first; None, and rest, if nothing is or it is *end*."""
        with self._lock:
            now = self._clock()
            if now < end and self._due and self._due[0][0] <= now:
                return heapq.heappop(self._due)[2:]
            self._is_looking, self._next_look, self._rest_until = False, math.inf, now + limits.ANNOUNCE_PAUSE
            return None

    def _send(self, sock: socket.socket, announcement: Announcement, left: int) -> None:
        try:
            announce.send(sock, announcement.mac, announcement.addresses)
        except OSError:
            # The link went away in the meantime, and the address with it.
            left = 1
        if left <= 1:
            self._close(sock)
            return
        with self._lock:
            heapq.heappush(self._due, (self._clock() + announcement.interval, next(self._order), sock, announcement, left - 1))
