"""Fair shares: how many queries of one client may wait for upstreams. The bounds are in `resolver.limits`. Pure."""

from __future__ import annotations

from resolver import limits
from resolver.dns_client import Client


class Quota:
    """The forwarded queries that wait: each client may have some, and when half of all places are taken, each an equal share."""

    __slots__ = ("_busy_clients", "in_flight")

    def __init__(self) -> None:
        self.in_flight = 0
        self._busy_clients = 0

    def take(self, client: Client) -> bool:
        """Return whether one more query of *client* may wait, and count it if so."""
        own, every = client.in_flight, self.in_flight
        if own >= limits.IN_FLIGHT_PER_CLIENT or every >= limits.IN_FLIGHT:
            return False
        if every >= limits.IN_FLIGHT // 2 and own >= limits.IN_FLIGHT // (self._busy_clients + 1):
            return False
        if not own:
            self._busy_clients += 1
        client.in_flight = own + 1
        self.in_flight = every + 1
        return True

    def give_back(self, client: Client) -> None:
        """Note that a query of *client* waits no longer."""
        client.in_flight -= 1
        self.in_flight -= 1
        if not client.in_flight:
            self._busy_clients -= 1
