"""The resolver's sockets in new namespaces: opened and redirected before there is a sandbox. On worker threads; thread-safe.

They are known by the identity of their namespace, which can't be another's while they are open: they hold it. They are kept
for no later daemon until a sandbox has them.
"""

from __future__ import annotations

from threading import Lock

from netcore.kernel import netns
from netcore.model import NetnsPath
from resolver.daemon import listeners
from resolver.daemon.listeners import SocketPair


class SpareSockets:
    """See the module. The `SpareParts` of this daemon."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._by_namespace: dict[tuple[int, int], tuple[SocketPair, str | None]] = {}

    @property
    def any(self) -> bool:
        """Whether there are sockets at all; otherwise nothing else has to be looked at."""
        return bool(self._by_namespace)

    def prepare(self) -> None:
        """Open the sockets of a resolver in the namespace of the calling thread, and make them appear at port 53."""
        opened = listeners.open_here(replace=False)
        with self._lock:
            self._by_namespace[netns.own_identity()] = opened

    def discard(self, netns_descriptor: int) -> None:
        """Close the sockets inside."""
        self._discard(netns.identity(netns_descriptor))

    def discard_at(self, netns_path: NetnsPath) -> None:
        """Close the sockets in the namespace that is pinned at *netns_path*, if no sandbox has taken them."""
        self._discard(netns.identity_of_path(netns_path))

    def _discard(self, identity: tuple[int, int] | None) -> None:
        found = self._take(identity)
        if found is not None:
            found[0].close()

    def take(self, netns_path: NetnsPath) -> tuple[SocketPair, str | None] | None:
        """Return the sockets of the namespace that is pinned at *netns_path*, and a warning if there is one; None if it has none."""
        return self._take(netns.identity_of_path(netns_path)) if self.any else None

    def _take(self, identity: tuple[int, int] | None) -> tuple[SocketPair, str | None] | None:
        if identity is None:
            return None
        with self._lock:
            return self._by_namespace.pop(identity, None)
