"""One at a time on a project: a lock for what changes it, so that two `berth up` do not make the same sandboxes, nor `down` half of them.

The lock is on a file in the daemon's directory, of the kind that a process holds for itself (fcntl(2), F_SETLK): the processes that
hold sandboxes, which are forked meanwhile, do not have it. Who may not write there, as he is not root, goes without.
"""

from __future__ import annotations

import fcntl
import os
from types import TracebackType

from resolver.cli.client import run_directory, segment
from resolver.cli.output import complain

_MARK = 16
"""Octets of a mark."""


class ProjectLock:
    """The lock of one project, as a context. That another process has it is said before this one waits."""

    def __init__(self, project: str) -> None:
        self._project = project
        self._path = f"{run_directory()}/projects/{segment(project).replace('.', '%2E')}.lock"
        self._file: int | None = None
        # Who had it last writes this into the file, so that others know that it was not them.
        self._mark = os.urandom(_MARK)
        self.is_ours_since = False
        """Whether nobody else has had it since this lock had it last."""

    def __enter__(self) -> ProjectLock:
        """Take it, as soon as nobody else has it."""
        try:
            for directory in (run_directory(), os.path.dirname(self._path)):
                os.makedirs(directory, mode=0o711, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except PermissionError:
            self.is_ours_since = True
            return self
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            complain(f"another command is changing project {self._project}; this one goes on as soon as it has finished")
            fcntl.lockf(self._file, fcntl.LOCK_EX)
        self.is_ours_since = os.pread(self._file, _MARK, 0) == self._mark
        os.pwrite(self._file, self._mark, 0)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Let it go."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
