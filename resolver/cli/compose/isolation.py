"""What a service has of the host beside the network, where Compose writes it in a form of its own. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resolver.cli.compose.shapes import Record


def _limits(service: Record) -> Mapping[str, Any]:
    """Return `deploy.resources.limits`."""
    limits: Mapping[str, Any] = ((service.get("deploy") or {}).get("resources") or {}).get("limits") or {}
    return limits


def memory(service: Record) -> int:
    """Return the bound in octets, 0 for none."""
    return int(service.get("mem_limit") or _limits(service).get("memory") or 0)


def cpus(service: Record) -> float:
    return float(service.get("cpus") or _limits(service).get("cpus") or 0)


def pids(service: Record) -> int:
    return int(service.get("pids_limit") or _limits(service).get("pids") or 0)


def ulimits(service: Record) -> tuple[str, ...]:
    """Return `NAME=SOFT:HARD` of each limit."""
    given: Mapping[str, Any] = service.get("ulimits") or {}
    found = []
    for name, value in given.items():
        soft, hard = (value.get("soft", 0), value.get("hard", 0)) if isinstance(value, Mapping) else (value, value)
        found.append(f"{name}={soft}:{hard}")
    return tuple(found)


def volumes(service: Record) -> tuple[str, ...]:
    """Return the files and directories of the host that the service binds, as `--volume` takes them."""
    binds = _of_type(service, "bind")
    return tuple(f"{volume['source']}:{volume['target']}{':ro' * bool(volume.get('read_only'))}" for volume in binds)


def tmpfs(service: Record) -> tuple[str, ...]:
    """Return what `tmpfs` and volumes of that type ask for, as `--tmpfs` takes them."""
    return (*(service.get("tmpfs") or ()), *map(_in_memory, _of_type(service, "tmpfs")))


def _in_memory(volume: Mapping[str, Any]) -> str:
    given = volume.get("tmpfs") or {}
    options = [f"size={given['size']}"] if given.get("size") else []
    options += [f"mode={given['mode']:o}"] if given.get("mode") else []
    options += ["ro"] if volume.get("read_only") else []
    return f"{volume['target']}{':' * bool(options)}{','.join(options)}"


def _of_type(service: Record, kind: str) -> list[Mapping[str, Any]]:
    return [volume for volume in service.get("volumes") or () if volume.get("type") == kind]


def has_volumes_of_its_own(service: Record) -> bool:
    """Return whether the service asks for volumes that are no files of the host."""
    return any(volume.get("type") not in ("bind", "tmpfs") for volume in service.get("volumes") or ())
