"""Finding and reading the Compose file, with the variables of the environment and of `.env`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resolver.cli.client import Refused
from resolver.cli.compose.file import parse
from resolver.cli.compose.interpolate import BadVariable, interpolate, parse_env
from resolver.cli.compose.project import ComposeError, Project
from resolver.cli.compose.yaml12 import YamlError

FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")


@dataclass(frozen=True, kw_only=True)
class LoadedProject:
    """A project, the directory of its file, and what the user should know."""

    project: Project
    directory: Path
    warnings: tuple[str, ...]


def load_project(file: str | None, project: str | None, profiles: Sequence[str]) -> LoadedProject:
    """Return the project of *file*, or of the first of `FILES` that exists. Raises Refused with everything that is wrong."""
    path = Path(file) if file else next((Path(name) for name in FILES if Path(name).exists()), None)
    if path is None:
        raise Refused(f"there is no {FILES[0]} here; name a file with -f")
    text = read(path)
    directory = path.resolve().parent
    variables = {**_dotenv(directory), **os.environ}
    unset: list[str] = []

    def substitute(value: str, line: int) -> str:
        try:
            return interpolate(value, variables, unset.append) if "$" in value else value
        except BadVariable as error:
            raise YamlError(line, str(error)) from error

    try:
        parsed = parse(
            text,
            str(path),
            directory=str(directory),
            environment=variables,
            project=project,
            profiles=(*profiles, *filter(None, variables.get("COMPOSE_PROFILES", "").split(","))),
            substitute=substitute,
        )
    except ComposeError as error:
        raise Refused(str(error)) from error
    warnings = (f"variable {name} is not set; it counts as empty" for name in dict.fromkeys(unset))
    return LoadedProject(project=parsed, directory=directory, warnings=(*warnings, *parsed.notes))


def read(path: Path) -> str:
    """Return the text of a file of the project; Refused if it can't be read."""
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Refused(f"{path}: not UTF-8: octet {error.object[error.start]:#04x} at {error.start}") from error


def _dotenv(directory: Path) -> dict[str, str]:
    path = directory / ".env"
    return parse_env(read(path)) if path.exists() else {}
