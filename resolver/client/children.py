"""Processes of berth that the client starts, and how each is ended with everything below it (proc(5)).

`berth exec` hands TERM on to its command, but a KILL would leave that behind. So for a KILL the processes below are stopped, from above to
below, so that none starts another one meanwhile; then all are killed. Those of an ordinary user's sandboxes are seen and owned from
outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import resolver

_PROGRAM = str(Path(resolver.__file__).with_name("__main__.py"))
_NOTICE = 0.002
"""Seconds between two looks whether asyncio knows of an end."""
_LOOK = 0.02
"""Seconds between two looks whether a process that was killed has ended."""


def python_of_berth(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a *module* of this installation, whatever the current directory holds."""
    return [sys.executable, "-P", "-m", module, *arguments]


def command_of_berth(*arguments: str) -> list[str]:
    """Return the command `berth` *arguments* of this installation. By its path, because `-m` would load more than `berth exec` does."""
    return [sys.executable, "-P", _PROGRAM, *arguments]


async def ended(process: asyncio.subprocess.Process) -> int:
    """Return the exit code of *process* as soon as it has ended, negative for a signal.

    asyncio's own `wait` waits for the pipes too, which what the process has left running may hold for ever.
    """
    with contextlib.suppress(ProcessLookupError):
        if process.returncode is None:
            await _readable(os.pidfd_open(process.pid))
    while process.returncode is None:  # noqa: ASYNC110 (it tells nobody)
        # It has ended, and asyncio is about to notice.
        await asyncio.sleep(_NOTICE)
    return process.returncode


async def _readable(descriptor: int) -> None:
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def end(process: asyncio.subprocess.Process, patience: float) -> None:
    """End *process*, a command of berth, and what it has started: TERM, after *patience* seconds KILL. Returns when it has ended."""
    if process.returncode is None:
        _signal(process, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await ended(process)
    while process.returncode is None:
        if not kill_below(process.pid):
            _signal(process, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK):
                await ended(process)


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Send a signal, but not by `subprocess`, which may take the exit code of what has just ended: asyncio would report 255."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, number)


def kill_below(pid: int) -> int:
    """Kill all processes below *pid*, and return how many there were."""
    seen: set[int] = set()
    stopped: list[int] = []
    try:
        while new := [(child, parent) for child, parent in _below(pid) if child not in seen]:
            for child, parent in new:
                seen.add(child)
                descriptor = _descriptor(child, parent)
                if descriptor is not None:
                    stopped.append(descriptor)
                    _send(descriptor, signal.SIGSTOP)
        for descriptor in stopped:
            _send(descriptor, signal.SIGKILL)
        return len(stopped)
    finally:
        for descriptor in stopped:
            os.close(descriptor)


def _below(pid: int) -> list[tuple[int, int]]:
    """Return each process below *pid* with its parent, from above to below."""
    found, seen = [], [pid]
    while seen:
        parent = seen.pop(0)
        for child in _children(parent):
            found.append((child, parent))
            seen.append(child)
    return found


def _children(pid: int) -> list[int]:
    children: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children") as file:
                children += map(int, file.read().split())
    return children


def _descriptor(pid: int, parent: int) -> int | None:
    """Return a descriptor of the process *pid* if its parent is *parent* still; it may have ended, and its pid be another's."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return None
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
        if int(fields[1]) == parent and fields[0] != "Z":
            return descriptor
    os.close(descriptor)
    return None


def _send(process: int, number: signal.Signals) -> None:
    with contextlib.suppress(OSError):
        signal.pidfd_send_signal(process, number)
