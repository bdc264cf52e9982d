"""The commands other than `run`, `exec` and `attach`: click definitions, most of them one call of the admin API.

| commands | module |
|---|---|
| `ps`, `inspect`, `rm`, `rename`, `detach` | `sandboxes` (columns of `ps`: `PS_COLUMNS`) |
| `network` and its commands | `networks`; driver options in its help: `network_options` |
| `up`, `down` | `compose` |
| `resolve`, `cache` | `names` |
| `daemon`, `status`, `events`, `node` | `daemon` |
| `doctor` | `doctor` |
| `service` | `service` |
| `backup`, `restore` | `state` |
| `completion` | `completion` |

A new command goes into the module of its topic, and `_COMMANDS` lists it.
"""

from __future__ import annotations

import difflib

import click

from resolver.cli.client import Refused
from resolver.cli.commands import completion, compose, daemon, doctor, names, networks, sandboxes, service, state
from resolver.cli.output import complain
from resolver.cli.sandbox_options import COMMANDS, Command
from resolver.cli.sandbox_parser import CLOSE
from resolver.printable import printable

_COMMANDS = (
    compose.up, compose.down,
    sandboxes.ps, sandboxes.inspect, sandboxes.rm, sandboxes.rename, sandboxes.detach,
    networks.network,
    names.resolve, names.cache,
    daemon.daemon, daemon.status, daemon.events, daemon.node, doctor.doctor, service.service,
    state.backup, state.restore, completion.completion,
)  # fmt: skip


def main(arguments: list[str]) -> int:
    """Run the command of *arguments* and return its exit code: 0, 1 (refused or failed) or 2 (usage)."""
    # As with Docker, a bare --ipv6 means --ipv6=true, and a value is only taken behind "=".
    arguments = [f"{argument}=true" if argument in ("--ipv4", "--ipv6") else argument for argument in arguments]
    try:
        result = cli.main(args=arguments, prog_name="berth", standalone_mode=False)
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        _drop_far_suggestions(error)
        vars(error)["message"] = printable(error.message)
        error.show()
        return error.exit_code
    except (Refused, BrokenPipeError) as error:
        if isinstance(error, Refused):
            complain(error)
        return 1
    except KeyboardInterrupt:
        return 130
    return result if isinstance(result, int) else 0


def _drop_far_suggestions(error: click.ClickException) -> None:
    """Leave only suggestions that are a slip of the keyboard away: click proposes `status` for `restart`."""
    given = getattr(error, "command_name", None) or getattr(error, "option_name", None)
    if given and getattr(error, "possibilities", None):
        vars(error)["possibilities"] = difflib.get_close_matches(given, error.possibilities, cutoff=CLOSE)  # type: ignore[attr-defined]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="berth-net", prog_name="berth")
def cli() -> None:
    """Docker's container networking for any process.

    berth gives processes networks, addresses, names, a gateway and published ports. The admin socket is
    $BERTH_RUN_DIR/berth.sock, /run/berth/berth.sock by default.
    """


def _without_click(command: Command) -> click.Command:
    """Return what the list of commands shows of *command*; `resolver.cli.main` runs it without click."""
    return click.Command(
        command.name,
        help=command.summary,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        add_help_option=False,
        context_settings={"ignore_unknown_options": True},
    )


for _command in COMMANDS:
    cli.add_command(_without_click(_command))
for _click_command in _COMMANDS:
    cli.add_command(_click_command)
