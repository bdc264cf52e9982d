"""Pids that programs tell when they are run: `podman inspect`, `systemctl show` and `machinectl show`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import Callable

from resolver import limits
from resolver.daemon.following.path_changes import PathChanges
from resolver.daemon.following.protocol import CannotTell
from resolver.daemon.following.source_text import Kind, Source
from resolver.numbers import whole_number

log = logging.getLogger(__name__)

_LARGEST_PID = 1 << 22


class PidOfPodman:
    """The process of a container of Podman (root's). `podman events` says when it may be another one."""

    def __init__(self, source: Source, on_change: Callable[[], None]) -> None:
        self._name = source.name
        self._on_change = on_change
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def look(self) -> int | None:
        code, out, said = await run("podman", "container", "inspect", "--format", "{{.State.Pid}}", self._name)
        if code == 0:
            return _pid(out)
        if "no such container" in said.lower():
            return None
        raise CannotTell(f"podman: {said}")

    async def _follow(self) -> None:
        """Read events, of all containers with names that contain this one's; begin again when podman ends."""
        while True:
            with contextlib.suppress(CannotTell):
                events = await _start("podman", "events", "--filter", f"container={self._name}", "--format", "{{.Status}}")
                try:
                    assert events.stdout is not None
                    # What has happened before it listened.
                    self._on_change()
                    while await events.stdout.readline():
                        self._on_change()
                finally:
                    await _end(events)
            await asyncio.sleep(limits.FOLLOW_PAUSE)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


class PidOfSystemd:
    """The main process of a unit of systemd, or the leader of a machine of systemd-machined: both write a file at each start."""

    def __init__(self, source: Source, on_change: Callable[[], None]) -> None:
        self._is_machine = source.kind is Kind.MACHINE
        self._command = (
            ("machinectl", "show", "--property=Leader", "--value", "--", source.name)
            if self._is_machine
            else ("systemctl", "show", "--property=MainPID", "--value", "--", source.name)
        )
        path = f"/run/systemd/machines/{source.name}" if self._is_machine else f"/run/systemd/units/invocation:{source.name}"
        try:
            self._changes = PathChanges(path, on_change)
        except OSError as error:
            raise CannotTell(f"no inotify descriptor is left ({error.strerror}); raise fs.inotify.max_user_instances") from error

    async def look(self) -> int | None:
        code, out, said = await run(*self._command)
        if code and self._is_machine and "no machine" in said.lower():
            return None
        if code:
            raise CannotTell(f"{self._command[0]}: {said}")
        return _pid(out)

    async def close(self) -> None:
        self._changes.close()


def _pid(text: str) -> int | None:
    """Return the pid in *text*; these programs say 0 if there is none."""
    return whole_number(text.strip(), 1, _LARGEST_PID)


async def run(*command: str) -> tuple[int, str, str]:
    """Return (exit code, output, last line of what is said) of *command*; CannotTell if it can't be run or takes too long."""
    process = await _start(*command)
    try:
        async with asyncio.timeout(limits.FOLLOW_PROGRAM):
            out, said = await process.communicate()
    except TimeoutError as error:
        raise CannotTell(f"{command[0]} does not answer within {limits.FOLLOW_PROGRAM:g} s") from error
    finally:
        await _end(process)
    lines = said.decode(errors="replace").strip().splitlines()
    return process.returncode or 0, out.decode(errors="replace"), lines[-1] if lines else ""


async def _start(*command: str) -> asyncio.subprocess.Process:
    """Start *command*, which ends with this process, also if that is killed; CannotTell if it can't be run."""
    if shutil.which(command[0]) is None:
        raise CannotTell(f"{command[0]} is not installed")
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    # This process may be killed before that of setpriv is bound to it: then it has another parent.
    bound = ("setpriv", "--pdeathsig", "KILL", "sh", "-c", '[ "$PPID" = "$0" ] && exec "$@"', str(os.getpid()))
    words = (*bound, *command) if shutil.which("setpriv") is not None else command
    try:
        return await asyncio.create_subprocess_exec(*words, stdin=null, stdout=pipe, stderr=pipe)
    except OSError as error:
        raise CannotTell(f"{command[0]} can't be run: {error.strerror}") from error


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
