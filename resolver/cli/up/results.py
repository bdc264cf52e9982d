"""What services of `berth up -d` leave behind until `berth down`: the output and the exit code of each, in files.

They are in the run directory, below `projects/PROJECT`: `NAME.log` and `NAME.exit`, NAME being that of the sandbox. The exit code is
written by the service's init, as nobody else is there; the file is empty while the service runs, or if its init was killed.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from resolver.cli.client import Refused, run_directory


class Results(NamedTuple):
    """Descriptors of the files of one service, to write to."""

    output: int
    exit_code: int

    def close(self) -> None:
        """Close both."""
        os.close(self.output)
        os.close(self.exit_code)


def directory_of(project: str) -> Path:
    """Return the directory of a project's files; Refused for what is no name of a project."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", project):
        raise Refused(f"{project!r} is no name of a project: it consists of a-z, 0-9, - and _")
    return Path(run_directory(), "projects", project)


def begin(project: str, sandbox: str) -> Results:
    """Make the files of the service in *sandbox*."""
    directory = directory_of(project)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
    return Results(*(os.open(directory / f"{sandbox}.{kind}", flags, 0o600) for kind in ("log", "exit")))


def exit_code(project: str, sandbox: str) -> int | None:
    """Return the exit code of the service in *sandbox*, None while it runs."""
    try:
        text = (directory_of(project) / f"{sandbox}.exit").read_text()
    except FileNotFoundError:
        return None
    return int(text) if text else None


def remove(project: str) -> None:
    """Remove the files of a project."""
    shutil.rmtree(directory_of(project), ignore_errors=True)
