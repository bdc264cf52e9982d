"""What is to be said of the commands that are no click commands, from their tables of options. Pure."""

from __future__ import annotations

from resolver.cli import docker_options, list_options
from resolver.cli.reference.model import CommandHelp, OperandHelp, OptionHelp, Section
from resolver.cli.sandbox_options import COMMANDS, OPTIONS, Kind, Option, flags_of, help_flags, is_required, of_command

OWN = {command.name: command for command in (*COMMANDS, *list_options.COMMANDS)}
"""The commands without click: `run`, `exec`, `attach`, and the lists `ps`, `network ls`, `compose ls` and `compose ps`."""


def own_command(name: str) -> CommandHelp:
    """Return the command *name*, one of `OWN`. Needs no click, so that its help and completion are quick."""
    command = OWN[name]
    options = list_options.of_list(name) or of_command(name)
    return CommandHelp(
        path=f"berth {name}",
        usage=command.usage,
        summary=command.summary,
        description=command.description or None,
        operands=tuple(OperandHelp(metavar=metavar, completes=completes) for metavar, completes in command.operands),
        options=(
            *(_sandbox_option(option, name) for option in (*options, *map(docker_options.option_of, docker_options.accepted(name)))),
            OptionHelp(flags=help_flags(name), meaning="Show the help.", group="Help"),
        ),
        examples=command.examples,
        sections=(_network_keys(),) if name in ("run", "attach") else (),
    )


def _sandbox_option(option: Option, command: str) -> OptionHelp:
    return OptionHelp(
        flags=flags_of(option, command),
        meaning=option.meaning,
        metavar=None if option.kind is Kind.FLAG else option.metavar,
        default=None if is_required(option, command) else option.default,
        repeats=option.kind.repeats,
        required=is_required(option, command),
        group=option.group,
        completes=option.completes,
        docker=option.docker,
        compose=option.compose,
    )


def _network_keys() -> Section:
    rows = tuple((f"{option.key}={option.metavar}", option.meaning) for option in OPTIONS if option.key)
    return Section(title="Keys of --network NAME,key=value", rows=rows)
