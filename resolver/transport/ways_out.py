"""The host's way to the upstreams that are asked from inside sandboxes: what they send is forwarded, and mostly translated.

When the host has another way, nothing changes inside the sandbox, so a look there does not tell. But what failed may work now,
and connections that are translated to an address of before are dead.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterable

import msgspec

from resolver.engine.upstream import Upstream
from resolver.transport.upstream_socket import Path, path_of


class WaysOut:
    """See the module. *open_socket*: connects a socket of this kind to an upstream; nothing is sent."""

    def __init__(self, open_socket: Callable[[Upstream, int], Awaitable[socket.socket]]) -> None:
        self._open_socket = open_socket
        self._known: dict[Upstream, Path | None] = {}

    async def note(self, upstream: Upstream) -> None:
        """Note the way to *upstream*, if it is not known yet."""
        seen = _from_host(upstream)
        if seen is not None and seen not in self._known:
            path = await self._path(seen)
            self._known.setdefault(seen, path)

    async def changed(self, upstreams: Iterable[Upstream]) -> set[Upstream]:
        """Return those of *upstreams* to which the host has another way than when this was last asked, or one again.

        Without any way nothing can be done: they are not returned then.
        """
        changed: set[Upstream] = set()
        looked: dict[Upstream, Path | None] = {}
        for upstream in upstreams:
            seen = _from_host(upstream)
            if seen is None:
                continue
            if seen not in looked:
                looked[seen] = await self._path(seen)
            if looked[seen] is not None and looked[seen] != self._known.get(seen, looked[seen]):
                changed.add(upstream)
        self._known |= looked
        return changed

    def keep(self, upstreams: Iterable[Upstream]) -> None:
        """Forget the ways to all others."""
        kept = {_from_host(upstream) for upstream in upstreams}
        self._known = {seen: path for seen, path in self._known.items() if seen in kept}

    async def _path(self, seen: Upstream) -> Path | None:
        try:
            with await self._open_socket(seen, socket.SOCK_DGRAM) as sock:
                return path_of(sock)
        except Exception:
            return None


def _from_host(upstream: Upstream) -> Upstream | None:
    """Return *upstream* as the host would ask it; None: it is asked from the host, or only the sandbox has its link."""
    if upstream.sandbox_id is None or "%" in upstream.address:
        return None
    return msgspec.structs.replace(upstream, sandbox_id=None)
