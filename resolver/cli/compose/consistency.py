"""Whether the parts of a project fit together: what refers to what, what excludes what. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from resolver.cli.compose.tree import ComposeError, Located, Path, Problem, position_at

_Found = Iterator[tuple[Path, str]]
_Services = Mapping[str, Any]


def check(project: Mapping[str, Any], enabled: _Services, disabled: _Services, tree: Located) -> None:
    """Raise ComposeError with all that does not fit in the services *enabled* of *project*. *tree*: that it was made of."""
    found = [problem for name, service in enabled.items() for problem in _service(project, name, service, enabled, disabled)]
    found += _container_names(enabled)
    found += [
        (("secrets", name), f"secrets.{name} must have a file or an environment")
        for name, secret in (project.get("secrets") or {}).items()
        if not (secret.get("external") or secret.get("file") or secret.get("environment"))
    ]
    if not found:
        found = list(_circles(enabled))
    if found:
        raise ComposeError(*(Problem(position_at(tree, path), text) for path, text in found))


def _service(project: Mapping[str, Any], name: str, service: Mapping[str, Any], enabled: _Services, disabled: _Services) -> _Found:
    where = ("services", name)
    for part in (_what_it_runs, _exclusions, _scale, _mounts):
        for path, text in part(service):
            yield (*where, *path), f"services.{name}{text}"
    for kind, used in _used(service):
        for key, reference in used:
            if reference not in (project.get(kind) or {}):
                yield (*where, key), f"services.{name} uses {kind[:-1]} {reference}, which is not in {kind}"
    for key, context in ((service.get("build") or {}).get("additional_contexts") or {}).items():
        other = context.removeprefix("service:")
        if other != context and not (enabled.get(other) or {}).get("build"):
            what = "has no build" if other in enabled else "is not a service"
            yield (*where, "build"), f"services.{name}.build.additional_contexts.{key} is what {other} builds, which {what}"
    for other, dependency in (service.get("depends_on") or {}).items():
        if other in enabled:
            continue
        if other not in disabled:
            yield (*where, "depends_on", other), f"services.{name} depends on {other}, which is not a service"
        elif dependency.get("required", True):
            profiles = " or ".join(f"--profile {profile}" for profile in disabled[other]["profiles"])
            yield (
                (*where, "depends_on", other),
                f"services.{name} depends on {other}, which is switched off by its profiles: add {profiles}, or write required: false",
            )


_Parts = Iterator[tuple[Path, str]]


def _what_it_runs(service: Mapping[str, Any]) -> _Parts:
    if not any(service.get(key) for key in ("build", "image", "provider", "command", "entrypoint")):
        yield (), " has neither command nor image; give it a command to run"
    build = service.get("build") or {}
    if build.get("dockerfile") and build.get("dockerfile_inline"):
        yield ("build",), ".build: dockerfile and dockerfile_inline exclude each other"
    platforms = build.get("platforms")
    if platforms and service.get("platform") and service["platform"] not in platforms:
        yield ("build",), f".build.platforms must contain the platform {service['platform']}"
    test = (service.get("healthcheck") or {}).get("test")
    if test and test[0] not in ("CMD", "CMD-SHELL", "NONE"):
        yield ("healthcheck",), f".healthcheck.test must begin with CMD, CMD-SHELL or NONE, not {test[0]}"


def _exclusions(service: Mapping[str, Any]) -> _Parts:
    if service.get("network_mode") and service.get("networks"):
        yield ("network_mode",), ": network_mode and networks exclude each other"
    for watch in (service.get("develop") or {}).get("watch") or ():
        if not watch.get("target") and watch.get("action") not in ("rebuild", "restart"):
            yield ("develop",), f".develop.watch: action {watch.get('action')} needs a target"


def _scale(service: Mapping[str, Any]) -> _Parts:
    scale, deploy = service.get("scale"), service.get("deploy") or {}
    replicas = deploy.get("replicas")
    if scale is not None and replicas is not None and scale != replicas:
        yield ("scale",), f".scale is {scale}, deploy.replicas {replicas}: write only one of them"
    for path, value in ((("scale",), scale), (("deploy", "replicas"), replicas)):
        if value is not None and value < 0:
            yield path, f".{'.'.join(path)} must be 0 or more"
    if service.get("container_name") and (replicas if scale is None else scale or 0) not in (None, 0, 1):
        yield ("container_name",), ": container_name allows one replica only"
    resources = deploy.get("resources") or {}
    for key, kind, inner in (
        ("cpus", "limits", "cpus"),
        ("mem_limit", "limits", "memory"),
        ("pids_limit", "limits", "pids"),
        ("mem_reservation", "reservations", "memory"),
    ):
        given, other = service.get(key), resources.get(kind)
        if given and other is not None and (other.get(inner) or 0) != given:
            yield (key,), f".{key} and deploy.resources.{kind}.{inner} contradict each other"


def _mounts(service: Mapping[str, Any]) -> _Parts:
    seen: set[str] = set()
    places = [("tmpfs", entry.partition(":")[0]) for entry in service.get("tmpfs") or ()]
    places += [("volumes", volume.get("target", "")) for volume in service.get("volumes") or ()]
    for key, target in places:
        if target in seen:
            yield (key,), f".{key}: two mounts at {target}"
        seen.add(target)


def _used(service: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield each kind of resource with (key, name) of those that *service* uses."""
    build = service.get("build") or {}
    volumes = [volume["source"] for volume in service.get("volumes") or () if volume.get("type") == "volume" and volume.get("source")]
    yield "networks", [("networks", name) for name in service.get("networks") or {}]
    yield "volumes", [("volumes", name) for name in volumes]
    yield "configs", [("configs", config["source"]) for config in service.get("configs") or () if "source" in config]
    yield "models", [("models", name) for name in service.get("models") or {}]
    secrets = [("secrets", secret["source"]) for secret in service.get("secrets") or () if "source" in secret]
    yield "secrets", secrets + [("build", secret["source"]) for secret in build.get("secrets") or () if "source" in secret]


def used_resources(services: _Services) -> dict[str, set[str]]:
    """Return the names of what *services* use, by kind: networks, volumes, configs, models, secrets."""
    result: dict[str, set[str]] = {}
    for service in services.values():
        for kind, used in _used(service):
            result.setdefault(kind, set()).update(name for _, name in used)
    return result


def _container_names(enabled: _Services) -> _Found:
    seen: dict[str, str] = {}
    for name, service in enabled.items():
        given = service.get("container_name")
        if given and given in seen:
            yield ("services", name, "container_name"), f"services.{name}: container_name {given} is that of {seen[given]} too"
        if given:
            seen[given] = name


def _circles(enabled: _Services) -> _Found:
    """Yield the first circle of dependencies, if there is one."""
    done: set[str] = set()
    for start in enabled:
        way = {start: iter(enabled[start].get("depends_on") or ())} if start not in done else {}
        while way:
            last = next(reversed(way))
            following = next((other for other in way[last] if other in enabled and other not in done), None)
            if following is None:
                del way[last]
                done.add(last)
            elif following in way:
                circle = list(way)[list(way).index(following) :]
                yield ("services", circle[0], "depends_on"), f"services.{circle[0]} depends on itself: {' -> '.join([*circle, following])}"
                return
            else:
                way[following] = iter(enabled[following].get("depends_on") or ())


def in_order(names: Iterable[str], depends_on: Callable[[str], Iterable[str]]) -> list[str]:
    """Return *names* with each one after those that it depends on, which form no circle; otherwise in the order given."""
    result: dict[str, None] = {}
    known = dict.fromkeys(names)
    for name in known:
        way = [(name, iter(depends_on(name)))]
        while way:
            last, others = way[-1]
            following = next((other for other in others if other in known and other not in result), None)
            if following is None:
                result.setdefault(last)
                way.pop()
            else:
                way.append((following, iter(depends_on(following))))
    return list(result)
