"""Pids that programs write to files: a pidfile, containerd's `init.pid`, the leader of a machine as systemd-machined has it."""

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

ReadPid = Callable[[str], int | None]


class PidInFile:
    """The process whose pid the file of *source* has. One that started after the file was written has the pid by chance."""

    def __init__(self, source: Source, on_change: Callable[[], None], run_blocking: RunBlocking) -> None:
        self._path, self._read_pid = _file_of(source)
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
        pid = self._read_pid(text)
        if pid is None:
            return None
        try:
            return pid if _started(pid) <= written + _SLACK else None
        except NotFound:
            return None

    async def close(self) -> None:
        self._changes.close()


def _file_of(source: Source) -> tuple[str, ReadPid]:
    match source.kind:
        case Kind.CONTAINERD:
            namespace, identity = source.name.split("/")
            # As its shims write it, whichever client made the container.
            return f"/run/containerd/io.containerd.runtime.v2.task/{namespace}/{identity}/init.pid", read_pid
        case Kind.MACHINE:
            return f"/run/systemd/machines/{source.name}", read_leader
        case _:
            return source.name, read_pid


def read_pid(text: str) -> int | None:
    """Return the pid that *text* begins with, None if it begins with none."""
    words = text.split()
    return whole_number(words[0], 1, _LARGEST_PID) if words else None


def read_leader(text: str) -> int | None:
    """Return the leader in the file of a machine, lines of KEY=VALUE, None if it has none."""
    lines = (line.partition("=") for line in text.splitlines())
    return next((whole_number(value, 1, _LARGEST_PID) for key, _, value in lines if key == "LEADER"), None)


def _started(pid: int) -> float:
    """Return when *pid* started, in seconds since the epoch."""
    booted = next(int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    return booted + process.start_time(pid) / os.sysconf("SC_CLK_TCK")
