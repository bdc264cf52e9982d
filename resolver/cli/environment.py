"""The environment that `--env` and `--env-file` give a command."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from resolver.cli.client import Refused


def explicit_environment(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables of `--env-file`, then those of `--env`. A name without a value has the caller's, if there is one."""
    variables: dict[str, str] = {}
    for path in values.get("env_file", ()):
        try:
            with open(path) as file:
                lines = [line.strip() for line in file]
        except OSError as error:
            raise Refused(f"--env-file {path}: {error.strerror}") from error
        for line in lines:
            if line and not line.startswith("#"):
                variables.update(_variable(line))
    for text in values.get("env", ()):
        variables.update(_variable(text))
    return variables


def _variable(text: str) -> dict[str, str]:
    key, equals, value = text.partition("=")
    if equals:
        return {key: value}
    return {key: os.environ[key]} if key in os.environ else {}
