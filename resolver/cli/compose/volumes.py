"""The short form of a service's volume: `[SOURCE:]TARGET[:OPTIONS]`. Pure."""

from __future__ import annotations

import posixpath
from typing import Any

from resolver.cli.compose.tree import Located

_PROPAGATIONS = ("rprivate", "private", "rshared", "shared", "rslave", "slave")


def target_of(text: str) -> str:
    """Return where the volume *text* is mounted; ValueError if it is malformed."""
    return str(volume_of(text).get("target", ""))


def clean(path: str) -> str:
    """Return *path* without `.`, `..` and double slashes, as far as they lead nowhere."""
    made = posixpath.normpath(path)
    return f"/{made.lstrip('/')}" if made.startswith("/") else made


def volume_of(text: str) -> Located:
    """Return the volume *text* in its long form; ValueError if it is malformed."""
    if not text:
        raise ValueError("a volume must not be empty")
    if len(text) <= 2:
        return Located({"type": "volume", "target": text})
    source, target, options = _sections(text)
    volume = Located({"type": "bind" if _is_path(source) else "volume"})
    if source:
        volume["source"] = source
    if target:
        volume["target"] = clean(target)
    bind: dict[str, Any] = {}
    mount: dict[str, Any] = {}
    for option in options:
        match option:
            case "ro":
                volume["read_only"] = True
            case "rw":
                volume.pop("read_only", None)
            case "nocopy":
                mount = {"nocopy": True}
            case "z" | "Z":
                bind["selinux"] = option
            case _ if option in _PROPAGATIONS:
                bind["propagation"] = option
    if volume["type"] == "bind":
        bind["create_host_path"] = True
    if bind:
        volume["bind"] = Located(bind)
    if mount or volume["type"] == "volume":
        volume["volume"] = Located(mount)
    return volume


def _sections(text: str) -> tuple[str, str, list[str]]:
    """Return source, target and options; a colon behind a single letter is that of a Windows drive."""
    parts: list[str] = []
    part = ""
    for character in f"{text}\0":
        if character == ":" and len(part) == 1 and part.isalpha():
            part += character
        elif character in ":\0":
            if not part:
                raise ValueError(f"volume {text!r} has nothing between two colons, or at an end")
            parts.append(part)
            part = ""
        else:
            part += character
    if len(parts) > 3:
        raise ValueError(f"volume {text!r} has too many colons")
    if len(parts) == 1:
        return "", parts[0], []
    return parts[0], parts[1], parts[2].split(",") if len(parts) == 3 else []


def _is_path(source: str) -> bool:
    return source.startswith((".", "/", "~", "\\\\")) or (source[1:2] == ":" and source[0].isalpha())
