"""One description of all commands, from the table of sandbox options and from the click commands."""

from __future__ import annotations

from typing import Any

from resolver.cli.reference.model import CommandHelp, OperandHelp, OptionHelp, Section
from resolver.cli.sandbox_options import COMMANDS, OPTIONS, Kind, Option, flags_of, help_flags, is_required, of_command

HELP_SECTIONS = (
    Section(
        title="Exit status",
        rows=(
            ("0", "Success."),
            ("1", "Refused or failed."),
            ("2", "Wrong usage."),
            ("125 to 127", "Of run and exec: berth failed (125), the command can't be executed (126) or was not found (127)."),
            ("other", "Of run and exec: the command's own exit status, 128 + n after signal n."),
        ),
    ),
    Section(
        title="Environment",
        rows=(
            ("BERTH_RUN_DIR", "Directory of the daemon's socket, berth.sock; /run/berth by default."),
            ("BERTH_STATE_DIR", "Directory of the daemon's state; /var/lib/berth by default."),
            ("BERTH_CONFIG", "Configuration file of the daemon; /etc/berth/berth.toml by default."),
            ("COMPOSE_PROJECT_NAME", "Name of the project of up and down."),
            ("COMPOSE_PROFILES", "Profiles that up starts, separated by commas."),
        ),
    ),
)


def sandbox_commands() -> tuple[CommandHelp, ...]:
    """Return run, exec and attach. Needs no click, so that their completion is quick."""
    return tuple(sandbox_command(command.name) for command in COMMANDS)


def sandbox_command(name: str) -> CommandHelp:
    """Return the command *name*, one of run, exec, attach."""
    command = next(command for command in COMMANDS if command.name == name)
    return CommandHelp(
        path=f"berth {name}",
        usage=command.usage,
        summary=command.summary,
        description=command.description,
        operands=tuple(OperandHelp(metavar=metavar, completes=completes) for metavar, completes in command.operands),
        options=(
            *(_sandbox_option(option, name) for option in of_command(name)),
            OptionHelp(flags=help_flags(name), meaning="Show the help.", group="Help"),
        ),
        sections=() if name == "exec" else (_network_keys(),),
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


def tree() -> CommandHelp:
    """Return `berth` with all its commands."""
    from resolver.cli import commands

    root = _group(commands.cli, "berth")
    own = {command.name: command for command in sandbox_commands()}
    return CommandHelp(
        path=root.path,
        usage=root.usage,
        summary=root.summary,
        description=root.description,
        options=root.options,
        commands=tuple(own.get(command.name, command) for command in root.commands),
        sections=HELP_SECTIONS,
    )


def _group(group: Any, path: str) -> CommandHelp:
    import click

    context = click.Context(group, info_name=path, **group.context_settings)
    commands = []
    for name, command in group.commands.items():
        inner = f"{path} {name}"
        commands.append(_group(command, inner) if isinstance(command, click.Group) else _command(command, inner))
    summary, description = _texts(group)
    return CommandHelp(
        path=path,
        usage=f"{path} COMMAND",
        summary=summary,
        description=description,
        options=_options(group, context),
        commands=tuple(commands),
    )


def _command(command: Any, path: str) -> CommandHelp:
    import click

    from resolver.cli.commands import network_options

    context = click.Context(command, info_name=path, help_option_names=["-h", "--help"])
    summary, description = _texts(command)
    operands = [parameter for parameter in command.params if isinstance(parameter, click.Argument)]
    options = _options(command, context)
    shown = " ".join(["[OPTIONS]", *(operand.make_metavar(context) for operand in operands)])
    return CommandHelp(
        path=path,
        usage=f"{path} {shown}",
        summary=summary,
        description=description,
        operands=tuple(
            OperandHelp(
                metavar=operand.make_metavar(context),
                repeats=operand.nargs == -1,
                choices=tuple(map(str, getattr(operand.type, "choices", ()))),
                completes=operand.type.name,
            )
            for operand in operands
        ),
        options=options,
        sections=network_options.sections() if path == "berth network create" else (),
    )


def _texts(command: Any) -> tuple[str, str | None]:
    """Return the summary and the description in the help of a click command, each on one line."""
    summary, _, description = (command.help or "").partition("\n\n")
    return " ".join(summary.split()), " ".join(description.split()) or None


def _options(command: Any, context: Any) -> tuple[OptionHelp, ...]:
    import click

    result = []
    for parameter in command.get_params(context):
        if not isinstance(parameter, click.Option):
            continue
        takes_value = not parameter.is_flag
        default = parameter.default if parameter.show_default else None
        result.append(
            OptionHelp(
                flags=tuple(sorted((*parameter.opts, *parameter.secondary_opts), key=len)),
                meaning=parameter.help or "",
                metavar=parameter.make_metavar(context) if takes_value else None,
                default=str(default) if takes_value and default is not None else None,
                repeats=parameter.multiple,
                required=parameter.required,
                choices=tuple(map(str, getattr(parameter.type, "choices", ()))),
                completes=parameter.type.name if takes_value else None,
            )
        )
    return tuple(result)
