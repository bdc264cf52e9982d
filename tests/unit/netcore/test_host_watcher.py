"""The task that follows the host: it ends when it is told to, whatever happens in that moment."""

import asyncio
import os
from types import SimpleNamespace

from netcore.controller.host_watcher import HostWatcher


async def test_it_ends_although_something_has_just_changed():
    reading, writing = os.pipe()
    changes = SimpleNamespace(descriptor=reading, close=lambda: os.close(reading))
    watcher = HostWatcher(SimpleNamespace(changes=changes), SimpleNamespace(), SimpleNamespace())
    watcher.start(lambda *_: None, None)
    await asyncio.sleep(0)
    # Both in one turn of the loop.
    watcher._on_readable()
    async with asyncio.timeout(10):
        await watcher.close()
    os.close(writing)
