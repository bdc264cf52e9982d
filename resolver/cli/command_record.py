"""What `berth exec` and `berth inspect` have to know of the command of a sandbox: its variables and its directory.

Whoever starts the command leaves it in the file `command` in the sandbox's directory, for root only, as variables may hold secrets; the
admin API does not tell it. It goes with the directory. Standard library only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from resolver.cli.whole_file import write_whole

_FILE = "command"


class CommandRecord(NamedTuple):
    """*variables*: those that were given for the command, over the caller's and those of the sandbox. *directory*: where it runs."""

    variables: dict[str, str]
    directory: str


def write(sandbox: Mapping[str, Any], variables: Mapping[str, str], directory: str) -> None:
    """Leave the record of the command that is started in *sandbox*."""
    write_whole(os.path.join(sandbox["directory"], _FILE), json.dumps({"variables": dict(variables), "directory": directory}))


def read(sandbox: Mapping[str, Any]) -> CommandRecord | None:
    """Return the record of the command of *sandbox*; None if berth has started none there, or it may not be read."""
    try:
        with open(os.path.join(sandbox["directory"], _FILE)) as file:
            told = json.load(file)
        return CommandRecord(dict(told["variables"]), str(told["directory"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
