"""Addresses, routes and rules of the namespaces that upstreams are asked from, followed live.

After a change the upstream sockets that have the wrong source address are replaced (`UpstreamPool.look_at_paths`). Only
namespaces that an upstream is asked from are followed: the host's, and those of sandboxes with name servers of their own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from netcore.kernel.notifications import Notifications

log = logging.getLogger(__name__)

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.005, 0.05
"""Seconds at least from one look to the next: a change comes in several notifications, whose last one matters. Longer while
notifications go on coming."""


class PathWatch:
    """See the module. *subscribe*: opens the notifications of a namespace. *look*: is called after each change there.

    A namespace is named by its sandbox's id, the host's by None.
    """

    def __init__(self, subscribe: Callable[[str | None], Awaitable[Notifications]], look: Callable[[str | None], Awaitable[None]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._subscribe = subscribe
        self._look = look
        self._followed: dict[str | None, _Namespace] = {}

    def follow(self, sandbox_id: str | None) -> None:
        """Follow the changes in this namespace, if they are not followed yet."""
        if sandbox_id not in self._followed:
            self._followed[sandbox_id] = _Namespace(self._loop, sandbox_id, self._subscribe, self._look)

    def keep(self, sandbox_ids: Iterable[str | None]) -> None:
        """Follow the changes in these namespaces only: an open subscription would keep a namespace that is to go."""
        for sandbox_id in self._followed.keys() - set(sandbox_ids):
            self._followed.pop(sandbox_id).close()

    def close(self) -> None:
        """Stop following."""
        self.keep(())


class _Namespace:
    """One namespace that is followed until `close`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sandbox_id: str | None,
        subscribe: Callable[[str | None], Awaitable[Notifications]],
        look: Callable[[str | None], Awaitable[None]],
    ) -> None:
        self._loop = loop
        self._sandbox_id = sandbox_id
        self._look = look
        self._notifications: Notifications | None = None
        self._task = loop.create_task(self._follow(subscribe))

    async def _follow(self, subscribe: Callable[[str | None], Awaitable[Notifications]]) -> None:
        try:
            subscription = await subscribe(self._sandbox_id)
        except Exception as error:
            # A socket that fails or hears nothing is replaced all the same, only later.
            log.warning("changes of addresses are not followed namespace=%s reason=%s", self._sandbox_id or "host", error)
            return
        self._notifications = subscription
        changed = asyncio.Event()
        self._loop.add_reader(subscription.fileno(), changed.set)
        # What changed before there was a subscription has to be found out.
        changed.set()
        pause = _SHORTEST_PAUSE
        while True:
            since = self._loop.time()
            await changed.wait()
            pause = _SHORTEST_PAUSE if self._loop.time() - since > _LONGEST_PAUSE else min(2 * pause, _LONGEST_PAUSE)
            self._loop.remove_reader(subscription.fileno())
            subscription.drain()
            changed.clear()
            await self._look(self._sandbox_id)
            await asyncio.sleep(pause)
            self._loop.add_reader(subscription.fileno(), changed.set)

    def close(self) -> None:
        """Stop following."""
        self._task.cancel()
        if self._notifications is not None:
            self._loop.remove_reader(self._notifications.fileno())
            self._notifications.close()
