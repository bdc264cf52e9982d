"""Owners: processes whose sandboxes and networks end with them. One pidfd for each owner, watched by the event loop.

What a client made is removed too when the client is killed. What "removed" means is for the caller of `watch` to say.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

from netcore.errors import InvalidRequest, NotFound
from netcore.kernel import process
from netcore.model import Owner
from resolver.daemon.blocking import RunBlocking

ExitCode = Callable[[], int | None]
"""Tells the exit code of a process that has ended, None if it is not known."""
OnEnd = Callable[[Owner, ExitCode], Awaitable[None]]


class Owners:
    """Watches the owners that are alive. *is_nest*: callers may be outside of the PID namespace."""

    def __init__(self, run_blocking: RunBlocking, *, is_nest: bool = False) -> None:
        self._run_blocking = run_blocking
        self._is_nest = is_nest
        self._loop = asyncio.get_running_loop()
        # The pidfd of each owner, None while it is being opened.
        self._pidfds: dict[Owner, int | None] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def find(self, pid: int | None, caller: int) -> Owner | None:
        """Return the process *pid* as an owner, None for None; NotFound if there is no such process.

        *caller*: pid of who names it. One outside of a nest has none here, and what it means is another process's pid.
        """
        if pid is None:
            return None
        if caller == 0 and self._is_nest:
            reason = f"{pid} is a pid of outside, which is another process's here; send the request from inside, by `berth unshare`"
            raise InvalidRequest("pid", reason)
        return Owner(pid=pid, start_time=await self._run_blocking(lambda: process.start_time(pid)))

    async def uid(self, pid: int) -> int:
        """Return whose process *pid* is; NotFound if there is no such process."""
        return await self._run_blocking(lambda: process.uid(pid))

    async def find_child(self, pid: int | None, parent: int) -> Owner | None:
        """Return the process *pid*, None for None; InvalidRequest unless *parent* started it.

        A client in a PID namespace of its own knows its child by another number, which here is another process's.
        """
        found = await self.find(pid, parent)
        if found is not None and await self._run_blocking(lambda: process.parent(found.pid)) != parent:
            raise InvalidRequest("leader_pid", f"process {pid} was not started by the caller")
        return found

    async def watch(self, owner: Owner | None, on_end: OnEnd) -> None:
        """Run *on_end* when *owner* ends; at once if it has ended already. An owner that is watched, or None, is done.

        *on_end* is given what tells the exit code of the owner, if the kernel does and its parent has taken it by then.
        """
        if owner is None or owner in self._pidfds:
            return
        self._pidfds[owner] = None
        try:
            pidfd = await self._run_blocking(lambda: process.open_pidfd(owner.pid, owner.start_time))
        except NotFound:
            self._ended(owner, on_end)
            return
        self._pidfds[owner] = pidfd
        self._loop.add_reader(pidfd, self._ended, owner, on_end)

    def _ended(self, owner: Owner, on_end: OnEnd) -> None:
        pidfd = self._stop_watching(owner)
        task = self._loop.create_task(_run(on_end, owner, pidfd))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _stop_watching(self, owner: Owner) -> int | None:
        """Forget *owner*; return its pidfd, which the caller closes."""
        pidfd = self._pidfds.pop(owner, None)
        if pidfd is not None:
            self._loop.remove_reader(pidfd)
        return pidfd

    def is_busy(self) -> bool:
        """Return whether any owner is alive, or what an owner had is still being removed."""
        return bool(self._pidfds or self._tasks)

    async def close(self) -> None:
        """Stop watching, and finish the removals that have begun. What owners that are alive have is kept."""
        for owner in tuple(self._pidfds):
            pidfd = self._stop_watching(owner)
            if pidfd is not None:
                os.close(pidfd)
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _run(on_end: OnEnd, owner: Owner, pidfd: int | None) -> None:
    try:
        await on_end(owner, lambda: None if pidfd is None else process.exit_code(owner.pid, pidfd))
    finally:
        if pidfd is not None:
            os.close(pidfd)
