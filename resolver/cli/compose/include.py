"""`include`: other projects' files read with their own directory and variables, and what they have taken over. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from resolver.cli.compose.casts import text_of
from resolver.cli.compose.context import Context
from resolver.cli.compose.paths import absolute
from resolver.cli.compose.schema import validate
from resolver.cli.compose.sources import variables_of
from resolver.cli.compose.tree import ComposeError, Located, Position, Problem, position_of
from resolver.cli.words import nearest

_KINDS = ("services", "volumes", "networks", "secrets", "configs", "models")
_KEYS = ("path", "env_file", "project_directory")
_MAX_NESTING = 30

Load = Callable[[tuple[str, ...], Context, tuple[str, ...]], Located]
"""Returns the tree of files, read in a context; the last are the files that lead there."""


def apply_includes(tree: Located, context: Context, included: tuple[str, ...], load: Load) -> None:
    """Take over what the files have that *tree* includes. *included*: the files that lead here."""
    if tree.get("include") is None:
        tree.pop("include", None)
        return
    where = position_of(tree, "include")
    alone = Located()
    given = tree.pop("include")
    alone.put("include", [_known_part(entry, where, context) for entry in given] if isinstance(given, list) else given, where)
    validate(alone)
    for entry in alone["include"]:
        if isinstance(entry, dict) and entry.get("path") in (None, []):
            # As Compose does, though it says nothing.
            context.warn(f"{_at(where)}an entry of include has no path, so nothing is included")
            continue
        paths, inner = _what(entry, where, context, included)
        _take_over(load(paths, inner, included), tree, where)


def _known_part(entry: Any, where: Position | None, context: Context) -> Any:
    """Return *entry* without the keys that Compose ignores, with a warning."""
    if not isinstance(entry, Located):
        return entry
    kept = Located()
    for key, value in entry.items():
        if key not in _KEYS:
            context.warn(f"{_at(where)}include: {key} is not known and ignored{nearest(key, _KEYS)}")
        elif value is not None:
            kept.put(key, text_of(value) if isinstance(value, int | float) else value, position_of(entry, key))
    return kept


def _at(where: Position | None) -> str:
    return f"{where.file}:{where.line}: " if where is not None else ""


def _what(entry: Any, where: Position | None, context: Context, included: tuple[str, ...]) -> tuple[tuple[str, ...], Context]:
    """Return the files of *entry*, and the context in which they are read."""
    given = entry if isinstance(entry, dict) else {"path": entry}
    names = _texts(given.get("path"))
    if not names:
        raise ComposeError(Problem(where, "an entry of include has no path"))
    for name in names:
        if "://" in name or name.startswith("git@"):
            raise ComposeError(Problem(where, f"include {name}: only files of this host are read; fetch it first"))
    paths = tuple(absolute(name, context.directory, context.home) for name in names)
    if paths[0] in included:
        circle = " includes ".join(context.label(path) for path in (*included, paths[0]))
        raise ComposeError(Problem(where, f"include goes in a circle: {circle}"))
    if len(included) > _MAX_NESTING:
        raise ComposeError(Problem(where, f"files include files, more than {_MAX_NESTING} deep"))
    directory = given.get("project_directory")
    directory = absolute(directory, context.directory, context.home) if directory else posixpath.dirname(paths[0])
    env_files = [absolute(name, context.directory, context.home) for name in _texts(given.get("env_file"))]
    if not env_files and context.files.is_file(default := posixpath.join(directory, ".env")):
        env_files = [default]
    variables = variables_of(env_files, context.environment, context.files, context.warn)
    return paths, replace(context, directory=directory, environment={**variables, **context.environment})


def _texts(value: Any) -> list[str]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _take_over(imported: Located, tree: Located, where: Position | None) -> None:
    for kind in _KINDS:
        if not imported.get(kind):
            continue
        if tree.get(kind) is None:
            tree[kind] = Located()
        own = tree[kind]
        if not isinstance(own, Located):
            raise ComposeError(Problem(position_of(tree, kind), f"{kind} must be a mapping"))
        for name, value in imported[kind].items():
            if name in own and own[name] != value:
                place = position_of(own, name) or where
                raise ComposeError(Problem(place, f"{kind}.{name} is in an included file too, and not the same"))
            own.put(name, value, position_of(imported[kind], name))
