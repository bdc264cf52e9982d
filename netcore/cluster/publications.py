"""What this host has published to all hosts, and what it must withdraw as soon as it can. Pure."""

from __future__ import annotations

from netcore.cluster import state
from netcore.model import Endpoint, Network, Sandbox


class Publications:
    """The records of this host's endpoints, kept so that all of them can be published again at any time. Single owner.

    *records*: key → record of each endpoint. *withdrawn*: keys that are still to be deleted from the store.
    """

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id
        self.records: dict[str, bytes] = {}
        self.withdrawn: set[str] = set()
        self._address_keys: dict[str, frozenset[str]] = {}

    def add(self, sandbox: Sandbox, endpoint: Endpoint, network: Network) -> str:
        """Remember an endpoint of this host and return its key."""
        key = _key(endpoint)
        self.records[key] = state.endpoint_record(self._node_id, sandbox, endpoint, network)
        self._address_keys[key] = frozenset(state.address_key(endpoint.network_id, address) for address in endpoint.addresses())
        self.withdrawn.discard(key)
        return key

    def remove(self, endpoint: Endpoint) -> str:
        """Forget an endpoint and return its key."""
        key = _key(endpoint)
        self.records.pop(key, None)
        self._address_keys.pop(key, None)
        return key

    def keys(self) -> set[str]:
        """Return the keys that this host must have in the store: of its endpoints, and of their addresses."""
        return set(self.records).union(*self._address_keys.values())


def _key(endpoint: Endpoint) -> str:
    return state.endpoint_key(endpoint.network_id, endpoint.id)
