"""How a command is declared: click's commands and options, with examples, options in groups, and modules loaded when they are used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
        self._habits_of: str | None = None

    def accept_habits(self, path: str) -> None:
        """Give the command, which is typed as *path*, the options of docker that ask for what is so anyway."""
        if self._habits_of is not None:
            return
        from resolver.cli.docker_options import GROUP, accepted

        self._habits_of = path
        for habit in accepted(path):
            self.params.append(
                Option(
                    habit.flags, is_flag=habit.metavar is None, metavar=habit.metavar, help=habit.meaning, group=GROUP, expose_value=False
                )
            )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read *args*; as with Docker, an option without a value may have one behind `=`, true or false."""
        return super().parse_args(ctx, list(_without_truth(self, args)))

    def get_help(self, ctx: click.Context) -> str:
        """Return the help, 80 columns wide."""
        from resolver.cli.reference.click_commands import command_help
        from resolver.cli.reference.text import page

        return page(command_help(self, ctx.command_path)).rstrip("\n")


def _without_truth(command: Command, args: Sequence[str]) -> Iterator[str]:
    """Yield *args* with `--flag=true` as `--flag`, and without `--flag=false`, where *command* takes its options."""
    flags = {flag for parameter in command.params if isinstance(parameter, click.Option) and parameter.is_flag for flag in parameter.opts}
    words = iter(args)
    for word in words:
        flag, equals, value = word.partition("=")
        if word == "--" or (not word.startswith("-") and not command.allow_interspersed_args):
            yield word
            break
        if equals and flag in flags and value.lower() in ("true", "t", "1"):
            yield flag
        elif not (equals and flag in flags and value.lower() in ("false", "f", "0")):
            yield word
    yield from words


class Group(click.Group):
    """A group of commands, each of which is imported when it is used. *rows*: what the group has; *examples*: whole command lines."""

    def __init__(self, *given: Any, rows: Sequence[Row], examples: Sequence[str] = (), **more: Any) -> None:
        super().__init__(*given, **more)
        self.examples = tuple(examples)
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
        if isinstance(found, Command):
            found.accept_habits(cmd_name if self.name == "berth" else f"{self.name} {cmd_name}")
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


def group(name: str | None = None, *, rows: Sequence[Row], examples: Sequence[str] = ()) -> Callable[[Any], Group]:
    """Return the decorator that makes a function a group of the commands *rows*; *examples*: whole command lines."""
    return click.group(name, cls=Group, rows=rows, examples=examples, context_settings=HELP)


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
