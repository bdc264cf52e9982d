"""Files become one tree: YAML, interpolation, `extends`, `include`, one file over the other, canonical forms. Pure, but for `Files`."""

from __future__ import annotations

import posixpath

from resolver.cli.compose.canonical import check, make_canonical, set_defaults
from resolver.cli.compose.casts import Interpolation
from resolver.cli.compose.context import Context
from resolver.cli.compose.documents import Document
from resolver.cli.compose.extends import Extends, ServicesOfFile, by_service, drop
from resolver.cli.compose.include import apply_includes
from resolver.cli.compose.interpolate import Variables, variables_in
from resolver.cli.compose.merge import merge, without_repetitions
from resolver.cli.compose.normalize import resolved
from resolver.cli.compose.paths import make_absolute
from resolver.cli.compose.schema import validate
from resolver.cli.compose.tree import ComposeError, Located, Position, Problem, position_of


def load(paths: tuple[str, ...], context: Context, included: tuple[str, ...] = ()) -> Located:
    """Return the canonical tree of the files *paths*, each over those before it. *included*: the files that include them.

    All paths in it are absolute. ComposeError says what is wrong.
    """
    return _Loader(context).load(paths, included)


class _Loader:
    """Loads files in one context."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._interpolation = Interpolation(Variables(context.environment, context.warn), context.warn)
        self._opened: dict[str, ServicesOfFile] = {}
        self._extends = Extends(self._open, context.budget, context.home, context.warn)

    def load(self, paths: tuple[str, ...], included: tuple[str, ...]) -> Located:
        """Return as `load` does."""
        tree = Located()
        for path in paths:
            for document in self._context.documents(path):
                tree = self._add(tree, document, path, (*included, path))
        set_defaults(tree)
        check(tree)
        if self._context.steps.makes_absolute:
            make_absolute(tree, self._context.directory, self._context.home)
        self._resolve_bare_variables(tree)
        return tree

    def _add(self, tree: Located, document: Document, path: str, included: tuple[str, ...]) -> Located:
        """Return *tree* with *document*, of the file *path*, over it."""
        own = self._read(document, path)
        if isinstance(own.get("services"), Located):
            self._extends.apply(
                ServicesOfFile(
                    file=self._context.label(path),
                    directory=self._context.directory,
                    services=own["services"],
                    replaced=by_service(document.replaced),
                    is_own=True,
                )
            )
        drop(tree, document.replaced)
        apply_includes(own, self._context, included, load)
        merged = without_repetitions(merge(tree, own))
        validate(merged)
        if merged.pop("version", None) is not None:
            self._context.warn(f"{self._context.label(path)}: version is obsolete and ignored; remove it")
        make_canonical(merged, self._context.budget, self._context.warn)
        # Ranges of ports are several now, one of which may be in a file before.
        return without_repetitions(merged)

    def _read(self, document: Document, path: str) -> Located:
        if not isinstance(document.value, Located):
            raise ComposeError(Problem(Position(self._context.label(path), 1), "a Compose file must be a mapping, with services in it"))
        self._note_variables(document.value)
        tree = self._interpolation.of(document.value)
        assert isinstance(tree, Located)
        return tree

    def _note_variables(self, value: object) -> None:
        """Remember which variables the texts in *value* ask for."""
        if isinstance(value, str):
            if "$" in value:
                self._context.asked.update((one.name, one) for one in variables_in(value))
        elif isinstance(value, dict | list):
            for inner in value.values() if isinstance(value, dict) else value:
                self._note_variables(inner)

    def _open(self, path: str, where: Position | None) -> ServicesOfFile:
        """Return the services of the file *path*, which `extends` names at *where*."""
        if path not in self._opened:
            if self._context.files.is_directory(path) or not self._context.files.is_file(path):
                raise ComposeError(Problem(where, f"extends: there is no file {self._context.label(path)}"))
            tree, replaced = Located(), frozenset[tuple[str, ...]]()
            for document in self._context.documents(path):
                drop(tree, document.replaced)
                tree, replaced = merge(tree, self._read(document, path)), replaced | document.replaced
            services = tree.get("services")
            if not isinstance(services, Located):
                raise ComposeError(Problem(where, f"extends: {self._context.label(path)} has no services"))
            self._opened[path] = ServicesOfFile(
                file=self._context.label(path),
                directory=posixpath.dirname(path),
                services=services,
                replaced=by_service(replaced),
                is_own=False,
            )
        return self._opened[path]

    def _resolve_bare_variables(self, tree: Located) -> None:
        """Give variables without a value, in lists, that of the environment."""
        for service in (tree.get("services") or {}).values():
            variables = service.get("environment") if isinstance(service, Located) else None
            if isinstance(variables, list):
                service["environment"] = resolved(variables, self._context.environment, keep=True)


def name_in(paths: tuple[str, ...], context: Context) -> str | None:
    """Return the name that the files *paths* give the project, the last one that does, interpolated; None if none does."""
    found: str | None = None
    interpolation = Interpolation(Variables(context.environment, context.warn), context.warn)
    for path in paths:
        for document in context.peek(path):
            name = document.value.get("name") if isinstance(document.value, Located) else None
            if isinstance(name, str) and name:
                alone = Located()
                alone.put("name", name, position_of(document.value, "name"))
                found = interpolation.of(alone)["name"]
    return found
