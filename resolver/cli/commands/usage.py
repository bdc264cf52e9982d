"""Wrong usage of a click command, said in one line: what is wrong, what would be right, where to read more."""

from __future__ import annotations

import re
from collections.abc import Sequence

import click

from resolver.cli import docker_options
from resolver.cli.docker_words import ANSWERS, GROUP_ANSWERS, SYNONYMS, spellings, words_of
from resolver.cli.words import nearest


class Answered(click.UsageError):
    """A word that has an answer of its own, which says what to do."""


def unknown_command(ctx: click.Context, words: Sequence[str], known: Sequence[str]) -> click.UsageError:
    """Return what is raised for *words*, of which the first is no command of the group of *ctx*; *known*: those that are."""
    path, word = ctx.command_path, words[0]
    if path == "berth" and word in ("container", "system") and len(words) > 1:
        path, word, known = f"berth {word}", words[1], words_of(word)
    group = path.removeprefix("berth").strip()
    of_group = GROUP_ANSWERS.get(group, {})
    if word in of_group:
        return Answered(f"{group} {word}: {of_group[word]}")
    if group in ("", "container", "system") and word in ANSWERS:
        return Answered(f"{word}: {ANSWERS[word]}")
    if not group:
        known = (*known, *spellings())
    if SYNONYMS.get(word) in known:
        return click.UsageError(f"there is no command {path} {word}; did you mean {SYNONYMS[word]}?", ctx)
    return click.UsageError(f"there is no command {path} {word}{nearest(word, known)}", ctx)


def usage_line(error: click.ClickException) -> str:
    """Return what is said of *error*."""
    if isinstance(error, Answered):
        return error.format_message()
    path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx is not None else "berth"
    return f"{_what(error, path)}; see `{path} --help`"


def _what(error: click.ClickException, path: str) -> str:
    match error:
        case click.NoSuchOption(option_name=name):
            answer = docker_options.answer(path.removeprefix("berth").strip(), name)
            if answer:
                return f"there is no option {name}: {answer}"
            known = [flag for parameter in error.ctx.command.params for flag in parameter.opts] if error.ctx is not None else []
            return f"there is no option {name}{nearest(name, known)}"
        case click.MissingParameter(param=click.Argument() as operand):
            return f"{operand.make_metavar(error.ctx or click.Context(click.Command('x'))).rstrip('.')} is missing"
        case click.BadParameter(param=click.Parameter() as parameter):
            return _bad_value(parameter, error.message)
    text = error.format_message().rstrip(".")
    # A name in capitals stays as it is.
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


_VALUE = re.compile(r"'(?P<text>.*)' is not |(?P<number>[-+.\w]+) is not ", re.DOTALL)
"""How click begins to say that a value is none of its kind."""


def _bad_value(parameter: click.Parameter, said: str) -> str:
    """Return what is said of a value that is none of the kind that *parameter* has; *said*: by click."""
    name = max(parameter.opts, key=len) if isinstance(parameter, click.Option) else str(parameter.name)
    found = _VALUE.match(said)
    wanted = _wanted(parameter)
    if found is None or not wanted:
        return f"{name}: {said[:1].lower()}{said[1:].rstrip('.')}"
    value = found["text"] if found["text"] is not None else found["number"].removesuffix(".0")
    choices = [str(choice) for choice in getattr(parameter.type, "choices", ())]
    return f"{name} {value}: it should be {wanted}{nearest(value, choices) if len(choices) > 1 else ''}"


def _wanted(parameter: click.Parameter) -> str:
    """Return what a value of *parameter* should be; "" if its type does not tell."""
    kind = parameter.type
    match kind:
        case click.Choice(choices=[only]):
            return str(only)
        case click.Choice(choices=[*choices, last]):
            return f"{', '.join(map(str, choices))} or {last}"
        case click.types.BoolParamType():
            return "true or false"
        case click.types.FloatParamType() | click.types.IntParamType():
            number = "a number of seconds" if parameter.metavar == "SECONDS" else "a whole number"
            if isinstance(kind, click.types.FloatParamType) and parameter.metavar != "SECONDS":
                number = "a number"
            return number + _bounds(getattr(kind, "min", None), getattr(kind, "max", None))
    return ""


def _bounds(least: float | None, most: float | None) -> str:
    match least, most:
        case None, None:
            return ""
        case _, None:
            return f", {least} or more"
        case None, _:
            return f", {most} or less"
    return f" from {least} to {most}"
