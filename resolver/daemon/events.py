"""Events: what happened to networks, sandboxes and endpoints, for everybody who listens. One method for each event.

Listeners get the events from when they begin to listen; each may be `limits.EVENTS` behind and is cut off beyond that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from resolver import limits
from resolver.daemon.schema import EventView


class Events:
    """Hands each event to all listeners. *clock*: seconds since the epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._listeners: set[asyncio.Queue[EventView | None]] = set()

    def network_created(self, name: str) -> None:
        """`network create`: a network exists."""
        self.emit("network", "create", name)

    def network_removed(self, name: str) -> None:
        """`network remove`: a network is gone."""
        self.emit("network", "remove", name)

    def sandbox_created(self, name: str) -> None:
        """`sandbox create`: a sandbox was created or adopted, and its names are answered."""
        self.emit("sandbox", "create", name)

    def sandbox_renamed(self, name: str) -> None:
        """`sandbox rename`: a sandbox has the new name *name*."""
        self.emit("sandbox", "rename", name)

    def sandbox_removed(self, name: str) -> None:
        """`sandbox remove`: a sandbox is gone with its endpoints, which get no events of their own."""
        self.emit("sandbox", "remove", name)

    def endpoint_connected(self, sandbox_name: str, network_name: str) -> None:
        """`endpoint connect`: a sandbox is on one more network; also for each network that it was created with."""
        self.emit("endpoint", "connect", sandbox_name, network_name)

    def endpoint_disconnected(self, sandbox_name: str, network_name: str) -> None:
        """`endpoint disconnect`: a sandbox has left a network."""
        self.emit("endpoint", "disconnect", sandbox_name, network_name)

    def emit(self, kind: str, action: str, name: str, network: str | None = None, node: str | None = None) -> None:
        """Tell all listeners that *action* happened to the *kind* called *name*.

        *node*: the host where it happened, if that is another one of the cluster.
        """
        event = EventView(self._clock(), kind, action, name, network, node)
        for queue in tuple(self._listeners):
            if queue.qsize() >= limits.EVENTS:
                self._listeners.discard(queue)
                queue.put_nowait(None)
            else:
                queue.put_nowait(event)

    async def listen(self) -> AsyncGenerator[EventView, None]:
        """Yield events from now on, until `close` or until this listener is too far behind."""
        queue: asyncio.Queue[EventView | None] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._listeners.discard(queue)

    def close(self) -> None:
        """End all listeners."""
        for queue in tuple(self._listeners):
            queue.put_nowait(None)
