"""Namespaces that are made before a sandbox needs one, so that it is ready sooner. Blocking parts run on worker threads; thread-safe.

A spare is a descriptor and is pinned nowhere: nobody finds it, nobody can remove it, and it is gone with the daemon, however that
ends. So a start finds none. It is given away once, and a namespace that was a sandbox never comes back. One that somebody has changed
meanwhile is given to nobody.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

from netcore import limits
from netcore.errors import NetcoreError
from netcore.kernel import namespace
from netcore.kernel.seal import Seal
from netcore.model import NetnsPath

log = logging.getLogger(__name__)


class SpareParts(Protocol):
    """What somebody else makes ready inside a new namespace. Both are called on worker threads."""

    def prepare(self) -> None:
        """Make ready what a sandbox will need inside the namespace that the calling thread is in. Leaves nothing when it fails."""

    def discard(self, netns_descriptor: int) -> None:
        """Let go of what was made ready there; nothing there is fine."""


class NoSpareParts:
    """Nothing is made ready inside."""

    def prepare(self) -> None:
        """Do nothing."""

    def discard(self, netns_descriptor: int) -> None:
        """Do nothing."""


@dataclass(slots=True)
class SpareCounts:
    """Sandboxes that found a spare, and those that found none although some are kept. *broken*: spares that others had changed."""

    hits: int = 0
    misses: int = 0
    broken: int = 0


@dataclass(frozen=True, slots=True)
class _Spare:
    """*seal*: tells whether it is as it was made."""

    descriptor: int
    seal: Seal


def pause(since_last_use: float) -> float:
    """Return the seconds to wait before the next spare is made: longer while sandboxes are being made, which it would hold up. Pure."""
    return limits.SPARE_PAUSE_IN_BURST if since_last_use < limits.SPARE_QUIET else limits.SPARE_PAUSE


class SpareNamespaces:
    """See the module. *later*: (seconds, what to do then on a worker thread). *parts*: what else is made ready. *clock*: seconds."""

    def __init__(
        self, later: Callable[[float, Callable[[], None]], None], parts: SpareParts, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._later = later
        self._parts = parts
        self._clock = clock
        self._lock = Lock()
        self._ready: list[_Spare] = []
        self._wanted = 0
        self._last_use = -limits.SPARE_QUIET
        self._is_arranged = False
        self._problem = ""
        self.counts = SpareCounts()

    @property
    def ready(self) -> int:
        """Return how many can be taken now."""
        return len(self._ready)

    def keep(self, count: int) -> None:
        """Have *count* ready from now on; those beyond are let go of."""
        with self._lock:
            self._wanted = count
            surplus, self._ready = self._ready[count:], self._ready[:count]
        for spare in surplus:
            self._let_go(spare)
        self._arrange(0)

    def pin(self, netns_path: NetnsPath) -> None:
        """Pin a spare at *netns_path*, or a namespace that is made now. If that fails nothing is left there."""
        descriptor = self._take()
        if descriptor is None:
            descriptor = namespace.make_unpinned(self._parts.prepare)
        try:
            namespace.pin(descriptor, netns_path)
        except BaseException:
            self._discard(descriptor)
            raise
        os.close(descriptor)

    def _take(self) -> int | None:
        with self._lock:
            if not self._wanted:
                return None
            self._last_use = self._clock()
            broken: list[_Spare] = []
            spare = self._next(broken)
            if spare is None:
                self.counts.misses += 1
            else:
                self.counts.hits += 1
        for other in broken:
            self._let_go(other)
        self._arrange(pause(0))
        if spare is None:
            return None
        spare.seal.close()
        return spare.descriptor

    def _next(self, broken: list[_Spare]) -> _Spare | None:
        """Return a spare that is as it was made; add those that are not to *broken*. The lock is held."""
        while self._ready:
            spare = self._ready.pop(0)
            if spare.seal.is_whole():
                return spare
            self.counts.broken += 1
            broken.append(spare)
        return None

    def _let_go(self, spare: _Spare) -> None:
        spare.seal.close()
        self._discard(spare.descriptor)

    def _discard(self, descriptor: int) -> None:
        self._parts.discard(descriptor)
        os.close(descriptor)

    def _arrange(self, delay: float) -> None:
        with self._lock:
            if self._is_arranged or len(self._ready) >= self._wanted:
                return
            self._is_arranged = True
        self._later(delay, self._make_one)

    def _make_one(self) -> None:
        with self._lock:
            self._is_arranged = False
            if len(self._ready) >= self._wanted:
                return
        try:
            spare = self._made()
        except (NetcoreError, OSError) as error:
            if str(error) != self._problem:
                log.warning("no spare namespace could be made, sandboxes make their own reason=%s", error)
            self._problem = str(error)
            self._arrange(limits.SPARE_RETRY)
            return
        self._problem = ""
        with self._lock:
            is_wanted = len(self._ready) < self._wanted
            if is_wanted:
                self._ready.append(spare)
            since = self._clock() - self._last_use
        if not is_wanted:
            self._let_go(spare)
        self._arrange(pause(since))

    def _made(self) -> _Spare:
        descriptor = namespace.make_unpinned(self._parts.prepare)
        try:
            return _Spare(descriptor, namespace.seal(descriptor))
        except BaseException:
            self._discard(descriptor)
            raise
