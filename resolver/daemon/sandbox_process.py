"""Ending the process that berth started in a sandbox: SIGTERM, and SIGKILL if it takes too long.

It is the init of its PID namespace, so the kernel ends everything else there before a descriptor of it becomes readable.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal

from netcore.errors import NotFound
from netcore.kernel import process
from netcore.model import Owner
from resolver import limits
from resolver.daemon.blocking import RunBlocking

log = logging.getLogger(__name__)


async def end(leader: Owner, run_blocking: RunBlocking, *, grace: float = limits.PROCESS_GRACE) -> None:
    """End the process *leader* and wait for its end. A process that has its pid by now is left alone.

    *grace*: seconds until SIGKILL, and again until it is given up.
    """
    try:
        pidfd = await run_blocking(lambda: process.open_pidfd(leader.pid, leader.start_time))
    except NotFound:
        return
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(pidfd, ended.set)
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            # It may have ended meanwhile.
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), grace)
                return
        log.warning("process of a sandbox does not end pid=%d", leader.pid)
    except PermissionError as error:
        log.warning("process of a sandbox can't be ended pid=%d reason=%s", leader.pid, error.strerror)
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
