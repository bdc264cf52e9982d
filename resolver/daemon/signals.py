"""What the daemon does on signals. TERM and INT end it, in an orderly way; no other signal that somebody sends by habit does.

HUP reads the configuration again. USR1 writes the state to the log, QUIT where every thread and task is; USR2 does nothing.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable

log = logging.getLogger(__name__)

_END = (signal.SIGTERM, signal.SIGINT)
_HANDLED = (*_END, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT)


def handle(*, stop: Callable[[], None], reload: Callable[[], None], report: Callable[[], None]) -> None:
    """Have the running loop call these on signals from now on; see the module."""
    loop = asyncio.get_running_loop()
    # Whoever starts the daemon may have blocked them, and a program inherits that (signal(7)).
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
    for number in _END:
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, reload)
    loop.add_signal_handler(signal.SIGUSR1, report)
    loop.add_signal_handler(signal.SIGUSR2, log.info, "signal USR2 has no meaning here and is ignored")
    loop.add_signal_handler(signal.SIGQUIT, log_stacks)


def log_stacks() -> None:
    """Write to the log where each thread and each task is, a line each, the innermost call first."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for number, frame in sys._current_frames().items():  # noqa: SLF001 (the documented way)
        log.info("thread name=%s at=%s", names.get(number, number), _calls(traceback.extract_stack(frame)))
    for task in asyncio.all_tasks():
        log.info("task name=%s at=%s", task.get_name(), _calls(traceback.extract_stack(frame)[-1] for frame in task.get_stack()))


def _calls(stack: Iterable[traceback.FrameSummary]) -> str:
    return " < ".join(f"{call.filename.rpartition('/')[2]}:{call.lineno}:{call.name}" for call in reversed([*stack]))
