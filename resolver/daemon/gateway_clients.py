"""Who asks at the gateways of networks, by network and source address: sandboxes, and those that may ask nothing.

A sandbox with egress rules is known before its link is there and until that is gone: in between it would be a stranger, who may ask
for any name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from netcore.egress.settings import EgressSettings
from netcore.errors import NetcoreError
from netcore.model import Endpoint, Network, NetworkId, Sandbox
from netcore.plan import egress
from resolver.dns_client import Client
from resolver.engine.query_policy import NobodyAsked
from resolver.engine.view import View

Key = tuple[NetworkId, bytes]
"""(id of a network, packed address)."""


def keys_of(endpoints: Iterable[Endpoint]) -> list[Key]:
    """Return what sandboxes are known by at gateways."""
    return [(endpoint.network_id, address.packed) for endpoint in endpoints for address in endpoint.addresses()]


_NOBODY_THERE: Mapping[bytes, Client] = {}
_REASON = "this address is of a sandbox that is being connected or removed"


class GatewayClients:
    """See the module. *suffix*: of all names. *settings*: of egress rules, as they are now."""

    def __init__(self, suffix: bytes, settings: Callable[[], EgressSettings]) -> None:
        self._settings = settings
        self._clients: dict[NetworkId, dict[bytes, Client]] = {}
        self._nobody = Client(View(suffix=suffix, policy=NobodyAsked(_REASON)))

    def at(self, network_id: NetworkId) -> Callable[[bytes], Client | None]:
        """Return what finds the client of who has an address (packed) on a network, None for a stranger."""
        return lambda address: self._clients.get(network_id, _NOBODY_THERE).get(address)

    def expect(self, sandbox: Sandbox, endpoints: Sequence[Endpoint], networks: Mapping[NetworkId, Network]) -> None:
        """See `NamePublisher`: addresses that no sandbox is known by yet, or any more."""
        try:
            known = [endpoint for endpoint in endpoints if endpoint.network_id in networks]
            is_confined = egress.policy_of(sandbox, known, networks, self._settings()) is not None
        except (NetcoreError, LookupError, ValueError):
            # Nobody knows any more, so it is taken for one that is.
            is_confined = True
        if is_confined:
            for network_id, address in keys_of(endpoints):
                self._clients.setdefault(network_id, {}).setdefault(address, self._nobody)

    def move(self, client: Client, before: Iterable[Key], after: Iterable[Key], *, is_confined: bool) -> None:
        """Know *client* by the addresses *after* in place of those *before*. *is_confined*: it has rules, or had them until now."""
        for network_id, address in before:
            there = self._clients.setdefault(network_id, {})
            if is_confined:
                # Its link is still there. Until somebody else has the address nobody asks from it.
                there[address] = self._nobody
            else:
                there.pop(address, None)
        for network_id, address in after:
            self._clients.setdefault(network_id, {})[address] = client

    def drop(self, network_id: NetworkId) -> None:
        """A network is gone, and with it all links on it."""
        left = {address: client for address, client in self._clients.pop(network_id, {}).items() if client is not self._nobody}
        if left:
            self._clients[network_id] = left
