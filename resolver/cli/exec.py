"""`berth exec`: one more command in a sandbox. Standard library only, so that it starts in 20 ms."""

from __future__ import annotations

import os

from resolver.cli import enter
from resolver.cli.client import find_sandbox
from resolver.cli.environment import explicit_environment
from resolver.cli.run import exit_code
from resolver.cli.sandbox_parser import arguments_of, usage_error, without_dashes


def main(arguments: list[str]) -> int:
    """Run `berth exec` *arguments* and return the exit code: the command's own, or 125 to 127 as Docker has them."""
    return exit_code(lambda: _exec(arguments))


def _exec(arguments: list[str]) -> int:
    values, operands = arguments_of("exec", arguments)
    if not operands:
        usage_error("exec", "a sandbox and a command are missing")
    name, *rest = operands
    command = without_dashes(rest)
    if not command:
        usage_error("exec", "a command is missing")
    sandbox = find_sandbox(name)
    environment = {**os.environ, **sandbox["environment"], **explicit_environment(values)}
    directory = values.get("workdir") or os.getcwd()
    return enter.join(sandbox, command, environment=environment, directory=directory, fall_back="workdir" not in values)
