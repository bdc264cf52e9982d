"""Says that the state can't be written, or can be again, and does then what could not be recorded meanwhile."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from netcore.controller import Controller
from netcore.controller.recovery import remove_ended
from netcore.errors import NetcoreError
from netcore.store.sqlite import SqliteStore
from resolver.daemon import clustering
from resolver.daemon.events import Events
from resolver.daemon.operations import Operations
from resolver.daemon.restoration import Restoration

log = logging.getLogger(__name__)


class WritableAgain:
    """See the module."""

    def __init__(
        self, state_directory: str, controller: Controller, operations: Operations, restoration: Restoration, events: Events
    ) -> None:
        self._state_directory = Path(state_directory)
        self._controller = controller
        self._operations = operations
        self._restoration = restoration
        self._events = events
        self._task: asyncio.Task[None] | None = None

    def follow(self, store: SqliteStore) -> None:
        """Be told by *store* from now on."""
        store.on_writable = self.note
        if store.unwritable is not None:
            self.note(store.unwritable)

    def note(self, unwritable: str | None) -> None:
        """Emit the event, and catch up in the background once the state can be written. *unwritable*: why it can't be."""
        self._events.emit("state", "writable" if unwritable is None else "read-only", "berth.db")
        if unwritable is None:
            self._task = asyncio.get_running_loop().create_task(self._catch_up())

    async def _catch_up(self) -> None:
        self._restoration.wake()
        try:
            # An owner that has ended meanwhile is noticed at once.
            await self._operations.watch_all_owners()
            await remove_ended(self._controller)
            if self._controller.cluster is not None:
                node_id = self._controller.cluster.node.id
                await asyncio.to_thread(clustering.write_node_id, self._state_directory, node_id)
        except (NetcoreError, OSError) as error:
            log.warning("what could not be recorded is not all done reason=%s", error)

    def close(self) -> None:
        """Stop catching up."""
        if self._task is not None:
            self._task.cancel()
