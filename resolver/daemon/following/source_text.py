"""What a sandbox follows, as the user writes it: `podman:web`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from netcore.errors import InvalidRequest


class Kind(StrEnum):
    """What tells the pid."""

    PODMAN = "podman"
    DOCKER = "docker"
    CONTAINERD = "containerd"
    SYSTEMD = "systemd"
    MACHINE = "machine"
    PIDFILE = "pidfile"


_FORMS = {
    Kind.PODMAN: "podman:CONTAINER",
    Kind.DOCKER: "docker:CONTAINER",
    Kind.CONTAINERD: "containerd:NAMESPACE/ID",
    Kind.SYSTEMD: "systemd:UNIT",
    Kind.MACHINE: "machine:NAME",
    Kind.PIDFILE: "pidfile:PATH",
}
_UNIT_TYPES = ("service", "socket", "mount", "swap", "scope")
"""Types of units that have processes (systemd.unit(5))."""
_CONTAINER_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
"""What Docker and Podman take as the name of a container."""


@dataclass(frozen=True, slots=True)
class Source:
    """*name*: of a container, a unit or a machine; `NAMESPACE/ID`; or an absolute path."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


def parse(text: str) -> Source:
    """Return what *text* names; InvalidRequest says what would be right."""
    word, colon, name = text.partition(":")
    if not colon or word not in set(Kind):
        raise InvalidRequest("follow", f"{text!r:.100} is not one of {', '.join(_FORMS.values())}")
    kind = Kind(word)
    reason = _what_is_wrong(kind, name)
    if reason is not None:
        raise InvalidRequest("follow", f"{text!r:.100} is not like {_FORMS[kind]}: {reason}")
    if kind is Kind.SYSTEMD and name.rpartition(".")[2] not in _UNIT_TYPES:
        name = f"{name}.service"
    return Source(kind, name)


def _what_is_wrong(kind: Kind, name: str) -> str | None:
    if not name or not name.isprintable() or name.startswith("-"):
        return "a name is missing" if not name else "it begins with a dash" if name.startswith("-") else "it must be one line"
    match kind:
        case Kind.PIDFILE:
            return None if PurePosixPath(name).is_absolute() else "the path must be absolute"
        case Kind.CONTAINERD:
            parts = name.split("/")
            if len(parts) != 2 or not all(part.strip(".") for part in parts):
                return "give containerd's namespace and the id of the container, as in default/web"
            return None
        case Kind.PODMAN | Kind.DOCKER:
            is_name = _CONTAINER_NAME.fullmatch(name) is not None
            return None if is_name else "the name of a container begins with a letter or digit, and has only these, _ . and -"
        case _:
            return "there is a slash in it" if "/" in name else None
