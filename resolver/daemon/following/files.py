"""Pids that programs write to files: a pidfile, containerd's `init.pid`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from netcore.errors import NotFound
from netcore.kernel import files, process
from resolver.daemon.blocking import RunBlocking
from resolver.daemon.following.path_changes import PathChanges
from resolver.daemon.following.protocol import CannotTell
from resolver.daemon.following.source_text import Kind, Source
from resolver.numbers import whole_number

_LARGEST_PID = 1 << 22
_SLACK = 2.0
"""Seconds by which the clock of a file system may be behind."""


class PidInFile:
    """The process whose pid the file of *source* has. One that started after the file was written has the pid by chance."""

    def __init__(self, source: Source, on_change: Callable[[], None], run_blocking: RunBlocking) -> None:
        self._path = _path_of(source)
        self._run_blocking = run_blocking
        try:
            self._changes = PathChanges(self._path, on_change)
        except OSError as error:
            raise CannotTell(f"no inotify descriptor is left ({error.strerror}); raise fs.inotify.max_user_instances") from error

    async def look(self) -> int | None:
        return await self._run_blocking(self._look)

    def _look(self) -> int | None:
        try:
            text, written = files.read(self._path, follow=True), Path(self._path).stat().st_mtime
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise CannotTell(f"{self._path}: {error.strerror or error}") from error
        pid = read_pid(text)
        if pid is None:
            return None
        try:
            return None if self._is_anothers(pid, written) else pid
        except NotFound:
            return None

    def _is_anothers(self, pid: int, written: float) -> bool:
        """Return whether the process *pid* started after the file was *written*, in seconds since the epoch."""
        booted = _booted()
        if written < booted and _is_in_memory(self._path):
            # It can't be older than the boot: the clock was set since it was written.
            return False
        return booted + process.start_time(pid) / os.sysconf("SC_CLK_TCK") > written + _SLACK

    async def close(self) -> None:
        self._changes.close()


def _path_of(source: Source) -> str:
    match source.kind:
        case Kind.CONTAINERD:
            namespace, identity = source.name.split("/")
            # As its shims write it, whichever client made the container.
            return f"/run/containerd/io.containerd.runtime.v2.task/{namespace}/{identity}/init.pid"
        case _:
            return source.name


def read_pid(text: str) -> int | None:
    """Return the pid that *text* begins with, None if it begins with none."""
    words = text.split()
    return whole_number(words[0], 1, _LARGEST_PID) if words else None


def _booted() -> int:
    """Return when the host was booted, in seconds since the epoch (proc(5), /proc/stat)."""
    return next(int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))


def _is_in_memory(path: str) -> bool:
    """Return whether the file at *path* is in a file system that ends with the boot (proc(5), mountinfo)."""
    device = Path(path).stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    mounts = (line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return any(mount[2] == wanted and mount[mount.index("-") + 1] in ("tmpfs", "ramfs") for mount in mounts)
