"""Which project `berth compose` means: the options before its command, and what they select."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from resolver.cli.client import Refused
from resolver.cli.compose_options import FALSE

SELECTION = {
    "--file": "files", "--profile": "profiles", "--env-file": "env_files", "--project-name": "project_name",
    "--project-directory": "project_directory", "--workdir": "project_directory", "--compatibility": "compatibility",
    "--all-resources": "all_resources",
}  # fmt: skip
"""Options before the command → the field of a `Selection` that has the value of each."""
SEVERAL = ("--file", "--profile", "--env-file")
FLAGS = ("--compatibility", "--all-resources")

Given = Mapping[str, tuple[str, ...]]
"""Options before the command, by their long names."""


def selection_of(given: Given) -> Any:
    """Return the `Selection` that the options *given* mean."""
    from resolver.cli.up.project_file import Selection

    fields: dict[str, Any] = {}
    for flag, field in SELECTION.items():
        if flag in given:
            values = given[flag]
            fields[field] = values if flag in SEVERAL else values[-1] not in FALSE if flag in FLAGS else values[-1]
    return Selection(**fields)


def project_of(given: Given) -> str:
    """Return the project that the options *given* mean: by its name, or by its files as `berth up` reads them."""
    name = given.get("--project-name", ("",))[-1] or os.environ.get("COMPOSE_PROJECT_NAME")
    if name:
        return name
    from resolver.cli.compose.sources import Steps
    from resolver.cli.up.project_file import read_project

    try:
        return read_project(selection_of(given), Steps(reads_env_files=False))[0].name
    except Refused as error:
        # Where no file was found; what is wrong in one is said as it is.
        raise Refused(f"{error}, or the project with -p" if str(error).endswith("with -f") else str(error)) from error
