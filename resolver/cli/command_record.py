"""What `berth exec` and `berth inspect` have to know of the command of a sandbox: its variables and its directory.

Whoever starts the command leaves it in the file `command` in the sandbox's directory, for root only, as variables may hold secrets; the
admin API does not tell it. It goes with the directory. Standard library only.
"""

from __future__ import annotations

import os

from resolver.cli.whole_file import write_whole
from resolver.light import TYPE_CHECKING, NamedTuple, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_FILE = "command"


class CommandRecord(NamedTuple):
    """*variables*: those that were given for the command, over the caller's and those of the sandbox. *directory*: where it runs."""

    variables: dict[str, str]
    directory: str


def write(sandbox: Mapping[str, Any], variables: Mapping[str, str], directory: str) -> None:
    """Leave the record of the command that is started in *sandbox*."""
    write_whole(os.path.join(sandbox["directory"], _FILE), write_json({"variables": dict(variables), "directory": directory}))


def read(sandbox: Mapping[str, Any]) -> CommandRecord | None:
    """Return the record of the command of *sandbox*; None if berth has started none there, or it may not be read."""
    try:
        with open(os.path.join(sandbox["directory"], _FILE)) as file:
            told = read_json(file.read())
        return CommandRecord(dict(told["variables"]), str(told["directory"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
