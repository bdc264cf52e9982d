"""`extends`: a service made of another one, of the same file or of another, over any number of steps. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from resolver.cli.compose.canonical import make_canonical
from resolver.cli.compose.documents import Budget
from resolver.cli.compose.merge import extend, without_repetitions
from resolver.cli.compose.paths import absolute, make_absolute
from resolver.cli.compose.schema import validate
from resolver.cli.compose.tree import ComposeError, Located, Path, Position, Problem, copied, position_of, size_of


@dataclass(frozen=True, kw_only=True)
class ServicesOfFile:
    """The services of one file. *replaced*: by service the paths with !reset and !override; *is_own*: it is the file that is read."""

    file: str
    directory: str
    services: Located
    replaced: dict[str, list[Path]]
    is_own: bool
    ready: set[str] = field(default_factory=set)


Open = Callable[[str, Position | None], ServicesOfFile]
"""Returns the services of the file at an absolute path, which is named at a position."""


@dataclass(frozen=True, kw_only=True)
class _Step:
    """A service that extends the one of the next step."""

    of: ServicesOfFile
    name: str
    service: Located


def by_service(replaced: Iterable[Path]) -> dict[str, list[Path]]:
    """Return those of the paths *replaced* that are within a service, by its name and without `services.NAME`."""
    result: dict[str, list[Path]] = {}
    for path in replaced:
        if path[0] == "services" and len(path) > 2:
            result.setdefault(path[1], []).append(path[2:])
    return result


def drop(tree: Any, paths: Iterable[Path]) -> None:
    """Take what is at *paths* out of *tree*."""
    for *way, last in paths:
        inner = tree
        for key in way:
            inner = inner.get(key) if isinstance(inner, Located) else None
        if isinstance(inner, Located):
            inner.pop(last, None)


class Extends:
    """Carries `extends` out. *opened*: how another file is read; *home*: what `~` stands for."""

    def __init__(self, opened: Open, budget: Budget, home: str, warn: Callable[[str], None]) -> None:
        self._open = opened
        self._budget = budget
        self._home = home
        self._warn = warn

    def apply(self, of: ServicesOfFile) -> None:
        """Replace each service of *of* by what it is with all that it extends."""
        for name in list(of.services):
            if isinstance(of.services[name], Located):
                self._resolve(of, name)

    def _resolve(self, of: ServicesOfFile, name: str) -> None:
        steps, base = self._steps(of, name)
        for step in reversed(steps):
            if base is not None:
                self._budget.spend(size_of(base), position_of(step.service, "extends"))
                made = copied(base)
                drop(made, step.of.replaced.get(step.name, ()))
                made = extend(made, step.service)
            else:
                made = step.service
            made.pop("extends", None)
            step.of.services[step.name] = made
            base = made

    def _steps(self, of: ServicesOfFile, name: str) -> tuple[list[_Step], Located | None]:
        """Return what must be made, and the service at its bottom, which extends nothing; None for an empty one."""
        steps: list[_Step] = []
        seen: dict[tuple[str, str], None] = {}
        while True:
            service = self._service(of, name)
            if service is None or "extends" not in service:
                return steps, service
            where = position_of(service, "extends")
            if (of.file, name) in seen:
                circle = " extends ".join(f"{service} of {file}" for file, service in (*seen, (of.file, name)))
                raise ComposeError(Problem(where, f"extends goes in a circle: {circle}"))
            seen[(of.file, name)] = None
            steps.append(_Step(of=of, name=name, service=service))
            reference, file = self._reference(service, name, where)
            if file is not None:
                of = self._open(absolute(file, of.directory, self._home), where)
            if reference not in of.services:
                raise ComposeError(Problem(where, f"services.{name} extends {reference}, which is not a service of {of.file}"))
            name = reference

    @staticmethod
    def _reference(service: Located, name: str, where: Position | None) -> tuple[str, str | None]:
        extends = service["extends"]
        if isinstance(extends, str):
            return extends, None
        if not isinstance(extends, Located) or not isinstance(extends.get("service"), str):
            raise ComposeError(Problem(where, f"services.{name}.extends must be the name of a service, or have a service"))
        file = extends.get("file")
        if file is not None and not isinstance(file, str):
            raise ComposeError(Problem(where, f"services.{name}.extends.file must be a text"))
        return extends["service"], file

    def _service(self, of: ServicesOfFile, name: str) -> Located | None:
        """Return the service *name*; one of another file is checked and made canonical first, with the paths of that file."""
        service = of.services[name]
        if service is None:
            return None
        if not isinstance(service, Located):
            raise ComposeError(Problem(position_of(of.services, name), f"services.{name} must be a mapping"))
        if not of.is_own and name not in of.ready:
            of.ready.add(name)
            alone, services = Located(), Located()
            services.put(name, service, position_of(of.services, name))
            alone["services"] = services
            validate(alone)
            make_canonical(alone, self._budget, self._warn)
            make_absolute(without_repetitions(alone), of.directory, self._home)
        return service
