"""What the reading of files needs to know: where it is, which variables there are, who is warned. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from resolver.cli.compose.documents import Budget, Document, documents
from resolver.cli.compose.interpolate import Variable
from resolver.cli.compose.sources import EVERY_STEP, STDIN, Files, Steps


@dataclass(frozen=True, kw_only=True)
class Context:
    """*directory*: of the project; *current*: that of the user; *environment*: the variables; *home*: what `~` stands for.

    *steps*: those that are done. *asked*: is given the variables that the files ask for.
    """

    files: Files
    directory: str
    current: str
    environment: Mapping[str, str]
    home: str
    budget: Budget
    warn: Callable[[str], None]
    steps: Steps = EVERY_STEP
    asked: dict[str, Variable] = field(default_factory=dict)
    _peeked: dict[str, list[Document]] = field(default_factory=dict)

    def label(self, path: str) -> str:
        """Return how *path* is called in messages: from the current directory, if it is below."""
        if path == STDIN:
            return "standard input"
        below = posixpath.relpath(path, self.current)
        return path if below.startswith("..") else below

    def peek(self, path: str) -> list[Document]:
        """Return the documents of the file *path*, for one who changes nothing in them."""
        if path not in self._peeked:
            self._peeked[path] = self.documents(path)
        return self._peeked[path]

    def documents(self, path: str) -> list[Document]:
        """Return the documents of the file *path*, for one who may change them."""
        peeked = self._peeked.pop(path, None)
        return list(documents(self.files.read(path), self.label(path), self.budget)) if peeked is None else peeked
