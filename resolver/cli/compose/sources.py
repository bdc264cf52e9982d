"""Where a project's files and variables are: what the user said, the environment, and what lies in the directories. Pure.

It is the order of Compose: `-f`, else COMPOSE_FILE, else the first of `FILES` in the directory or one above it, with its override
file. `.env` is that of the project's directory; `--env-file` and COMPOSE_ENV_FILES replace it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from resolver.cli.compose.casts import to_boolean
from resolver.cli.compose.dotenv import BadEnvFile, parse_env
from resolver.cli.compose.tree import ComposeError, Problem

FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDES = ("compose.override.yml", "compose.override.yaml", "docker-compose.override.yml", "docker-compose.override.yaml")
STDIN = "-"


class Files(Protocol):
    """What can be read: the door to the file system, for code that is pure."""

    def read(self, path: str) -> str:
        """Return the text at *path*, an absolute one or `STDIN`; ComposeError if it can't be read."""
        ...

    def is_file(self, path: str) -> bool:
        """Return whether *path* is there and no directory."""
        ...

    def is_directory(self, path: str) -> bool:
        """Return whether *path* is a directory."""
        ...


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asks for. *directory*: the current one."""

    directory: str
    environment: Mapping[str, str]
    files: tuple[str, ...] = ()
    project_name: str | None = None
    project_directory: str | None = None
    env_files: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Which steps of the reading are done: what follows from what is said, absolute paths, what refers to what, files of variables."""

    normalizes: bool = True
    makes_absolute: bool = True
    checks: bool = True
    reads_env_files: bool = True


EVERY_STEP = Steps()


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where everything is. *directory*: of the project. *environment*: that of the caller, and behind it that of the env files."""

    files: tuple[str, ...]
    directory: str
    environment: Mapping[str, str]
    profiles: tuple[str, ...] = ()

    @property
    def home(self) -> str:
        """The home directory, which `~` stands for."""
        return self.environment.get("HOME", "/")


def locate(request: Request, files: Files, warn: Callable[[str], None]) -> Sources:
    """Return where the files of *request* are; none of them need be there yet. ComposeError if there is no file at all."""
    environment = {"PWD": request.directory, **request.environment}
    given = tuple(_absolute(path, request.directory) for path in request.files)
    chosen_directory = _absolute(request.project_directory, request.directory) if request.project_directory else None
    directory = chosen_directory or _directory_of(given, request.directory)
    _add_env_files(environment, request, directory, files, warn)
    if not given and "COMPOSE_FILE" in environment:
        separator = environment.get("COMPOSE_PATH_SEPARATOR") or ":"
        given = tuple(_absolute(path, request.directory) for path in environment["COMPOSE_FILE"].split(separator))
    if not given:
        given = _default_files(chosen_directory or request.directory, files, warn)
        if not given:
            raise ComposeError(Problem(None, f"there is no {FILES[0]} here, nor in a directory above; name a file with -f"))
    located = chosen_directory or _directory_of(given, request.directory)
    if located != directory:
        # The file is elsewhere; the `.env` beside it counts too.
        _add_env_files(environment, request, located, files, warn)
    profiles = request.profiles or tuple(profile.strip() for profile in environment.get("COMPOSE_PROFILES", "").split(","))
    return Sources(files=given, directory=located, environment=environment, profiles=tuple(filter(None, profiles)))


def _absolute(path: str, directory: str) -> str:
    return path if path == STDIN else posixpath.normpath(posixpath.join(directory, path))


def _directory_of(files: tuple[str, ...], current: str) -> str:
    """Return the directory of the first of *files*, the current one if it is the standard input or there are none."""
    named = [path for path in files if path != STDIN]
    return posixpath.dirname(named[0]) if named else current


def _default_files(directory: str, files: Files, warn: Callable[[str], None]) -> tuple[str, ...]:
    while True:
        found = [path for name in FILES if files.is_file(path := posixpath.join(directory, name))]
        if found:
            overrides = [path for name in OVERRIDES if files.is_file(path := posixpath.join(directory, name))]
            for several in (found, overrides):
                if len(several) > 1:
                    warn(f"{', '.join(several)} are all there; {several[0]} is used")
            return (found[0], *overrides[:1])
        if directory == "/":
            return ()
        directory = posixpath.dirname(directory)


def _add_env_files(environment: dict[str, str], request: Request, directory: str, files: Files, warn: Callable[[str], None]) -> None:
    """Add to *environment* what the env files say and it does not have."""
    named = request.env_files or tuple(filter(None, request.environment.get("COMPOSE_ENV_FILES", "").split(",")))
    paths = [_absolute(path, request.directory) for path in named]
    if not paths and not _is_disabled(request.environment):
        paths = [path] if files.is_file(path := posixpath.join(directory, ".env")) else []
    for name, value in variables_of(paths, environment, files, warn).items():
        environment.setdefault(name, value)


def _is_disabled(environment: Mapping[str, str]) -> bool:
    given = environment.get("COMPOSE_DISABLE_ENV_FILE")
    if given is None:
        return False
    if given in ("0", "1", "t", "T", "f", "F"):
        return given in "1tT"
    try:
        return to_boolean(given, lambda _: None)
    except ValueError as error:
        raise ComposeError(Problem(None, f"COMPOSE_DISABLE_ENV_FILE: {error}")) from error


def variables_of(paths: list[str], environment: Mapping[str, str], files: Files, warn: Callable[[str], None]) -> dict[str, str]:
    """Return the variables of the env files *paths*, later ones over earlier ones; ComposeError if one can't be read."""
    known: dict[str, str] = {}
    for path in paths:
        read_variables(path, files, lambda name: environment.get(name, known.get(name)), known, warn)
    return known


def read_variables(
    path: str, files: Files, lookup: Callable[[str], str | None], known: dict[str, str], warn: Callable[[str], None]
) -> None:
    """Add the variables of the file *path* to *known*; ComposeError if it can't be read."""
    try:
        parse_env(files.read(path), lookup, known, warn)
    except BadEnvFile as error:
        raise ComposeError(Problem(None, f"{path}: {error}")) from error
