"""`berth exec`: one more command in a sandbox. Standard library only, so that it starts in 20 ms."""

from __future__ import annotations

import os

from resolver.cli import command_record, enter
from resolver.cli.client import find_sandbox
from resolver.cli.environment import explicit_environment
from resolver.cli.run import check_streams, exit_code
from resolver.cli.sandbox_parser import arguments_of, usage_error, without_dashes
from resolver.numbers import whole_number


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
    index = values.get("index", "1")
    number = whole_number(index, 1, 1_000_000)
    if number is None:
        usage_error("exec", f"--index must be a number from 1 on, not {index!r}")
    check_streams("exec", values)
    enter.check_privilege()
    sandbox = find_sandbox(name, project=values.get("project"), index=number)
    identity = _identity(values.get("user"))
    home = {"HOME": identity.home} if identity is not None and identity.home else {}
    record = command_record.read(sandbox)
    given = {} if record is None else record.variables
    asked = values.get("workdir")
    of_sandbox = None if record is None or asked is not None else enter.WorkingDirectory(record.directory, False)
    return enter.join(
        sandbox,
        command,
        environment={**os.environ, **home, **sandbox["environment"], **given, **explicit_environment(values)},
        directory=of_sandbox or enter.working_directory(asked),
        identity=identity,
        detached=values.get("detach", False),
    )


def _identity(text: str | None) -> enter.Identity | None:
    """Return what `--user USER[:GROUP]` means, names being those of the host; None if it was not given."""
    if text is None:
        return None
    from resolver.cli.users import identity_of

    return identity_of(text)
