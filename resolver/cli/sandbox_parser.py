"""The parser of `berth run`, `exec` and `attach`, by the table of options. It starts faster than argparse is imported.

Options come before the first operand, as with `docker run`: what follows that belongs to the command. A value follows its option
in the next word or after `=`; one-letter options may share a word, `-dp 80:80`, and a value may follow its letter, `-p80:80`.
"""

from __future__ import annotations

from resolver.cli.outcome import usage_error
from resolver.cli.sandbox_options import OPTIONS, BadOption, Kind, Option, Scope, flags_of, help_flags, is_required, of_command
from resolver.light import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    Parsed = tuple[dict[str, Any], list[str]]
    """The options that were given, as `Option.dest` → text, list of texts or True; and the operands."""


class HelpWanted(Exception):
    """The user asks for the help."""


def arguments_of(command: str, arguments: list[str], options: Sequence[Option] | None = None) -> Parsed:
    """Return what *arguments* of `berth` *command* mean; exits with the help, or with 2 and a message if they are wrong.

    *options*: those of a command that is not in the table of sandbox options.
    """
    try:
        return parse(command, arguments, options)
    except HelpWanted:
        from resolver.cli.reference.own import own_command
        from resolver.cli.reference.text import page

        print(page(own_command(command)), end="")
        raise SystemExit(0) from None
    except BadOption as error:
        usage_error(command, error)


def parse(command: str, arguments: list[str], options: Sequence[Option] | None = None) -> Parsed:
    """Return what *arguments* of `berth` *command* mean, which has *options*; raises BadOption or HelpWanted."""
    options = of_command(command) if options is None else options
    known = {flag: option for option in options for flag in flags_of(option, command)}
    values: dict[str, Any] = {}
    words = iter(arguments)
    operands: list[str] = []
    for word in words:
        if word == "--":
            break
        if not word.startswith("-") or word == "-":
            operands.append(word)
            break
        if word in help_flags(command):
            raise HelpWanted
        if word.startswith("--"):
            flag, equals, text = word.partition("=")
            value = text if equals else None
            _put(values, _find(known, flag, command, value), flag, value, words)
        else:
            _take_letters(values, known, word[1:], words, command)
    operands += words
    missing = [option.name for option in options if is_required(option, command) and option.dest not in values]
    # Whoever gives operands to `attach` means something else.
    if missing and not operands:
        raise BadOption(f"--{missing[0]} is required")
    return values, operands


def _take_letters(values: dict[str, Any], known: dict[str, Option], letters: str, words: Iterator[str], command: str) -> None:
    for at, letter in enumerate(letters, 1):
        flag = f"-{letter}"
        option = _find(known, flag, command)
        if option.kind in (Kind.FLAG, Kind.OPTIONAL):
            values[option.dest] = True
            continue
        _put(values, option, flag, letters[at:].removeprefix("=") or None, words)
        return


_TRUTH = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
"""What may follow an option that takes no value, behind `=`: as Go's flags have it, by any case."""


def _put(values: dict[str, Any], option: Option, flag: str, text: str | None, words: Iterator[str]) -> None:
    if option.kind is Kind.FLAG:
        wanted = True if text is None else _TRUTH.get(text.lower())
        if wanted is None:
            raise BadOption(f"{flag} takes no value but true or false")
        _check_value(option, flag, str(wanted).lower())
        if wanted:
            values[option.dest] = True
        else:
            values.pop(option.dest, None)
        return
    if text is None and option.kind is Kind.OPTIONAL:
        values[option.dest] = True
        return
    if text is None:
        text = next(words, None)
    if text is None:
        raise BadOption(f"{flag} needs a value, {option.metavar}")
    _check_value(option, flag, text)
    if option.kind.repeats:
        values.setdefault(option.dest, []).append(text)
    else:
        values[option.dest] = text


def _check_value(option: Option, flag: str, value: str) -> None:
    if option.only and value not in option.only:
        raise BadOption(f"{flag} {value}: {option.otherwise}")


def _find(known: dict[str, Option], flag: str, command: str, value: str | None = None) -> Option:
    """Return the row of *flag*. *value*: what follows it behind `=`."""
    option = known.get(flag)
    if option is not None:
        return option
    if command == "attach" and any(flag in other.flags for other in OPTIONS if other.scope in (Scope.CLIENT, Scope.ISOLATION)):
        raise BadOption(f"{flag} is for a command that berth starts, and attach starts none; use it with `berth run` or `berth exec`")
    from resolver.cli import docker_options

    habit = docker_options.find(command, flag)
    if habit is not None and (habit.is_accepted or (value is not None and habit.accepts(value))):
        return docker_options.option_of(habit)
    answer = docker_options.answer(command, flag)
    if answer:
        raise BadOption(f"there is no option {flag}: {answer}")
    from resolver.cli.words import nearest

    raise BadOption(f"there is no option {flag}{nearest(flag, known)}")


def parse_all(command: str, arguments: list[str], options: Sequence[Option]) -> Parsed:
    """Return what *arguments* of `berth` *command* mean, where options may follow operands; exits as `arguments_of` does."""
    values, rest = arguments_of(command, arguments, options)
    operands: list[str] = []
    while rest:
        operands.append(rest[0])
        more, rest = arguments_of(command, rest[1:], options)
        for name, value in more.items():
            values[name] = [*values.get(name, []), *value] if isinstance(value, list) else value
    return values, operands
