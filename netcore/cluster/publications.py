"""What this host must have in the store: the records of its endpoints, their addresses and networks. Pure."""

from __future__ import annotations

from netcore.cluster import state
from netcore.model import Endpoint, Network, NetworkId, Sandbox


class Publications:
    """Kept so that all of it can be said again at any time. Single owner.

    *records*: key → record of each endpoint. *claimed*: keys of addresses, also of endpoints that are still being made.
    """

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id
        self.records: dict[str, state.EndpointRecord] = {}
        self.claimed: set[str] = set()
        self._endpoints: dict[str, tuple[Endpoint, Network]] = {}

    def add(self, sandbox: Sandbox, endpoint: Endpoint, network: Network) -> str:
        """Remember an endpoint of this host and its addresses; return its key."""
        key = _key(endpoint)
        self.records[key] = state.endpoint_record(self._node_id, sandbox, endpoint, network)
        self._endpoints[key] = (endpoint, network)
        self.claimed |= self.addresses_of(key)
        return key

    def has(self, endpoint: Endpoint) -> bool:
        """Return whether an endpoint is remembered."""
        return _key(endpoint) in self.records

    def remove(self, endpoint: Endpoint) -> str:
        """Forget an endpoint, but not its addresses, which are still in use; return its key."""
        key = _key(endpoint)
        self.records.pop(key, None)
        self._endpoints.pop(key, None)
        return key

    def keys(self) -> set[str]:
        """Return the keys that this host must have in the store: of its endpoints, and of addresses."""
        return self.claimed.union(self.records)

    def addresses_of(self, key: str) -> frozenset[str]:
        """Return the keys of the addresses of the endpoint at *key*."""
        endpoint, _ = self._endpoints[key]
        return frozenset(state.address_key(endpoint.network_id, address) for address in endpoint.addresses())

    def users_of(self, address_key: str) -> list[Endpoint]:
        """Return the endpoints that have the address at *address_key*."""
        return [self._endpoints[key][0] for key in self._endpoints if address_key in self.addresses_of(key)]

    def endpoints_on(self, network_id: NetworkId) -> list[Endpoint]:
        """Return the endpoints on a network."""
        return [endpoint for endpoint, network in self._endpoints.values() if network.id == network_id]

    def networks(self) -> dict[NetworkId, Network]:
        """Return the networks that endpoints are on."""
        return {network.id: network for _, network in self._endpoints.values()}


def _key(endpoint: Endpoint) -> str:
    return state.endpoint_key(endpoint.network_id, endpoint.id)
