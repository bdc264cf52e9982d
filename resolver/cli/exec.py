"""`berth exec`: one more command in a sandbox. Standard library only, so that it starts in 20 ms."""

from __future__ import annotations

from resolver.cli import entering
from resolver.cli.client import find_sandbox
from resolver.cli.environment import explicit_environment, inherited
from resolver.cli.outcome import usage_error
from resolver.cli.run import check_streams, descriptors_of, exit_code, has_options, without_dashes
from resolver.light import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any


def main(arguments: list[str]) -> int:
    """Run `berth exec` *arguments* and return the exit code: the command's own, or 125 to 127 as Docker has them."""
    return exit_code(lambda: _exec(arguments))


def _load() -> None:
    """Have everything there that enters a sandbox. The daemon tells of it meanwhile."""
    from resolver.cli import command_record, enter  # noqa: F401


def _exec(arguments: list[str]) -> int:
    values: dict[str, Any] = {}
    operands = without_dashes(arguments)
    if has_options(arguments):
        from resolver.cli.sandbox_parser import arguments_of

        values, operands = arguments_of("exec", arguments)
    if not operands:
        usage_error("exec", "a sandbox and a command are missing")
    name, *rest = operands
    command = without_dashes(rest)
    if not command:
        usage_error("exec", "a command is missing")
    from resolver.numbers import whole_number

    index = values.get("index", "1")
    number = whole_number(index, 1, 1_000_000)
    if number is None:
        usage_error("exec", f"--index must be a number from 1 on, not {index!r}")
    check_streams("exec", values)
    entering.check_privilege()
    sandbox = find_sandbox(name, project=values.get("project"), index=number, meanwhile=_load)
    from resolver.cli import command_record, enter
    from resolver.cli.rights import rights_of
    from resolver.isolation.told import isolation_of

    descriptors = descriptors_of("exec", values)
    given_rights = rights_of(sandbox, user=values.get("user"), privileged=bool(values.get("privileged")), descriptors=descriptors)
    caller = inherited(everything=bool(values.get("env_all")), user=values.get("user", isolation_of(sandbox)["user"]))
    record = command_record.read(sandbox)
    given = {} if record is None else record.variables
    asked = values.get("workdir")
    of_sandbox = None if record is None or asked is not None else entering.WorkingDirectory(record.directory, False)
    return enter.join(
        sandbox,
        command,
        environment={**caller, **sandbox["environment"], **given, **explicit_environment(values)},
        directory=of_sandbox or entering.working_directory(asked),
        given=given_rights,
        detached=values.get("detach", False),
    )
