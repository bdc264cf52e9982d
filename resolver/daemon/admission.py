"""Who may use the admin API, for what, and how much of it at once. Pure.

Each listener has a scope. Each peer, which is a user at a Unix socket and an address at a TCP port, has a bounded number of
connections and requests. Root has no bounds: it could do everything without us.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import Enum

from resolver import limits
from resolver.daemon.allowance import Allowance, whole

Peer = int | str
"""A uid, or an address."""
_ROOT = 0


class Scope(Enum):
    """What a listener of the admin API is for."""

    READ = "read"
    CHANGE = "change"


class Admission:
    """Counts what each peer has open and has asked. *clock*: seconds, monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._connections: Counter[Peer] = Counter()
        self._allowances: dict[Peer, Allowance] = {}
        self.refused = 0

    def connect(self, peer: Peer) -> bool:
        """Note a new connection of *peer*; False: it has too many and must be closed."""
        if peer != _ROOT and self._connections[peer] >= limits.API_CONNECTIONS:
            self.refused += 1
            return False
        self._connections[peer] += 1
        return True

    def disconnect(self, peer: Peer) -> None:
        """Note the end of a connection that was let in."""
        self._connections[peer] -= 1
        if self._connections[peer] <= 0:
            del self._connections[peer]

    def ask(self, peer: Peer) -> bool:
        """Note a request of *peer*; False: it asks too often and is refused."""
        if peer == _ROOT:
            return True
        now = self._clock()
        if len(self._allowances) > limits.API_PEERS:
            self._forget(now)
        if not self._allowances.setdefault(peer, whole(limits.API_BURST, limits.API_RATE, now)).take(now):
            self.refused += 1
            return False
        return True

    def _forget(self, now: float) -> None:
        """Forget the peers whose allowance is whole again."""
        rested = limits.API_BURST / limits.API_RATE
        self._allowances = {peer: allowance for peer, allowance in self._allowances.items() if now - allowance.since < rested}
