"""Follows the keeper: when it ends (killed, out of memory), another one is started and given everything.

So it is when somebody removes the keeper's socket, by which the next daemon finds it, or the run directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os

from netcore import limits
from netcore.errors import NotFound
from netcore.keeper.kept_sockets import KeptSockets
from netcore.kernel import process
from resolver import limits as resolver_limits

log = logging.getLogger(__name__)


class KeeperWatch:
    """See the module. It gives up when keepers end one after the other: the daemon works without, but a restart loses queries."""

    def __init__(self, kept: KeptSockets) -> None:
        self._kept = kept
        self._loop = asyncio.get_running_loop()
        self._pidfd = -1
        self._started: list[float] = []
        self._task: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start a keeper unless there is one, and follow it from now on."""
        await asyncio.to_thread(self._kept.start)
        self._follow()
        if self._looking is None:
            self._looking = self._loop.create_task(self._look())

    def _follow(self) -> None:
        pid = self._kept.keeper_pid
        if pid is None:
            return
        self._started.append(self._loop.time())
        try:
            self._pidfd = process.open_pidfd(pid)
        except NotFound:
            # It has ended already, or it is in another PID namespace.
            return
        self._loop.add_reader(self._pidfd, self._ended, pid)

    async def _look(self) -> None:
        """Look again and again whether the keeper can be found."""
        while True:
            await asyncio.sleep(resolver_limits.RUN_DIRECTORY_LOOK)
            if self._kept.is_found():
                continue
            log.warning("the keeper's socket was removed and another keeper is started")
            pid = self._kept.keeper_pid
            self._unfollow()
            await asyncio.to_thread(self._kept.renew)
            self._follow()
            if pid is not None and pid != self._kept.keeper_pid:
                await asyncio.to_thread(_collect, pid)

    def _ended(self, pid: int) -> None:
        self._unfollow()
        _collect(pid, os.WNOHANG)
        self._kept.lost()
        self._started = [time for time in self._started if time > self._loop.time() - limits.KEEPER_PERIOD]
        if len(self._started) < limits.KEEPER_STARTS:
            log.warning("the keeper has ended and is started again pid=%d", pid)
            self._task = self._loop.create_task(self.start())
        else:
            log.error("the keeper ends again and again; a restart will lose queries pid=%d", pid)

    async def end(self) -> None:
        """End the keeper, because there is nothing worth keeping; that is no accident to tell of."""
        self.close()
        await asyncio.to_thread(self._kept.end)

    def close(self) -> None:
        """Follow it no longer."""
        for task in (self._looking, self._task):
            if task is not None:
                task.cancel()
        self._unfollow()

    def _unfollow(self) -> None:
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1


def _collect(pid: int, options: int = 0) -> None:
    """Take the exit status of a keeper that this daemon started; of another one there is none."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, options)
