"""What is to be said of a click command, from its declaration."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from resolver.cli.reference.model import CommandHelp, OperandHelp, OptionHelp
from resolver.cli.reference.own import OWN, own_command


def command_help(command: Any, path: str) -> CommandHelp:
    """Return what is to be said of the click *command* that is typed as *path*, and of the commands of a group."""
    import click

    name = path.removeprefix("berth ")
    if name in OWN:
        return own_command(name)
    return _group(command, path) if isinstance(command, click.Group) else _command(command, path)


def overview(group: Any, path: str) -> CommandHelp:
    """Return what is to be said of the click *group* that is typed as *path*, and of its commands the summaries. None is imported."""
    import click

    summary, description = _texts(group)
    return CommandHelp(
        path=path,
        usage=f"{path} COMMAND",
        summary=summary,
        description=description,
        options=_options(group, click.Context(group, info_name=path, **group.context_settings)),
        commands=tuple(CommandHelp(path=f"{path} {name}", usage="", summary=inner) for name, inner in group.summaries.items()),
        examples=group.examples,
    )


def _group(group: Any, path: str) -> CommandHelp:
    import click

    context = click.Context(group, info_name=path)
    commands = tuple(command_help(group.get_command(context, name), f"{path} {name}") for name in group.list_commands(context))
    return replace(overview(group, path), commands=commands)


def _command(command: Any, path: str) -> CommandHelp:
    import click

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
        examples=getattr(command, "examples", ()),
        sections=tuple(getattr(command, "sections", tuple)()),
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
                group=getattr(parameter, "group", "Options"),
                choices=tuple(map(str, getattr(parameter.type, "choices", ()))),
                completes=parameter.type.name if takes_value else None,
            )
        )
    return tuple(result)
