"""How a command is declared: click's commands and options, with examples, options in groups, and modules loaded when they are used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import click

from resolver.cli.command_table import Row

HELP = {"help_option_names": ["-h", "--help"]}


class Command(click.Command):
    """A command with *examples*, whole command lines. Its help is that of `resolver.cli.reference`."""

    def __init__(self, *given: Any, examples: Sequence[str] = (), sections: Callable[[], Sequence[Any]] = tuple, **more: Any) -> None:
        super().__init__(*given, **more)
        self.examples = tuple(examples)
        self.sections = sections

    def get_help(self, ctx: click.Context) -> str:
        """Return the help, 80 columns wide."""
        from resolver.cli.reference.click_commands import command_help
        from resolver.cli.reference.text import page

        return page(command_help(self, ctx.command_path)).rstrip("\n")


class Group(click.Group):
    """A group of commands, each of which is imported when it is used. *rows*: what the group has."""

    def __init__(self, *given: Any, rows: Sequence[Row], **more: Any) -> None:
        super().__init__(*given, **more)
        self.summaries = {name: summary for name, summary, _ in rows}
        self._where = {name: where for name, _, where in rows}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all, in the order of the table."""
        return list(self._where)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command called *cmd_name*, None if there is none."""
        where = self._where.get(cmd_name)
        if where is None:
            return None
        module, _, attribute = where.partition(":")
        if not module:
            return _without_click(cmd_name, self.summaries[cmd_name])
        found: click.Command = getattr(import_module(f"resolver.cli.commands.{module}"), attribute)
        return found

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that *args* begin with; a word that is none is answered."""
        if not args[0].startswith("-") and args[0] not in self._where:
            from resolver.cli.commands.usage import unknown_command

            raise unknown_command(ctx, args, list(self._where))
        return super().resolve_command(ctx, args)

    def get_help(self, ctx: click.Context) -> str:
        """Return the help, 80 columns wide."""
        from resolver.cli.reference.click_commands import overview
        from resolver.cli.reference.text import page

        return page(overview(self, ctx.command_path)).rstrip("\n")


class Option(click.Option):
    """An option in a *group* of the help."""

    def __init__(self, *given: Any, group: str = "Options", **more: Any) -> None:
        super().__init__(*given, **more)
        self.group = group


def command(name: str | None = None, **more: Any) -> Callable[[Any], Command]:
    """Return the decorator that makes a function a command."""
    return click.command(name, cls=Command, context_settings={**HELP, **more.pop("context_settings", {})}, **more)


def group(name: str | None = None, *, rows: Sequence[Row]) -> Callable[[Any], Group]:
    """Return the decorator that makes a function a group of the commands *rows*."""
    return click.group(name, cls=Group, rows=rows, context_settings=HELP)


def option(*flags: str, **more: Any) -> Callable[[Any], Any]:
    """Return the decorator that adds an option; *group*: its heading in the help."""
    return click.option(*flags, cls=Option, **more)


def _without_click(name: str, summary: str) -> click.Command:
    """Return what stands in a list of commands for one that `resolver.cli.main` runs without click."""
    return click.Command(
        name,
        help=summary,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        add_help_option=False,
        context_settings={"ignore_unknown_options": True},
    )
