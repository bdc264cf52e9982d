"""Forgets tracked flows behind the reply of the operation that moved or removed their ends. Thread-safe; blocking.

The kernel walks through its whole table twice for each address, 1.2 ms with a table for 262,144 flows. Nobody has to wait for
that as long as nobody else has the address: it rests. Whoever brings it back at once has its flows forgotten first, and fails
if that fails. After a crash the addresses that rest say which flows may be left. Of ports that led elsewhere nothing says it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Set
from threading import Lock

from netcore import limits
from netcore.desired.flows import Flows, LedTo, PortMove, led_from, led_to
from netcore.errors import NetcoreError
from netcore.kernel import conntrack
from netcore.kernel.host_sockets import HostSockets
from netcore.kernel.netlink import NETFILTER, ROUTE
from netcore.model import IPAddress

log = logging.getLogger(__name__)


class DeferredFlows:
    """See the module. *later*: (seconds, what to do then on a worker thread)."""

    def __init__(self, later: Callable[[float, Callable[[], None]], None], host_sockets: HostSockets) -> None:
        self._later = later
        self._host_sockets = host_sockets
        self._lock = Lock()
        self._forgetting = Lock()
        self._waiting = Flows()
        self._in_work = Flows()

    def put(self, flows: Flows) -> None:
        """Have *flows* forgotten soon, together with those that come meanwhile: many take one look at all flows."""
        delays = []
        with self._lock:
            if flows.ports and not self._waiting.ports:
                delays.append(limits.FORGET_PORTS_AFTER)
            if flows.addresses and not self._waiting.addresses:
                delays.append(limits.FORGET_ADDRESSES_AFTER)
            self._waiting |= flows
        if delays:
            self._later(min(delays), self._try)

    def forget(self, flows: Flows) -> None:
        """Forget *flows* at once; what fails is logged, and tried again."""
        try:
            self.flush(flows)
        except (NetcoreError, OSError) as error:
            with self._lock:
                self._waiting |= flows
            self._try_again(error)

    def settle(self, addresses: Set[IPAddress]) -> None:
        """Return when no flow of *addresses* is to be forgotten any more: somebody has them from now on. Raises as `finish`."""
        with self._lock:
            is_due = not addresses.isdisjoint(self._waiting.addresses) or not addresses.isdisjoint(self._in_work.addresses)
        if is_due:
            self.finish()

    def spare(self, moves: Iterable[PortMove]) -> Flows:
        """Have no flow forgotten for having gone where a port leads again with *moves*. Return what is not forgotten for that."""
        brought = led_to(moves)
        if not brought:
            return Flows()
        spared, is_in_work = self._take_back(brought)
        if is_in_work:
            # What begins after that is not forgotten, unless it failed and is to be tried again.
            with self._forgetting:
                more, _ = self._take_back(brought)
            spared |= more
        return spared

    def _take_back(self, brought: Set[LedTo]) -> tuple[Flows, bool]:
        """Return what was waiting, and is no longer, because ports lead back to *brought*; and whether some of that is in work."""
        with self._lock:
            ports = frozenset(earlier for earlier in self._waiting.ports if led_from(earlier) in brought)
            self._waiting = Flows(addresses=self._waiting.addresses, ports=self._waiting.ports - ports)
            return Flows(ports=ports), any(led_from(earlier) in brought for earlier in self._in_work.ports)

    def _try(self) -> None:
        try:
            self.finish()
        except (NetcoreError, OSError) as error:
            self._try_again(error)

    def _try_again(self, error: Exception) -> None:
        log.warning("flows of addresses that are gone are not forgotten yet reason=%s", error)
        self._later(limits.DELETE_RETRY, self._try)

    def finish(self) -> None:
        """Forget at once all that is to be forgotten. What it raises, an OSError say, leaves all of it to be forgotten."""
        with self._forgetting:
            with self._lock:
                self._in_work, self._waiting = self._waiting, Flows()
            try:
                if self._in_work:
                    self.flush(self._in_work)
            except BaseException:
                with self._lock:
                    self._waiting |= self._in_work
                raise
            finally:
                with self._lock:
                    self._in_work = Flows()

    def close(self) -> None:
        """Forget what is left; what fails is for the next start."""
        self._try()

    def flush(self, flows: Flows) -> None:
        """Have the kernel delete *flows*."""
        with self._host_sockets.lent(NETFILTER) as netlink, self._host_sockets.lent(ROUTE) as routes:
            conntrack.forget(netlink, routes, flows)
