"""The variables and labels of services, with those of their files. Pure, but for `Files`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from resolver.cli.compose.sources import Files, read_variables
from resolver.cli.compose.tree import ComposeError, Located, Problem, position_at


def resolve_environment(
    services: Mapping[str, Any], environment: Mapping[str, str], files: Files, tree: Located, warn: Callable[[str], None]
) -> None:
    """Put what the `env_file`s of *services* say under their `environment`, which goes before. *tree*: that they were made of."""
    for name, service in services.items():
        own: dict[str, str | None] = service.get("environment") or {}
        known = {key: value for key, value in own.items() if value is not None}
        given = dict(known)

        def lookup(key: str, given: dict[str, str] = given) -> str | None:
            return environment.get(key, given.get(key))

        for file in service.pop("env_file", None) or ():
            path = file["path"]
            if not files.is_file(path) and not files.is_directory(path):
                if file.get("required", True):
                    where = position_at(tree, ("services", name, "env_file"))
                    raise ComposeError(Problem(where, f"services.{name}: env_file {path} is not there"))
                continue
            match file.get("format", ""):
                case "" | ".env":
                    read_variables(path, files, lookup, known, warn)
                case "raw":
                    _read_raw(path, files, lookup, known)
                case other:
                    where = position_at(tree, ("services", name, "env_file"))
                    raise ComposeError(Problem(where, f"services.{name}: env_file {path}: format {other} is not known; raw is"))
        if own or known:
            service["environment"] = {**known, **own}


def _read_raw(path: str, files: Files, lookup: Callable[[str], str | None], known: dict[str, str]) -> None:
    """Add the lines `NAME=value` of a file to *known* as they stand, without quotes or variables."""
    for number, line in enumerate(files.read(path).removeprefix("\ufeff").splitlines(), 1):
        stripped = line.lstrip()
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.partition("=")
        if not name or any(character.isspace() for character in name):
            raise ComposeError(Problem(None, f"{path}: line {number}: {name!r} is no name of a variable"))
        found = value if equals else lookup(name)
        if found is not None:
            known[name] = found


def resolve_labels(services: Mapping[str, Any], files: Files, tree: Located, warn: Callable[[str], None]) -> None:
    """Put what the `label_file`s of *services* say under their `labels`, which go before."""
    for name, service in services.items():
        labels: dict[str, str] = {}
        for path in service.pop("label_file", None) or ():
            if not files.is_file(path):
                where = position_at(tree, ("services", name, "label_file"))
                raise ComposeError(Problem(where, f"services.{name}: label_file {path} is not there"))
            found: dict[str, str] = {}
            read_variables(path, files, labels.get, found, warn)
            labels |= found
        if labels:
            service["labels"] = {**labels, **(service.get("labels") or {})}
