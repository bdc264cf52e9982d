"""Reading a project's files from the disk: the door to the file system that `resolver.cli.compose` is handed."""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from resolver.cli import compose
from resolver.cli.client import Refused
from resolver.cli.compose import ComposeError, Reading, Request
from resolver.cli.compose.project import Project
from resolver.cli.compose.sources import EVERY_STEP, STDIN, Steps
from resolver.cli.compose.tree import Problem

_MAX_OCTETS = 32 * 1024 * 1024
_PIPE_WAITS = 30
"""Seconds for the next octets of a pipe."""


@dataclass(frozen=True, kw_only=True)
class LoadedProject:
    """A project, and what the user should know. *known*: the names of all services, those that are not switched on too."""

    project: Project
    warnings: tuple[str, ...]
    known: frozenset[str]


class Disk:
    """`compose.Files`: what lies on the disk, and what comes in by the standard input."""

    def read(self, path: str) -> str:
        """Return the text at *path*; ComposeError if there is none, or too much."""
        if path == STDIN:
            return _standard_input()
        try:
            octets = _octets(path)
        except OSError as error:
            raise ComposeError(Problem(None, f"{path}: {error.strerror}")) from error
        return _decoded(octets, path)

    def is_file(self, path: str) -> bool:
        """Return whether *path* is there and no directory."""
        return Path(path).exists() and not Path(path).is_dir()

    def is_directory(self, path: str) -> bool:
        """Return whether *path* is a directory."""
        return Path(path).is_dir()


def _octets(path: str) -> bytes:
    """Return what is in a file, or comes by a pipe: `<(…)` of a shell is one. One that nobody writes to is waited for so long only."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            os.set_blocking(descriptor, True)
            with io.BufferedReader(file) as reader:
                return reader.read(_MAX_OCTETS + 1)
        octets = bytearray()
        incoming = select.poll()
        incoming.register(descriptor, select.POLLIN)
        while len(octets) <= _MAX_OCTETS:
            if not incoming.poll(_PIPE_WAITS * 1000):
                raise OSError(errno.ETIMEDOUT, f"it is a pipe, and nothing came by it for {_PIPE_WAITS} seconds")
            chunk = file.read(65_536)
            if not chunk:
                break
            octets += chunk
        return bytes(octets)


@cache
def _standard_input() -> str:
    """Return what comes in; it can be read once only."""
    return _decoded(sys.stdin.buffer.read(_MAX_OCTETS + 1), "the standard input")


def _decoded(octets: bytes, path: str) -> str:
    if len(octets) > _MAX_OCTETS:
        raise ComposeError(Problem(None, f"{path} is larger than {_MAX_OCTETS >> 20} MiB"))
    try:
        return octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ComposeError(Problem(None, f"{path}: not UTF-8: octet {octets[error.start]:#04x} at {error.start}")) from error


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What the user says about a project on the command line: options of Compose by these names."""

    files: tuple[str, ...] = ()
    project_name: str | None = None
    project_directory: str | None = None
    env_files: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    compatibility: bool = False
    all_resources: bool = False


def services_of(selection: Selection) -> tuple[str, ...]:
    """Return the services that the files of *selection* have, those that are switched off too; none if they can't be read."""
    try:
        reading, _ = read_project(selection, Steps(reads_env_files=False))
    except Refused:
        return ()
    return *reading.services, *reading.disabled


def read_project(selection: Selection, steps: Steps = EVERY_STEP) -> tuple[Reading, tuple[str, ...]]:
    """Return what the files of *selection* mean, and warnings. Refused with everything that is wrong."""
    request = Request(
        directory=str(Path.cwd()),
        environment=dict(os.environ),
        files=selection.files,
        project_name=selection.project_name,
        project_directory=selection.project_directory,
        env_files=selection.env_files,
        profiles=selection.profiles,
    )
    warnings: list[str] = []
    with refused():
        reading = compose.read(request, Disk(), warnings.append, steps)
    return reading, tuple(dict.fromkeys(warnings))


def load_project(selection: Selection, services: tuple[str, ...] = ()) -> LoadedProject:
    """Return the project of *selection*. Refused with everything that is wrong. *services*: those named are switched on."""
    reading, warnings = read_project(selection)
    named = [reading.disabled[name] for name in services if name in reading.disabled]
    if named:
        more = [profile for service in named for profile in service.get("profiles") or ()]
        reading, warnings = read_project(replace(selection, profiles=(*reading.sources.profiles, *more)))
    with refused():
        separator = "_" if selection.compatibility or _is_true("COMPOSE_COMPATIBILITY") else "-"
        project = compose.project_of(reading, separator=separator, all_networks=selection.all_resources)
    known = frozenset([*reading.services, *reading.disabled])
    return LoadedProject(project=project, warnings=(*warnings, *project.notes), known=known)


def _is_true(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in ("1", "true", "t")


@contextmanager
def refused() -> Iterator[None]:
    """Turn what is wrong with a file into a refusal."""
    try:
        yield
    except ComposeError as error:
        raise Refused(str(error)) from error
