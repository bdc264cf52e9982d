"""The keys of encrypted networks in the store: made by one host for all, followed by newer ones on wall time."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable

from netcore.cluster import state as records
from netcore.cluster.encryption import Key, KeyAges
from netcore.cluster.state import ClusterChange, ClusterState, KeysChanged
from netcore.cluster.store_access import StoreAccess
from netcore.store.codec import encode_shared
from netcore.store.protocol import CompareFailed, Transaction


class SharedKeys:
    """See the module. *clock*: seconds since the epoch. *on_change*: is told when another key is to be sent with."""

    def __init__(self, node_id: str, access: StoreAccess, state: ClusterState, clock: Callable[[], float]) -> None:
        self._node_id = node_id
        self._access = access
        self._state = state
        self._clock = clock
        self._ages = KeyAges()
        self._sending: Key | None = None
        self.on_change: Callable[[set[ClusterChange]], None] = lambda _: None

    def sending_key(self) -> Key | None:
        """Return the key that this host encrypts with now."""
        return self._ages.sending_key(self._state.keys, asyncio.get_running_loop().time())

    async def ensure(self) -> None:
        """Make the first key, unless there is one; of several hosts that try, one makes it."""
        if not self._state.keys:
            await self._make(1)

    async def _make(self, number: int) -> None:
        key = records.secret_key(number)
        value = encode_shared(Key(number=number, secret=secrets.token_hex(32), made=self._clock()))
        with contextlib.suppress(CompareFailed):
            revision = await self._access.agreeing().commit(Transaction({key: value}, {key: 0}))
            self.on_change(self._state.write({key: value}, revision))

    async def rotate(self) -> None:
        """Make new keys and delete old ones, if this host does that for all."""
        current = self.sending_key()
        if current != self._sending:
            self._sending = current
            self.on_change({KeysChanged()})
        if min(self._state.nodes, default=None) != self._node_id:
            return
        rotation = self._ages.rotation(self._state.keys, asyncio.get_running_loop().time(), self._clock())
        if rotation.make is not None:
            await self._make(rotation.make)
        for number in rotation.delete:
            await self._access.agreeing().commit(Transaction({records.secret_key(number): None}))
