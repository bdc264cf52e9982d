"""Forgets tracked flows behind the reply of the operation that moved or removed their ends. Thread-safe; blocking.

The kernel walks through its whole table for each address, 0.6 ms with a table for 262,144 flows. Nobody has to wait for that
as long as nobody else has the address: it rests. Whoever brings it back at once has its flows forgotten first. After a crash
the addresses that rest say which flows may be left.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from threading import Lock

from netcore import limits
from netcore.desired.flows import Flows
from netcore.kernel import conntrack
from netcore.kernel.host_sockets import HostSockets
from netcore.kernel.netlink import NETFILTER
from netcore.model import IPAddress


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
            self._later(min(delays), self.finish)

    def settle(self, addresses: Set[IPAddress]) -> None:
        """Return when no flow of *addresses* is to be forgotten any more: somebody has them from now on."""
        with self._lock:
            is_due = not addresses.isdisjoint(self._waiting.addresses) or not addresses.isdisjoint(self._in_work.addresses)
        if is_due:
            self.finish()

    def finish(self) -> None:
        """Forget at once all that is to be forgotten."""
        with self._forgetting:
            with self._lock:
                self._in_work, self._waiting = self._waiting, Flows()
            try:
                if self._in_work:
                    self.forget(self._in_work)
            finally:
                with self._lock:
                    self._in_work = Flows()

    def forget(self, flows: Flows) -> None:
        """Forget *flows* now."""
        with self._host_sockets.lent(NETFILTER) as netlink:
            conntrack.forget(netlink, flows)
