"""Reading a project: from what the user asks for to all that its files mean. Pure, but for `Files`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from resolver.cli.compose import consistency, specification
from resolver.cli.compose.context import Context
from resolver.cli.compose.documents import Budget
from resolver.cli.compose.environment import resolve_environment, resolve_labels
from resolver.cli.compose.interpolate import Variable
from resolver.cli.compose.load import load, name_in
from resolver.cli.compose.normalize import normalize
from resolver.cli.compose.shapes import Form, Record, printed
from resolver.cli.compose.sources import EVERY_STEP, Files, Request, Sources, Steps, locate
from resolver.cli.compose.tree import BadValue, ComposeError, Located, Path, Position, Problem, position_at

_FITS = re.compile(r"[a-z0-9][a-z0-9_-]*\Z")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the files of a project mean.

    *model*: by the shapes of `specification`, with the enabled services only; *disabled*: the others, by name. *profiles*: all that
    a service has. *variables*: those that the files ask for.
    """

    name: str
    sources: Sources
    model: Record
    disabled: Mapping[str, Record]
    profiles: tuple[str, ...]
    _tree: Located
    variables: tuple[Variable, ...] = ()

    @property
    def services(self) -> dict[str, Record]:
        """The enabled services, by name, in the order of the files."""
        return self.model["services"]  # type: ignore[no-any-return]

    def position(self, path: Path) -> Position | None:
        """Return where the deepest known key on *path* stands."""
        return position_at(self._tree, path)

    def printed(self, form: Form, *, everything: bool = False) -> dict[str, Any]:
        """Return the project as `berth config` prints it: of resources only what the enabled services use, or *everything*."""
        used = consistency.used_resources(self.services)
        shown = Record(self.model.keys_of)
        shown.extensions = self.model.extensions
        for kind, value in self.model.items():
            if everything or kind in ("name", "services"):
                shown[kind] = value
            else:
                shown[kind] = {name: inner for name, inner in (value or {}).items() if name in used.get(kind, ())}
        made: dict[str, Any] = printed(shown, form)
        return dict(sorted({**made, **printed(self.model.extensions, form)}.items())) if form is Form.JSON else made

    def of_services(self, names: tuple[str, ...]) -> Reading:
        """Return this project with the services *names* and what they depend on only; ComposeError for one that is not there."""
        chosen: dict[str, None] = {}
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in self.services:
                raise ComposeError(Problem(None, f"there is no service {name}; there are {', '.join(self.services) or 'none'}"))
            if name not in chosen:
                chosen[name] = None
                waiting += [other for other in self.services[name].get("depends_on") or {} if other in self.services]
        model = Record(self.model.keys_of)
        model.update(self.model)
        model.extensions = self.model.extensions
        model["services"] = {name: service for name, service in self.services.items() if name in chosen}
        return replace(self, model=model)


def read(request: Request, files: Files, warn: Callable[[str], None], steps: Steps = EVERY_STEP) -> Reading:
    """Return what the files of *request* mean. ComposeError with all that is wrong; *warn*: is told what the user should know.

    *steps*: those that are done; without that of `env_file`s, these need not be there.
    """
    sources = locate(request, files, warn)
    context = Context(
        files=files,
        directory=sources.directory,
        current=request.directory,
        environment=sources.environment,
        home=sources.home,
        budget=Budget(),
        warn=warn,
        steps=steps,
    )
    name = project_name(request.project_name, sources, lambda: name_in(sources.files, context))
    environment = {**sources.environment, "COMPOSE_PROJECT_NAME": name}
    tree = load(sources.files, replace(context, environment=environment))
    if not tree:
        raise ComposeError(Problem(Position(context.label(sources.files[0]), 1), "there is no service to start"))
    tree["name"] = name
    if steps.normalizes:
        normalize(tree, name, environment)
    model = _shaped(tree)
    enabled, disabled = _by_profile(model.get("services") or {}, sources.profiles)
    model["services"] = enabled
    if steps.checks:
        consistency.check(model, enabled, disabled, tree)
        _scale_deployed(enabled)
    if steps.reads_env_files:
        resolve_environment(enabled, environment, files, tree, warn)
        resolve_labels(enabled, files, tree, warn)
    all_services = [*enabled.values(), *disabled.values()]
    profiles = dict.fromkeys(profile for service in all_services for profile in service.get("profiles") or ())
    return Reading(
        name=name,
        sources=replace(sources, environment=environment),
        model=model,
        disabled=disabled,
        profiles=tuple(sorted(profiles)),
        _tree=tree,
        variables=tuple(sorted(context.asked.values())),
    )


def project_name(given: str | None, sources: Sources, in_files: Callable[[], str | None]) -> str:
    """Return the project's name, chosen as Compose does: option, variable, file, directory. ComposeError if it can't be one."""
    chosen = given or sources.environment.get("COMPOSE_PROJECT_NAME")
    if chosen:
        if not _FITS.match(chosen):
            where = "-p" if given else "COMPOSE_PROJECT_NAME"
            fitting = normalized_name(chosen)
            better = f": write {fitting}" if fitting else ""
            raise ComposeError(
                Problem(None, f"{where} {chosen!r}: a name has a-z, 0-9, - and _, and begins with a letter or digit{better}")
            )
        return chosen
    name = normalized_name(in_files() or "") or normalized_name(sources.directory.rpartition("/")[2])
    if not name:
        raise ComposeError(Problem(None, "the project has no name: give it one with -p, or with name: in the file"))
    return name


def normalized_name(text: str) -> str:
    """Return *text* as the name of a project, with what can't be in one left out."""
    return re.sub(r"[^a-z0-9_-]", "", text.lower()).lstrip("_-")


def _shaped(tree: Located) -> Record:
    try:
        model = specification.project({key: value for key, value in tree.items() if value is not None})
    except BadValue as error:
        raise ComposeError(Problem(position_at(tree, error.path), f"{'.'.join(error.path)}: {error}")) from error
    assert isinstance(model, Record)
    for name, service in (model.get("services") or {}).items():
        if service is None:
            raise ComposeError(Problem(position_at(tree, ("services", name)), f"services.{name} has neither command nor image"))
    return model


def _scale_deployed(services: Mapping[str, Record]) -> None:
    """Give services with `deploy` the number of replicas that their `scale` says, as Compose does."""
    for service in services.values():
        if service.get("scale") is not None and service.get("deploy") is not None:
            service["deploy"]["replicas"] = service["scale"]


def _by_profile(services: Mapping[str, Record], profiles: tuple[str, ...]) -> tuple[dict[str, Record], dict[str, Record]]:
    """Return those of *services* that *profiles* switch on, and the others."""
    chosen = set(profiles)
    enabled: dict[str, Record] = {}
    disabled: dict[str, Record] = {}
    for name, service in services.items():
        own = service.get("profiles")
        (enabled if not own or "*" in chosen or chosen & set(own) else disabled)[name] = service
    return enabled, disabled
