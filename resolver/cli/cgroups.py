"""Control groups that bound what the processes of a sandbox use: version 2 where a group may be made, version 1 as root.

The group is made below the one that berth runs in, as version 1 wants it, or below the nearest one above that has no processes of its
own and hands its controllers down, as version 2 wants it (systemd has such ones; those of a user's services are the user's).

Spec: cgroups(7); Linux Documentation/admin-guide/cgroup-v2.rst, "No Internal Process Constraint" and "Delegation Containment".
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from resolver.cli.entering import EnterFailed
from resolver.isolation import bounds
from resolver.isolation.told import isolation_of

_PREFIX = "berth-"
_ABANDONED = 60.0
"""Seconds after which an empty group is nobody's: who made it was killed."""
_LOOK, _LOOKS = 0.01, 200
_OPTIONS = {"memory": "--memory", "cpu": "--cpus", "pids": "--pids-limit"}


class _Hierarchy(NamedTuple):
    """One tree of groups. *top*: the highest directory that can be seen; *own*: that of a process."""

    version: int
    top: str
    own: str


def make(sandbox: Mapping[str, Any]) -> tuple[str, ...]:
    """Make the groups that the bounds of *sandbox* need, and return their directories; EnterFailed says why they can't be had."""
    isolation = isolation_of(sandbox)
    wanted = {"memory": isolation["memory"], "cpus": isolation["cpus"], "pids": isolation["pids"]}
    needed = bounds.controllers(**wanted)
    if not needed:
        return ()
    made: list[str] = []
    try:
        for hierarchy, controllers in _by_hierarchy(needed, "self").items():
            directory = _create(hierarchy, controllers, f"{_PREFIX}{sandbox['id'][:12]}")
            made.append(directory)
            files = bounds.files_of(hierarchy.version, **wanted)
            for controller in controllers:
                for name, text, required in files[controller]:
                    _write(f"{directory}/{name}", text, controller, required=required)
    except BaseException:
        remove(made)
        raise
    return tuple(made)


def join(directories: tuple[str, ...]) -> None:
    """Have this process be in the groups."""
    for directory in directories:
        try:
            with open(f"{directory}/cgroup.procs", "w") as file:
                file.write("0")
        except OSError as error:
            raise EnterFailed(f"entering the control group {directory}: {error.strerror}{_hint()}") from error


def groups_of(sandbox: Mapping[str, Any], pid: int) -> tuple[str, ...]:
    """Return the groups that bound the processes of *sandbox*, of which *pid* is one."""
    isolation = isolation_of(sandbox)
    needed = bounds.controllers(memory=isolation["memory"], cpus=isolation["cpus"], pids=isolation["pids"])
    return tuple(hierarchy.own for hierarchy in _by_hierarchy(needed, str(pid))) if needed else ()


def remove(directories: list[str] | tuple[str, ...]) -> None:
    """Remove groups whose processes have ended, or are just ending."""
    for directory in directories:
        for _ in range(_LOOKS):
            try:
                os.rmdir(directory)
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(_LOOK)
            else:
                break


def _by_hierarchy(needed: tuple[str, ...], process: str) -> dict[_Hierarchy, list[str]]:
    """Return the tree of each of the controllers *needed*, with the place of a *process* in it."""
    with open(f"/proc/{process}/cgroup") as file:
        places = [line.rstrip("\n").split(":", 2) for line in file]
    mounts = list(_mounts())
    found: dict[_Hierarchy, list[str]] = {}
    for controller in needed:
        hierarchy = _first(places, mounts, controller) or _second(places, mounts, controller)
        if hierarchy is None:
            raise EnterFailed(
                f"{_OPTIONS[controller]}: the controller {controller!r} of control groups is not to be had: no hierarchy below "
                "/sys/fs/cgroup has it"
            )
        found.setdefault(hierarchy, []).append(controller)
    return found


def _mounts() -> Iterator[tuple[str, str, str, list[str]]]:
    """Yield (type, root, place, options) of each hierarchy that is mounted (proc(5), mountinfo)."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split()
            dash = fields.index("-")
            if fields[dash + 1] in ("cgroup", "cgroup2"):
                yield fields[dash + 1], fields[3], fields[4], fields[dash + 3].split(",")


def _first(places: list[list[str]], mounts: list[tuple[str, str, str, list[str]]], controller: str) -> _Hierarchy | None:
    path = next((path for _, names, path in places if controller in names.split(",")), None)
    place = next(((root, top) for kind, root, top, options in mounts if kind == "cgroup" and controller in options), None)
    if path is None or place is None:
        return None
    return _Hierarchy(1, place[1], _directory(place[1], place[0], path))


def _second(places: list[list[str]], mounts: list[tuple[str, str, str, list[str]]], controller: str) -> _Hierarchy | None:
    path = next((path for number, names, path in places if number == "0" and not names), None)
    place = next(((root, top) for kind, root, top, _ in mounts if kind == "cgroup2"), None)
    if path is None or place is None or controller not in _words(f"{place[1]}/cgroup.controllers"):
        return None
    return _Hierarchy(2, place[1], _directory(place[1], place[0], path))


def _directory(top: str, root: str, path: str) -> str:
    below = path.removeprefix(root) if root != "/" else path
    return os.path.normpath(f"{top}/{below.lstrip('/')}")


def _words(path: str) -> list[str]:
    try:
        with open(path) as file:
            return file.read().split()
    except OSError:
        return []


def _create(hierarchy: _Hierarchy, controllers: list[str], name: str) -> str:
    if hierarchy.version == 1:
        parents = [hierarchy.own]
    else:
        above = list(_above(hierarchy))
        parents = [one for one in above if set(controllers) <= set(_words(f"{one}/cgroup.subtree_control"))]
        parents += [one for one in above if one not in parents and _hands_down(one, controllers)]
    reason = "no group above hands them down"
    for parent in parents:
        directory = f"{parent}/{name}"
        try:
            os.mkdir(directory)
        except FileExistsError:
            return directory
        except OSError as error:
            reason = f"{parent}: {error.strerror}"
            continue
        _sweep(parent, directory)
        return directory
    options = ", ".join(_OPTIONS[controller] for controller in controllers)
    raise EnterFailed(f"{options}: no control group can be made here (version {hierarchy.version}): {reason}{_hint(hierarchy.version)}")


def _hint(version: int = 2) -> str:
    if version == 1:
        return "; with version 1 only root can"
    return "; with systemd, `systemd-run --user --scope -p Delegate=yes berth run …` starts it where groups are this user's"


def _above(hierarchy: _Hierarchy) -> Iterator[str]:
    """Yield the group of the caller, and each one above."""
    directory = hierarchy.own
    while True:
        yield directory
        if directory == hierarchy.top or len(directory) <= len(hierarchy.top):
            return
        directory = os.path.dirname(directory)


def _hands_down(directory: str, controllers: list[str]) -> bool:
    """Return whether the group could be had to hand its controllers down: only one without processes can, or the root."""
    try:
        with open(f"{directory}/cgroup.subtree_control", "w") as file:
            file.write(" ".join(f"+{controller}" for controller in controllers))
    except OSError:
        return False
    return True


def _sweep(parent: str, own: str) -> None:
    """Remove groups next to *own* that are empty and were left when who made them was killed."""
    began = os.stat(own).st_mtime
    for name in os.listdir(parent):
        path = f"{parent}/{name}"
        if name.startswith(_PREFIX) and path != own:
            with contextlib.suppress(OSError):
                if began - os.stat(path).st_mtime > _ABANDONED:
                    # Refused while there is a process in it.
                    os.rmdir(path)


def _write(path: str, text: str, controller: str, *, required: bool) -> None:
    try:
        with open(path, "w") as file:
            file.write(text)
    except OSError as error:
        if required:
            raise EnterFailed(f"{_OPTIONS[controller]}: writing {text} to {path}: {error.strerror}") from error
