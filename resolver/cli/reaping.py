"""What the first process of a sandbox does while the command runs: reaps, hands signals on, keeps files covered, ends it in time."""

from __future__ import annotations

import os
import time

from resolver.cli import mounts
from resolver.cli.entering import EnterFailed
from resolver.isolation.told import isolation_of
from resolver.light import TYPE_CHECKING, signal, suppress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGCONT)
TIMED_OUT = 124
"""The exit code of a command that was ended by `--timeout`, as timeout(1) has it."""
_PERIOD = 1.0
"""Seconds between looks at files. No inotify: a user has 128 instances of it by default, and there may be a thousand sandboxes."""
_GRACE = 10.0
"""Seconds between TERM and KILL, where nobody has said how many."""


def exit_code(status: int) -> int:
    """Return the exit code of a wait status, 128 + n for signal n, as a shell does."""
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def reap(child: int, sandbox: Mapping[str, Any]) -> int:
    """Wait for the process *child* of the command, and meanwhile for all that is left to this one; return the exit code."""
    is_confined = bool(isolation_of(sandbox)["confine"])
    watch = _Watch(child, sandbox)

    def hand_on(number: int, _: object) -> None:
        # It may have ended by now.
        with suppress(ProcessLookupError):
            os.kill((command_of(child) or child) if is_confined else child, number)

    for number in FORWARDED:
        signal.signal(number, hand_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    # From a terminal these come to the command directly; what is confined is in a session of its own.
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, hand_on if is_confined else signal.SIG_IGN)
    watch.begin()
    while True:
        try:
            pid, status = os.wait()
        except InterruptedError:
            continue
        except ChildProcessError:
            return 0
        if pid == child:
            return TIMED_OUT if watch.has_timed_out else exit_code(status)


def command_of(bubblewrap: int) -> int | None:
    """Return the pid of the command that runs under *bubblewrap*, None while there is none.

    The child of bubblewrap is the first process of its namespaces, and makes them what they are to be; then it starts the command.
    """
    first = first_child(bubblewrap)
    return None if first is None else first_child(first)


def first_child(pid: int) -> int | None:
    """Return the first child of *pid*, None if it has none (proc(5), /proc/PID/task/TID/children)."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = file.read().split()
    except OSError:
        return None
    return int(children[0]) if children else None


class _Watch:
    """Looks once a second whether the sandbox's files cover the host's still, and ends the command when its time has passed.

    Programs replace /etc/resolv.conf and /etc/hosts by renaming a new file over them (NetworkManager, DHCP clients, `sed -i`). The kernel
    then takes away all mounts on the old file, in every mount namespace, and the sandbox would read the host's.

    Spec: "mount points in other mount namespaces" in rename(2), unlink(2) since Linux 3.18; setitimer(2).
    """

    def __init__(self, child: int, sandbox: Mapping[str, Any]) -> None:
        self._child = child
        self._sandbox = sandbox
        isolation, run = isolation_of(sandbox), sandbox.get("run")
        self._timeout: float = isolation["timeout"]
        self._is_confined = bool(isolation["confine"])
        self._grace = _GRACE if run is None else float(run["stop_timeout"])
        self._steps: list[tuple[float, Callable[[], None]]] = []
        self.has_timed_out = False

    def begin(self) -> None:
        """Begin to look; the process may wait for its children meanwhile."""
        if self._timeout:
            end = time.monotonic() + self._timeout
            self._steps = [(end, self._terminate)]
            if self._grace >= 0:
                self._steps.append((end + self._grace, self._kill))
        signal.signal(signal.SIGALRM, self._look)
        self._arm()

    def _arm(self) -> None:
        left = max(self._steps[0][0] - time.monotonic(), 0.001) if self._steps else _PERIOD
        signal.setitimer(signal.ITIMER_REAL, min(left, _PERIOD))

    def _look(self, *_: object) -> None:
        while self._steps and time.monotonic() >= self._steps[0][0]:
            self._steps.pop(0)[1]()
        # Nobody is there to be told of a failure; the next look is another occasion.
        with suppress(OSError, EnterFailed):
            mounts.cover_files(self._sandbox)
        self._arm()

    def _terminate(self) -> None:
        self.has_timed_out = True
        with suppress(ProcessLookupError):
            os.kill((command_of(self._child) or self._child) if self._is_confined else self._child, signal.SIGTERM)

    def _kill(self) -> None:
        # Everything in this PID namespace ends with its first process.
        os._exit(TIMED_OUT)
