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
from resolver.signal_names import START_NO_MORE

log = logging.getLogger(__name__)


async def end(
    leader: Owner,
    run_blocking: RunBlocking,
    *,
    number: int = signal.SIGTERM,
    grace: float | None = limits.PROCESS_GRACE,
    is_init: bool = True,
) -> None:
    """End the process *leader* and wait for its end. A process that has its pid by now is left alone.

    *number*: goes to the command that it has started, if it *is_init* there.
    *grace*: seconds until SIGKILL, and again until it is given up; None: without end.
    """
    try:
        pidfd = await run_blocking(lambda: process.open_pidfd(leader.pid, leader.start_time))
    except NotFound:
        return
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(pidfd, ended.set)
    try:
        for sent, patience in ((number, grace), (signal.SIGKILL, limits.PROCESS_GRACE)):
            # It may have ended meanwhile.
            with contextlib.suppress(ProcessLookupError):
                _send(leader.pid if is_init else None, pidfd, sent)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await ended.wait()
                return
        log.warning("process of a sandbox does not end pid=%d", leader.pid)
    except PermissionError as error:
        log.warning("process of a sandbox can't be ended pid=%d reason=%s", leader.pid, error.strerror)
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


def _send(init: int | None, pidfd: int, number: int) -> None:
    """Send a signal to the process of *pidfd*, or to the command of that *init* if it does not hand the signal on."""
    command = None if init is None or number in _BY_INIT else process.first_child(init)
    if command is None:
        signal.pidfd_send_signal(pidfd, number)
    else:
        os.kill(command, number)


_BY_INIT = (signal.SIGKILL, signal.SIGTERM)


async def end_restarts(holder: Owner, run_blocking: RunBlocking) -> None:
    """Have the process *holder*, which holds a sandbox, start its command no more (`resolver.cli.monitor`)."""
    try:
        pidfd = await run_blocking(lambda: process.open_pidfd(holder.pid, holder.start_time))
    except NotFound:
        return
    try:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(pidfd, START_NO_MORE)
    finally:
        os.close(pidfd)


async def wait_for(holder: Owner, run_blocking: RunBlocking) -> None:
    """Wait until *holder*, whose command has ended, has ended too; one that takes too long is killed."""
    await end(holder, run_blocking, number=START_NO_MORE, grace=limits.HOLDER_GRACE, is_init=False)
