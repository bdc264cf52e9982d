"""The names of sandboxes in the host's /etc/hosts, between two marks that `berth host-dns enable --hosts` has put there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from resolver import limits
from resolver.daemon.blocking import RunBlocking
from resolver.edited_block import edit, has_block, with_block

log = logging.getLogger(__name__)


class HostsBlock:
    """Keeps the lines between the marks in the file *path* equal to *lines*, as long as the marks are there."""

    def __init__(self, path: str, lines: Callable[[], Sequence[str]], run_blocking: RunBlocking) -> None:
        self._path = path
        self._lines = lines
        self._run_blocking = run_blocking
        self._changed = asyncio.Event()
        self._is_wanted = True
        self._task: asyncio.Task[None] | None = None
        self._warning: str | None = None

    def start(self) -> None:
        """Begin to keep it current."""
        self._task = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Leave the file as it is from now on."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def warnings(self) -> tuple[str, ...]:
        """Return why the file is not current, if it should be."""
        return () if self._warning is None else (self._warning,)

    def note_change(self) -> None:
        """Have the lines written soon: they may be others now."""
        if self._is_wanted:
            self._changed.set()

    async def write(self) -> bool:
        """Write the lines if they are others now; return whether the file has the marks."""
        try:
            # Opened for writing, and the lines made, only if there is something to write.
            self._is_wanted = await self._run_blocking(lambda: has_block(Path(self._path).read_bytes()))
            if self._is_wanted:
                lines = self._lines()
                await self._run_blocking(lambda: edit(self._path, lambda text: with_block(text, lines) if has_block(text) else text))
        except FileNotFoundError:
            self._is_wanted = False
        except OSError as error:
            warning = f"{self._path} does not have the names of sandboxes: {error.strerror}"
            if warning != self._warning:
                log.warning("hosts file not written path=%s reason=%s", self._path, error.strerror)
            self._warning = warning
            return self._is_wanted
        self._warning = None
        return self._is_wanted

    async def _follow(self) -> None:
        while True:
            await self.write()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limits.HOSTS_BLOCK_LOOK):
                    await self._changed.wait()
            # Several names change at once.
            await asyncio.sleep(limits.HOSTS_BLOCK_PAUSE)
            self._changed.clear()
