"""All or nothing: what has been done is noted step by step, and taken back in the opposite order when a later step fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from netcore.errors import NetcoreError

log = logging.getLogger(__name__)


class Undo:
    """What takes the steps back that were done so far."""

    def __init__(self) -> None:
        self._steps: list[Callable[[], Awaitable[object]]] = []

    def push(self, step: Callable[[], Awaitable[object]]) -> None:
        """Have *step* awaited if a later one fails. It may run where what it takes back was only half done."""
        self._steps.append(step)

    async def run(self, error: BaseException) -> None:
        """Take everything back. A step that fails is logged and added to the notes of *error*; the others are taken back all the same."""
        for step in reversed(self._steps):
            try:
                await step()
            except (NetcoreError, OSError) as second:
                log.error("a step could not be undone after a failure reason=%s", second)
                error.add_note(f"undo: {second}")


@asynccontextmanager
async def all_or_nothing() -> AsyncIterator[Undo]:
    """Yield what notes the steps of one operation; take them back and raise when the body fails, also by cancellation."""
    undo = Undo()
    try:
        yield undo
    except BaseException as error:
        await undo.run(error)
        raise


@asynccontextmanager
async def meanwhile(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Begin *work*, and wait for it at the end of the block, however that ends; its failure is raised if the block has none."""
    task = asyncio.get_running_loop().create_task(work)
    try:
        # It begins now, and not with the first pause of the block.
        await asyncio.sleep(0)
        yield
        await asyncio.shield(task)
    except BaseException:
        await asyncio.wait([task])
        # The block's own failure, or that it was cancelled, says more.
        task.cancelled() or task.exception()
        raise
