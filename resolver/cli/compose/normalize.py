"""What follows from a tree without being in it: the network `default`, implied dependencies, names of networks and volumes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resolver.cli.compose.tree import Located
from resolver.cli.compose.volumes import clean

_SHARED = ("network_mode", "ipc", "pid", "uts", "cgroup")
_NAMED = ("networks", "volumes", "configs", "secrets")
PULL_POLICIES = {"if_not_present": "missing"}


def normalize(tree: Located, name: str, environment: Mapping[str, str]) -> None:
    """Put into *tree*, which is canonical and of the project *name*, what follows from it. *environment*: for variables without a value."""
    services = tree.get("services")
    if services is not None:
        for service in services.values():
            if isinstance(service, Located):
                _service(service, environment)
    _networks(tree)
    for kind in _NAMED:
        for key, resource in (tree.get(kind) or {}).items():
            if resource is None:
                tree[kind][key] = resource = Located()
            if resource.get("name") is None:
                resource["name"] = key if resource.get("external") is True else f"{name}_{key}"


def _service(service: Located, environment: Mapping[str, str]) -> None:
    policy = service.get("pull_policy")
    if policy in PULL_POLICIES:
        service["pull_policy"] = PULL_POLICIES[policy]
    build = service.get("build")
    if build is not None:
        if build.get("dockerfile") is None and build.get("dockerfile_inline") is None:
            build["dockerfile"] = "Dockerfile"
        if "args" in build:
            build["args"] = resolved(build["args"], environment, keep=False)
    if "environment" in service:
        service["environment"] = resolved(service["environment"], environment, keep=True)
    for volume in service.get("volumes") or ():
        if volume.get("target"):
            volume["target"] = clean(volume["target"])
    needed = implied(service)
    if needed:
        depends_on = service.setdefault("depends_on", Located())
        for other, restart in needed.items():
            depends_on.setdefault(other, Located({"condition": "service_started", "restart": restart, "required": True}))


def implied(service: Mapping[str, Any]) -> dict[str, bool]:
    """Return the services that *service* needs by what it shares with them, and whether it restarts with them."""
    found: dict[str, bool] = {}
    for link in service.get("links") or ():
        parts = link.split(":")
        found.setdefault(parts[0] if len(parts) == 2 else link, True)
    for key in _SHARED:
        shared = service.get(key)
        if isinstance(shared, str) and shared.startswith("service:"):
            found.setdefault(shared.removeprefix("service:"), True)
    for source in service.get("volumes_from") or ():
        if not source.startswith("container:"):
            found.setdefault(source.partition(":")[0], False)
    return found


def _networks(tree: Located) -> None:
    """Connect the services that name no network to `default`, and describe it if the tree does not."""
    uses_default = False
    for service in (tree.get("services") or {}).values():
        if not isinstance(service, Located) or "provider" in service or "network_mode" in service:
            continue
        if not service.get("networks"):
            service["networks"] = Located({"default": None})
        uses_default = uses_default or "default" in service["networks"]
    if uses_default:
        networks = tree.get("networks")
        if networks is None:
            tree["networks"] = networks = Located()
        networks.setdefault("default", None)


def resolved(values: Any, environment: Mapping[str, str], *, keep: bool) -> Any:
    """Return *values*, a mapping or list of variables, with those without a value taken from *environment*; others stay if *keep*."""
    if isinstance(values, dict):
        made = {key: environment.get(key) if inner is None else inner for key, inner in values.items()}
        return Located((key, inner) for key, inner in made.items() if keep or inner is not None)
    found = []
    for entry in values or ():
        if "=" in entry:
            found.append(entry)
        elif entry in environment:
            found.append(f"{entry}={environment[entry]}")
        elif keep:
            found.append(entry)
    return found
