"""Who asks at the gateways of networks, by network and source address: sandboxes, and those that may ask nothing.

A sandbox with egress rules is known before its link is there and until that is gone: in between it would be a stranger, who may ask
for any name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from resolver.client import Client
from resolver.engine.query_policy import NobodyAsked
from resolver.engine.view import View

Key = tuple[str, bytes]
"""(id of a network, packed address)."""

_REASON = "this address is of a sandbox that is being connected or removed"


class GatewayClients:
    """See the module. *suffix*: of all names."""

    def __init__(self, suffix: bytes) -> None:
        self._clients: dict[Key, Client] = {}
        self._nobody = Client(View(suffix=suffix, policy=NobodyAsked(_REASON)))

    def at(self, network_id: str) -> Callable[[bytes], Client | None]:
        """Return what finds the client of who has an address (packed) on a network, None for a stranger."""
        return lambda address: self._clients.get((network_id, address))

    def expect(self, keys: Iterable[Key]) -> None:
        """Have nobody ask from addresses that no sandbox is known by: those of one with rules, whose links come, or may be there still."""
        for key in keys:
            self._clients.setdefault(key, self._nobody)

    def move(self, client: Client, before: Iterable[Key], after: Iterable[Key], *, is_confined: bool) -> None:
        """Know *client* by the addresses *after* in place of those *before*. *is_confined*: it has rules, or had them until now."""
        for key in before:
            if is_confined:
                # Its link is still there. Until somebody else has the address nobody asks from it.
                self._clients[key] = self._nobody
            else:
                self._clients.pop(key, None)
        self._clients.update(dict.fromkeys(after, client))

    def drop(self, network_id: str) -> None:
        """A network is gone, and with it all links on it."""
        for key in [key for key, client in self._clients.items() if client is self._nobody and key[0] == network_id]:
            del self._clients[key]
