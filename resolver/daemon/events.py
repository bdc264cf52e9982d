"""Events: what happened to networks and sandboxes, for everybody who listens. Bounded for each listener."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from resolver import limits
from resolver.daemon.schema import EventView


class Events:
    """Hands each event to all listeners; one that does not keep up is cut off."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._listeners: set[asyncio.Queue[EventView | None]] = set()

    def emit(self, kind: str, action: str, name: str, network: str | None = None, node: str | None = None) -> None:
        """Tell all listeners that *action* (create, remove, connect, …) happened to the *kind* called *name*.

        *node*: the host where it did, if that is another one.
        """
        event = EventView(self._clock(), kind, action, name, network, node)
        for queue in tuple(self._listeners):
            if queue.qsize() >= limits.EVENTS:
                self._listeners.discard(queue)
                queue.put_nowait(None)
            else:
                queue.put_nowait(event)

    async def listen(self) -> AsyncIterator[EventView]:
        """Yield events from now on."""
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
