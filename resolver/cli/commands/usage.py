"""Wrong usage of a click command, said in one line: what is wrong, what would be right, where to read more."""

from __future__ import annotations

from collections.abc import Sequence

import click

from resolver.cli.docker_words import ANSWERS, OTHER_OPTION_ANSWERS, spellings, words_of
from resolver.cli.words import nearest


class Answered(click.UsageError):
    """A word that has an answer of its own, which says what to do."""


def unknown_command(ctx: click.Context, words: Sequence[str], known: Sequence[str]) -> click.UsageError:
    """Return what is raised for *words*, of which the first is no command of the group of *ctx*; *known*: those that are."""
    path, word = ctx.command_path, words[0]
    if path == "berth":
        if word in ("container", "system") and len(words) > 1:
            path, word, known = f"berth {word}", words[1], words_of(word)
        if word in ANSWERS:
            return Answered(f"{word}: {ANSWERS[word]}")
        if path == "berth":
            known = (*known, *spellings())
    return click.UsageError(f"there is no command {path} {word}{nearest(word, known)}", ctx)


def usage_line(error: click.ClickException) -> str:
    """Return what is said of *error*."""
    if isinstance(error, Answered):
        return error.format_message()
    path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx is not None else "berth"
    return f"{_what(error, path)}; see `{path} --help`"


def _what(error: click.ClickException, path: str) -> str:
    match error:
        case click.NoSuchOption(option_name=name) if name in OTHER_OPTION_ANSWERS.get(path, ()):
            return f"there is no option {name}: {OTHER_OPTION_ANSWERS[path][name]}"
        case click.NoSuchOption(option_name=name):
            known = [flag for parameter in error.ctx.command.params for flag in parameter.opts] if error.ctx is not None else []
            return f"there is no option {name}{nearest(name, known)}"
        case click.MissingParameter(param=click.Argument() as operand):
            return f"{operand.make_metavar(error.ctx or click.Context(click.Command('x'))).rstrip('.')} is missing"
    text = error.format_message().rstrip(".")
    return text[:1].lower() + text[1:]
