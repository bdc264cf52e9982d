"""Compose projects in memory: what the reading is handed in place of the disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from resolver.cli.compose import ComposeError, Reading, Request, project_of, read
from resolver.cli.compose.project import Project
from resolver.cli.compose.tree import Problem

DIRECTORY = "/case"


class Memory:
    """`Files` from texts by their paths below DIRECTORY; `stdin` is the standard input."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = {"-" if path == "stdin" else f"{DIRECTORY}/{path}": text for path, text in files.items()}

    def read(self, path: str) -> str:
        """Return the text at *path*."""
        if path not in self._files:
            raise ComposeError(Problem(None, f"{path}: No such file or directory"))
        return self._files[path]

    def is_file(self, path: str) -> bool:
        """Return whether there is a file at *path*."""
        return path in self._files

    def is_directory(self, path: str) -> bool:
        """Return whether there are files below *path*."""
        return any(name.startswith(f"{path}/") for name in self._files)


def reading(texts: Mapping[str, str] | str, warn: Callable[[str], None] = lambda _: None, **asked: Any) -> Reading:
    """Return the reading of *texts*, or of one text as compose.yaml. *asked*: fields of `Request`."""
    files = {"compose.yaml": texts} if isinstance(texts, str) else texts
    return read(Request(**{"directory": DIRECTORY, "environment": {}} | asked), Memory(files), warn)


def project(texts: Mapping[str, str] | str, **asked: Any) -> Project:
    """Return the project of *texts*, as `reading` does."""
    return project_of(reading(texts, **asked))
