"""Events: what happened to networks, sandboxes and endpoints, for everybody who listens. One method for each event.

Listeners get the events from when they begin to listen, and, if they ask for it, `limits.PAST_EVENTS` from before; each may be
`limits.EVENTS` behind and is cut off beyond that.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable
from enum import Enum

from netcore.model import Network, Sandbox
from resolver import limits
from resolver.daemon.schema import EventView

log = logging.getLogger(__name__)

_LOGGED = ("network", "sandbox", "endpoint")
"""Kinds of events that the log has too; of the others it has lines with more details."""


class Cause(Enum):
    """Why a sandbox or a network was removed."""

    REQUEST = "request"
    COMMAND_ENDED = "command ended"
    OWNER_ENDED = "owner ended"
    PRUNED = "pruned"
    UNUSED = "unused"
    """Of a network that berth had made by itself."""


def _log_line(event: EventView) -> str:
    """Return the words of an event, then its fields as `key=value`."""
    fields = {"name": event.name, "id": event.id[:12], "network": event.network, "node": event.node, "cause": event.cause}
    shown = [f"{key}={str(value).replace(' ', '-')}" for key, value in fields.items() if value]
    code = [] if event.exit_code is None else [f"exit_code={event.exit_code}"]
    return " ".join((event.kind, event.action, *shown, *code))


class Events:
    """Hands each event to all listeners. *clock*: seconds since the epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._past: deque[EventView] = deque(maxlen=limits.PAST_EVENTS)
        self._listeners: set[asyncio.Queue[EventView | None]] = set()

    def network_created(self, network: Network) -> None:
        """`network create`: a network exists."""
        self.emit("network", "create", network.name, identity=network.id)

    def network_removed(self, name: str, identity: str, cause: Cause) -> None:
        """`network remove`: a network is gone."""
        self.emit("network", "remove", name, identity=identity, cause=cause)

    def sandbox_created(self, sandbox: Sandbox) -> None:
        """`sandbox create`: a sandbox was created or adopted, and its names are answered."""
        self.emit("sandbox", "create", sandbox.name, identity=sandbox.id)

    def sandbox_started(self, sandbox: Sandbox) -> None:
        """`sandbox start`: a sandbox that was stopped is there again."""
        self.emit("sandbox", "start", sandbox.name, identity=sandbox.id)

    def sandbox_stopped(self, sandbox: Sandbox, cause: Cause, exit_code: int | None) -> None:
        """`sandbox stop`: the command in a sandbox has ended; the sandbox stays, or is started again by its restart policy."""
        self.emit("sandbox", "stop", sandbox.name, identity=sandbox.id, cause=cause, exit_code=exit_code)

    def sandbox_health(self, sandbox: Sandbox) -> None:
        """`sandbox health_status: healthy`, or starting or unhealthy: what the health check has found is another thing than before."""
        self.emit("sandbox", f"health_status: {sandbox.health}", sandbox.name, identity=sandbox.id)

    def sandbox_moved(self, sandbox: Sandbox) -> None:
        """`sandbox attach`: a sandbox has the namespace of what it follows; `sandbox wait`: that has none now."""
        self.emit("sandbox", "wait" if sandbox.waits else "attach", sandbox.name, identity=sandbox.id)

    def sandbox_renamed(self, sandbox: Sandbox) -> None:
        """`sandbox rename`: a sandbox has a new name."""
        self.emit("sandbox", "rename", sandbox.name, identity=sandbox.id)

    def sandbox_removed(self, sandbox: Sandbox, cause: Cause, exit_code: int | None = None) -> None:
        """`sandbox remove`: a sandbox is gone with its endpoints, which get no events of their own.

        *exit_code*: of the command that had been started in it, None if there was none or it is not known.
        """
        self.emit("sandbox", "remove", sandbox.name, identity=sandbox.id, cause=cause, exit_code=exit_code)

    def endpoint_connected(self, sandbox: Sandbox, network: Network) -> None:
        """`endpoint connect`: a sandbox is on one more network; also for each network that it was created with."""
        self.emit("endpoint", "connect", sandbox.name, network.name, identity=sandbox.id, network_id=network.id)

    def endpoint_disconnected(self, sandbox: Sandbox, network: Network) -> None:
        """`endpoint disconnect`: a sandbox has left a network."""
        self.emit("endpoint", "disconnect", sandbox.name, network.name, identity=sandbox.id, network_id=network.id)

    def emit(
        self,
        kind: str,
        action: str,
        name: str,
        network: str | None = None,
        node: str | None = None,
        *,
        identity: str = "",
        cause: Cause | None = None,
        exit_code: int | None = None,
        network_id: str | None = None,
        detail: str | None = None,
    ) -> None:
        """Tell all listeners that *action* happened to the *kind* called *name*, and log what was made or removed.

        *node*: the host where it happened, if that is another one of the cluster. *detail*: a sentence more.
        """
        why = cause.value if cause is not None else None
        event = EventView(self._clock(), kind, action, name, network, node, identity, why, exit_code, network_id, detail)
        if kind in _LOGGED:
            log.info("%s", _log_line(event))
        self._past.append(event)
        for queue in tuple(self._listeners):
            if queue.qsize() >= limits.EVENTS:
                self._listeners.discard(queue)
                queue.put_nowait(None)
            else:
                queue.put_nowait(event)

    async def listen(self, since: float | None = None, until: float | None = None) -> AsyncGenerator[EventView, None]:
        """Yield events from now on, until `close` or until this listener is too far behind.

        *since*: those since then that are remembered come first; *until*: nothing after that. Both in seconds since the epoch.
        """
        queue: asyncio.Queue[EventView | None] = asyncio.Queue()
        past = [event for event in self._past if since is not None and since <= event.time]
        self._listeners.add(queue)
        try:
            for event in past:
                if until is None or event.time <= until:
                    yield event
            while (told := await self._next(queue, until)) is not None:
                yield told
        finally:
            self._listeners.discard(queue)

    async def _next(self, queue: asyncio.Queue[EventView | None], until: float | None) -> EventView | None:
        if until is None:
            return await queue.get()
        try:
            async with asyncio.timeout(max(until - self._clock(), 0.0)):
                event = await queue.get()
        except TimeoutError:
            return None
        return event if event is None or event.time <= until else None

    def close(self) -> None:
        """End all listeners."""
        for queue in tuple(self._listeners):
            queue.put_nowait(None)
