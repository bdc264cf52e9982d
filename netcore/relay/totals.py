"""How much all relays together carry, each sandbox within its share, and what was refused. On the loop."""

from __future__ import annotations

import asyncio
import logging
import resource
from enum import Enum

from netcore import limits
from netcore.relay.carried import DESCRIPTORS
from netcore.relay.shares import PlacesOfPort, Shares
from netcore.relay.told import Told

log = logging.getLogger(__name__)


class Kind(Enum):
    """What is relayed: connections of TCP, clients of UDP."""

    CONNECTIONS = "connections"
    CLIENTS = "clients"


def most(descriptors: int) -> dict[Kind, int]:
    """Return how much may be relayed at once by a process with *descriptors*: half of them, most of it connections. Pure."""
    clients = min(limits.RELAYED_CLIENTS, descriptors // 8)
    connections = min(limits.RELAYED_CONNECTIONS, (descriptors // 2 - clients) // DESCRIPTORS)
    return {Kind.CONNECTIONS: max(connections, 1), Kind.CLIENTS: max(clients, 1)}


_OF_PORT = {
    Kind.CONNECTIONS: (limits.PROXY_CONNECTIONS_PER_SOURCE, limits.PROXY_CONNECTIONS),
    Kind.CLIENTS: (limits.PROXY_SESSIONS_PER_SOURCE, limits.PROXY_SESSIONS),
}


class Totals:
    """*refused*: how much since the start, by kind. *descriptors*: that this process may have."""

    def __init__(self, descriptors: int) -> None:
        self._most = most(descriptors)
        self._shares = {kind: Shares(max(count // 2, 1), count) for kind, count in self._most.items()}
        self._told: Told[tuple[Kind, str]] = Told(limits.RELAYED_TOLD_AGAIN)
        self.refused = dict.fromkeys(Kind, 0)

    def places(self, kind: Kind, sandbox_id: str) -> PlacesOfPort:
        """Return the places of one port of a sandbox."""
        return PlacesOfPort(Shares(*_OF_PORT[kind]), self._shares[kind], sandbox_id, lambda: self._note(kind, sandbox_id))

    def _note(self, kind: Kind, sandbox_id: str) -> None:
        self.refused[kind] += 1
        if self._told.is_due((kind, sandbox_id), asyncio.get_running_loop().time()):
            log.warning("a published port relays no more sandbox=%s %s=%d", sandbox_id, kind.value, self._most[kind])


def descriptors() -> int:
    """Return how many this process may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
