"""The networks that berth makes by itself when a sandbox first needs them.

`default`  for a sandbox that names no network, or this one; removed when the daemon exits because it is idle
`bridge`   Docker's predefined network, where nobody has a name (rule DNS-41), as configured
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from netcore.model import DEFAULT_BRIDGE, Network, NetworkRequest

_LABEL = ("berth.auto", "true")
DEFAULT_NETWORK = NetworkRequest(name="default", labels=(_LABEL,))


def is_automatic(network: Network) -> bool:
    """Return whether *network* is a `default` that berth made, and so removes when the daemon is idle."""
    return _LABEL in network.labels


class AutomaticNetworks:
    """Knows which automatic network a request needs, and makes each one once.

    *named*: finds a network by its exact name. *default_bridge*: the network `bridge` as configured.
    """

    def __init__(self, named: Callable[[str], Network | None], default_bridge: NetworkRequest) -> None:
        self._named = named
        self._default_bridge = default_bridge
        self._lock = asyncio.Lock()

    def needed(self, references: Iterable[str], *, on_default: bool) -> NetworkRequest | None:
        """Return the automatic network that an operation on the networks *references* needs.

        *on_default*: a sandbox that names no network is to be on `default`, and so is one that names it before it exists.
        """
        named = tuple(references)
        if on_default and (not named or (DEFAULT_NETWORK.name in named and self.find(DEFAULT_NETWORK) is None)):
            return DEFAULT_NETWORK
        return self._default_bridge if DEFAULT_BRIDGE in named else None

    def find(self, request: NetworkRequest) -> Network | None:
        """Return the network that *request* would make, None if it does not exist yet."""
        return self._named(request.name)

    async def ensure(self, request: NetworkRequest, create: Callable[[NetworkRequest], Awaitable[Network]]) -> Network:
        """Return the network that *request* means; *create* makes it if it is not there, once for all who ask meanwhile."""
        async with self._lock:
            network = self.find(request)
            return network if network is not None else await create(request)
