"""The commands other than `run`, `exec`, `attach`, `ps` and `network ls`: click definitions, most of them one call of the admin API.

`resolver.cli.command_table` lists them with the module that each is in. A module is imported when its command is used: what `ps`
does not use, it does not wait for. `declare` has the classes of commands and options, `options` what several commands share.
"""

from __future__ import annotations

import click

from resolver.cli.command_table import DESCRIPTION, ROWS, SUMMARY
from resolver.cli.commands.declare import HELP, Group
from resolver.cli.outcome import outcome
from resolver.cli.output import complain


def main(arguments: list[str]) -> int:
    """Run the command of *arguments* and return its exit code: 0, 1 (refused or failed) or 2 (usage)."""
    # As with Docker, a bare --ipv6 means --ipv6=true, and a value is only taken behind "=".
    arguments = [f"{argument}=true" if argument in ("--ipv4", "--ipv6") else argument for argument in arguments]
    return outcome(lambda: _run(arguments))


def _run(arguments: list[str]) -> int:
    try:
        result = cli.main(args=arguments, prog_name="berth", standalone_mode=False)
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        from resolver.cli.commands.usage import usage_line

        complain(usage_line(error))
        return error.exit_code
    return result if isinstance(result, int) else 0


cli = Group("berth", rows=ROWS, help=f"{SUMMARY}\n\n{DESCRIPTION}", context_settings=HELP)
click.version_option(package_name="berth-net", prog_name="berth")(cli)
