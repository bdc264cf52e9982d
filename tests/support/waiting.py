"""Waiting in tests that run on a loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE = 30.0
"""Seconds until a test gives up what it waits for."""


async def until(condition: Callable[[], object]) -> None:
    """Return when *condition* holds; TimeoutError after PATIENCE."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)
