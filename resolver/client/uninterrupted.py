"""Ending things in spite of cancellation: what was begun is finished, and the cancellation comes after."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from resolver.client.children import end

_Value = TypeVar("_Value")


async def uninterrupted(work: Coroutine[Any, Any, _Value] | asyncio.Task[_Value]) -> _Value:
    """Return what *work* returns. A cancellation meanwhile is raised when it is done."""
    task = work if isinstance(work, asyncio.Task) else asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        # Nobody else asks for its error then.
        task.cancelled() or task.exception()
        raise cancelled
    return task.result()


async def started(words: list[str], patience: float, **options: Any) -> asyncio.subprocess.Process:
    """Start a command of berth. If that is cancelled meanwhile, the command is ended."""
    task = asyncio.ensure_future(asyncio.create_subprocess_exec(*words, start_new_session=True, **options))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is None:
            await uninterrupted(end(task.result(), patience))
        raise
