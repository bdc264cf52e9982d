"""Following the networks that this host has: their endpoints and addresses, and nothing of all other networks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from netcore import limits
from netcore.cluster import state as records
from netcore.cluster.shared_addresses import SharedAddresses
from netcore.cluster.state import ClusterChange, ClusterState, NetworkLoaded
from netcore.cluster.store_access import StoreAccess
from netcore.errors import NetcoreError
from netcore.model import NetworkId
from netcore.store.protocol import Change, Compacted, KeyRange, SharedStore, Snapshot

log = logging.getLogger(__name__)

OnChange = Callable[[set[ClusterChange]], None]


class FollowedNetworks:
    """Two watches for each network: of its endpoints, and of its addresses. *apply*: takes one change."""

    def __init__(self, access: StoreAccess, state: ClusterState, addresses: SharedAddresses, apply: Callable[[Change], None]) -> None:
        self._access = access
        self._state = state
        self._addresses = addresses
        self._apply = apply
        self.on_change: OnChange = lambda _: None
        self._watches: dict[NetworkId, tuple[asyncio.Task[None], ...]] = {}
        self._stopped: set[NetworkId] = set()

    def __contains__(self, network_id: NetworkId) -> bool:
        return network_id in self._watches

    async def follow(self, store: SharedStore, network_id: NetworkId) -> None:
        """Know all endpoints and addresses of a network from now on; Unavailable."""
        if network_id in self._watches:
            return
        addresses = await store.load(records.addresses_of(network_id))
        endpoints = await store.load(records.endpoints_of(network_id))
        if network_id in self._watches:
            # Somebody else was quicker.
            return
        self._take_addresses(network_id, addresses)
        self._take_endpoints(network_id, endpoints)
        self._stopped.discard(network_id)
        self._watches[network_id] = (
            _task(self._watch(store, network_id, records.addresses_of(network_id), addresses.revision, self._take_addresses)),
            _task(self._watch(store, network_id, records.endpoints_of(network_id), endpoints.revision, self._take_endpoints)),
        )

    def forget(self, network_id: NetworkId) -> None:
        """Follow a network no longer."""
        self._stopped.discard(network_id)
        for task in self._watches.pop(network_id, ()):
            task.cancel()
        self._state.forget(network_id)
        self._addresses.begin_anew(network_id)

    def stop(self) -> None:
        """Follow nothing any more; what is known stays, as do the networks to go on with."""
        for tasks in self._watches.values():
            for task in tasks:
                task.cancel()
        self._stopped |= {*self._watches}
        self._watches.clear()

    def stopped(self) -> frozenset[NetworkId]:
        """Return the networks that were followed until `stop`."""
        return frozenset(self._stopped)

    def _take_addresses(self, network_id: NetworkId, snapshot: Snapshot) -> None:
        self._state.replace_addresses(network_id, snapshot.items)
        self._addresses.begin_anew(network_id)

    def _take_endpoints(self, network_id: NetworkId, snapshot: Snapshot) -> None:
        self.on_change({NetworkLoaded(network_id), *self._state.replace_endpoints(network_id, snapshot.items)})

    async def _watch(
        self,
        store: SharedStore,
        network_id: NetworkId,
        scope: KeyRange,
        revision: int,
        take: Callable[[NetworkId, Snapshot], None],
    ) -> None:
        while True:
            try:
                async for change in store.watch(revision, scope):
                    self._apply(change)
            except Compacted:
                log.warning("changes were missed, the network is loaded again network=%s", network_id[:12])
            except NetcoreError as error:
                self._access.note(str(error))
            snapshot = await self._load(store, scope)
            take(network_id, snapshot)
            revision = snapshot.revision

    async def _load(self, store: SharedStore, scope: KeyRange) -> Snapshot:
        while True:
            try:
                return await store.load(scope)
            except NetcoreError as error:
                self._access.note(str(error))
                await asyncio.sleep(limits.STORE_RETRY)


def _task(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(work)
