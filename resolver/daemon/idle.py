"""When a daemon exits because it is idle (`--exit-when-idle`, as `berth run` starts one)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from resolver import limits

_POLL = 0.25


async def wait_until_idle(
    stop: asyncio.Event, is_busy: Callable[[], bool], *, quiet_for: float = limits.EXIT_WHEN_IDLE, poll: float = _POLL
) -> bool:
    """Return True once *is_busy* has said no for *quiet_for* seconds, False as soon as *stop* is set.

    *poll*: seconds between two questions.
    """
    quiet = 0.0
    while quiet < quiet_for:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(poll):
                await stop.wait()
            return False
        quiet = 0.0 if is_busy() else quiet + poll
    return True
