"""Deletes links behind the reply of the operation that took them down. Thread-safe; blocking.

Deleting a link waits 14 ms and more for the kernel. So whoever removes one takes it down, off its bridge and out of its name,
which takes 1 ms, and puts it into a group of links here. Later one request deletes the whole group.

The number of the group is the mark: after a crash it is all that tells of these links. See `pair_groups`, `bridge_groups`.

Spec: Linux net/core/rtnetlink.c (rtnl_group_dellink), Documentation/networking/netdevices.rst.
"""

from __future__ import annotations

import errno
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

from netcore import limits
from netcore.errors import KernelError, NetcoreError
from netcore.kernel import rtnl
from netcore.kernel.host_sockets import HostSockets
from netcore.kernel.netlink import ROUTE

log = logging.getLogger(__name__)

_PAIRS = range(0x6265_0000, 0x6265_0040)
"""Groups of pairs, filled in turn: so one can be deleted while the next takes what comes meanwhile."""
_BRIDGES = range(0x6265_0100, 0x6265_1100)
"""Groups of one bridge each: deleting it keeps everybody else from changing links all the time."""


def is_leaving(group: int) -> bool:
    """Return whether a link of *group* was removed by us, and only waits for being deleted."""
    return group in _PAIRS or group in _BRIDGES


@dataclass(frozen=True, slots=True)
class _Due:
    """When a group may be deleted; by the clock."""

    soonest: float
    """Then, if no operation is under way, and for a bridge if none was for a while."""
    late: float
    """Then a bridge no longer needs that while."""
    latest: float
    """Then whatever is under way."""


class DeferredDeletes:
    """See the module. *later*: (seconds, what to do then on a worker thread). *clock*: seconds."""

    def __init__(
        self, later: Callable[[float, Callable[[], None]], None], host_sockets: HostSockets, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._later = later
        self._host_sockets = host_sockets
        self._clock = clock
        self._lock = Lock()
        self._deleting = Lock()
        self._waiting: dict[int, _Due] = {}
        self._pairs, self._bridges = _PAIRS.start, _BRIDGES.start
        self._members = 0
        self._under_way = 0
        self._last_operation = 0.0
        self._next_look = math.inf
        self._is_closed = False
        self._problems: dict[int, str] = {}

    @contextmanager
    def held_off(self) -> Iterator[None]:
        """For the length of a block, an operation changes links: nothing is deleted unless it has waited too long."""
        with self._lock:
            self._under_way += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1
                self._last_operation = self._clock()

    # --- what is put in ------------------------------------------------------------------------------------------

    def pair_group(self) -> int:
        """Return the group that the host's end of a pair is to be put into. Call `put` once it is there."""
        with self._lock:
            if self._members >= limits.LINKS_IN_A_DELETE:
                self._next_pairs()
            self._members += 1
            return self._pairs

    def _next_pairs(self) -> None:
        self._pairs = self._pairs + 1 if self._pairs + 1 in _PAIRS else _PAIRS.start
        self._members = 0

    def bridge_group(self) -> int:
        """Return the group that a bridge is to be put into. Call `put` once it is there."""
        with self._lock:
            self._bridges = self._bridges + 1 if self._bridges + 1 in _BRIDGES else _BRIDGES.start
            return self._bridges

    def put(self, group: int) -> None:
        """Have the links of *group* deleted."""
        now = self._clock()
        with self._lock:
            if group in _BRIDGES:
                due = _Due(now, now + limits.DELETE_BRIDGES_SOON, now + limits.DELETE_BRIDGES_BY)
            else:
                due = _Due(now + limits.DELETE_LINKS_AFTER, now, now + limits.DELETE_LINKS_BY)
            self._waiting.setdefault(group, due)
        self._arm(limits.DELETE_LINKS_AFTER)

    def take_over(self) -> None:
        """Delete the pairs that an earlier daemon left, and have its bridges deleted."""
        with self._host_sockets.lent(ROUTE) as netlink:
            left = {link.group for link in rtnl.links(netlink) if is_leaving(link.group)}
        for group in sorted(left):
            self.put(group)
        for group in sorted(left):
            if group in _PAIRS:
                self._try(group)

    # --- when it is deleted --------------------------------------------------------------------------------------

    def _arm(self, delay: float) -> None:
        """Look at what is to be deleted in *delay* seconds, unless that is done sooner anyway."""
        at = self._clock() + delay
        with self._lock:
            if self._is_closed or self._next_look <= at:
                return
            self._next_look = at
        self._later(delay, self._look)

    def _look(self) -> None:
        with self._lock:
            self._next_look = math.inf
            group = None if self._is_closed else self._choose(self._clock())
        if group is not None:
            self._try(group)
        with self._lock:
            soonest = min((due.soonest for due in self._waiting.values()), default=math.inf)
        if soonest != math.inf:
            self._arm(max(limits.DELETE_PAUSE, soonest - self._clock()))

    def _choose(self, now: float) -> int | None:
        """Return the group that is to be deleted now. Pairs go first, as they are quick."""
        is_free = not self._under_way
        is_quiet = is_free and now - self._last_operation >= limits.DELETE_BRIDGES_AFTER
        for group, due in sorted(self._waiting.items()):
            may_go = is_quiet or (is_free and (group in _PAIRS or due.late <= now))
            if due.latest <= now or (may_go and due.soonest <= now):
                return group
        return None

    def _try(self, group: int) -> None:
        try:
            self.delete(group)
        except (NetcoreError, OSError) as error:
            if str(error) not in self._problems.values():
                log.warning("links that were taken down are not deleted yet reason=%s", error)
            self._problems[group] = str(error)

    def delete(self, group: int) -> None:
        """Delete the links of *group* now, if they are still to be deleted; KernelError if they stay, and will be tried again."""
        with self._deleting:
            with self._lock:
                if self._waiting.pop(group, None) is None:
                    return
                if group == self._pairs:
                    self._next_pairs()
            try:
                with self._host_sockets.lent(ROUTE) as netlink:
                    error = netlink.run([rtnl.delete_group(group)])[0]
                if error is not None and error.errno != errno.ENODEV:
                    raise error
            except (NetcoreError, OSError):
                again = self._clock() + limits.DELETE_RETRY
                with self._lock:
                    self._waiting[group] = _Due(again, again + limits.DELETE_BRIDGES_SOON, again + limits.DELETE_BRIDGES_BY)
                raise
            self._problems.pop(group, None)
            if group in _BRIDGES:
                with self._lock:
                    # The next one waits as long again.
                    self._last_operation = self._clock()

    # --- for those who wait --------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Delete at once all that is to be deleted, whatever is under way; KernelError if something stays."""
        with self._lock:
            groups = sorted(self._waiting)
        failed: KernelError | None = None
        for group in groups:
            try:
                self.delete(group)
            except KernelError as error:
                failed = failed or error
        with self._deleting:
            # One that was being deleted already is gone too.
            pass
        if failed is not None:
            raise failed

    def warnings(self) -> tuple[str, ...]:
        """Return why links that were taken down are still there, for the status."""
        reasons = sorted({*self._problems.values()})
        return (f"links that were taken down are not deleted yet: {'; '.join(reasons)}",) if reasons else ()

    def close(self) -> None:
        """Delete what is left, for a limited time; the rest is for the next start."""
        with self._lock:
            self._is_closed = True
            groups = sorted(self._waiting)
        end = self._clock() + limits.DELETES_AT_END
        for group in groups:
            if self._clock() < end:
                self._try(group)
