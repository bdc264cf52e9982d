"""Relative paths of a tree, made absolute. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from resolver.cli.compose.tree import Located, Rules, change

_REMOTE = ("https://", "http://", "git://", "ssh://", "github.com/", "git@")
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def absolute(path: str, directory: str, home: str) -> str:
    """Return *path*, which is relative to *directory*; `~` is *home*."""
    if path.startswith("~"):
        path = posixpath.join(home, path[1:].lstrip("/"))
    return path if path.startswith("/") else posixpath.normpath(posixpath.join(directory, path))


def make_absolute(tree: Located, directory: str, home: str) -> None:
    """Make the paths in *tree*, which is canonical, absolute; they are relative to *directory*."""
    change(tree, _rules(directory, home))


@lru_cache(maxsize=64)
def _rules(directory: str, home: str) -> Rules[Callable[[Any], Any]]:
    def path(value: Any) -> Any:
        return absolute(value, directory, home) if isinstance(value, str) and value else value

    def mount(value: Any) -> Any:
        """Leave what is absolute on Windows alone."""
        return value if isinstance(value, str) and _WINDOWS.match(value) else path(value)

    def context(value: Any) -> Any:
        return value if not isinstance(value, str) or "://" in value or value.startswith(("service:", *_REMOTE)) else path(value)

    def volume(value: Any) -> Any:
        if isinstance(value, dict) and value.get("type") == "bind":
            if "source" not in value:
                raise ValueError("a bind mount must have a source")
            value["source"] = mount(value["source"])
        return value

    def driver_options(value: Any) -> Any:
        options = value.get("driver_opts") if isinstance(value, dict) and value.get("driver") == "local" else None
        if isinstance(options, dict) and options.get("o") == "bind" and "device" in options:
            options["device"] = mount(options["device"])
        return value

    rules: dict[str, Callable[[Any], Any]] = {
        "services.*.build.context": context,
        "services.*.build.additional_contexts.*": context,
        "services.*.build.ssh.*": mount,
        "services.*.env_file.*.path": path,
        "services.*.label_file.*": path,
        "services.*.extends.file": path,
        "services.*.develop.watch.*.path": path,
        "services.*.volumes.*": volume,
        "configs.*.file": mount,
        "secrets.*.file": mount,
        "volumes.*": driver_options,
    }
    return Rules(rules)
