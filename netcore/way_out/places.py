"""Who has which places in one table of the way out: each client has a share, and what it uses no longer gives way to what it begins.

On the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from netcore import limits
from netcore.relay.shares import Shares

_K = TypeVar("_K", bound=Hashable)


class Places(Generic[_K]):
    """*give_way*: ends what has a place, which is told by `ended`. *clock*: seconds."""

    def __init__(self, most: int, give_way: Callable[[_K], None], clock: Callable[[], float]) -> None:
        self._shares = share_of_each(most)
        self._give_way = give_way
        self._clock = clock
        self._client: dict[_K, str] = {}
        # Of each client, what was used last at the end.
        self._used: dict[str, dict[_K, float]] = {}

    def __len__(self) -> int:
        return len(self._client)

    def take(self, client: str, key: _K) -> bool:
        """Return whether *client* may have a place for *key*, and note it if so."""
        now = self._clock()
        while not self._shares.take(client):
            own = self._used.get(client)
            if not own:
                return False
            oldest, last = next(iter(own.items()))
            if now - last < limits.WAY_OUT_GIVES_WAY:
                return False
            self._give_way(oldest)
        self._client[key] = client
        self._used.setdefault(client, {})[key] = now
        return True

    def use(self, key: _K) -> None:
        """Note that *key* is used now."""
        own = self._used[self._client[key]]
        del own[key]
        own[key] = self._clock()

    def ended(self, key: _K) -> None:
        """Note that *key* needs its place no longer."""
        client = self._client.pop(key)
        own = self._used[client]
        del own[key]
        if not own:
            del self._used[client]
        self._shares.give_back(client)


def share_of_each(most: int) -> Shares:
    """Return the shares of a table with *most* places: no client has more than half of them, so there is one for the next."""
    return Shares(max(most // 2, 1), most)
