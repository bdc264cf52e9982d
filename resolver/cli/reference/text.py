"""The help of a command on a terminal, 80 columns wide: nothing is cut. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from resolver.cli.reference.model import CommandHelp, OptionHelp

WIDTH = 80
_COLUMN = 26


def page(command: CommandHelp) -> str:
    """Return the help of *command*: how it is written, what it does, its commands or options by group, examples."""
    parts = [_usage(command), *(textwrap.fill(text, WIDTH) + "\n" for text in (command.summary, command.description) if text)]
    if command.commands:
        parts.append(_section("Commands", [(inner.name, inner.summary) for inner in command.commands]))
    column = _column(map(_syntax, command.options))
    for group in dict.fromkeys(option.group for option in command.options):
        parts.append(
            _section(group, [(_syntax(option), meaning_of(option)) for option in command.options if option.group == group], column)
        )
    if command.examples:
        parts.append(_examples(command.examples))
    parts += [_section(extra.title, list(extra.rows)) for extra in command.sections]
    return "\n".join(parts)


def _usage(command: CommandHelp) -> str:
    indent = " " * len(f"Usage: {command.path} ")
    return textwrap.fill(f"Usage: {command.usage}", WIDTH, subsequent_indent=indent, break_on_hyphens=False) + "\n"


def _syntax(option: OptionHelp) -> str:
    flags = ", ".join(option.flags)
    if option.metavar is None:
        return flags
    return f"{flags}{option.metavar}" if option.metavar.startswith("[=") else f"{flags} {option.metavar}"


def meaning_of(option: OptionHelp) -> str:
    """Return the meaning of *option* with its default, and whether it may be repeated or must be given."""
    notes = ["repeatable"] if option.repeats else []
    if option.required:
        notes.append("required")
    elif option.default is not None:
        notes.append(f"default: {option.default}")
    return f"{option.meaning} ({'; '.join(notes)})" if notes else option.meaning


def _examples(examples: tuple[str, ...]) -> str:
    lines = ["Example:" if len(examples) == 1 else "Examples:"]
    for example in examples:
        lines += textwrap.wrap(f"  {example}", WIDTH - 2, subsequent_indent="      ", break_on_hyphens=False, break_long_words=False)
    return "\n".join(lines) + "\n"


def _section(title: str, rows: list[tuple[str, str]], column: int | None = None) -> str:
    """Return a heading, and each term beside its meaning, which starts at *column*."""
    lines = [f"{title}:"]
    column = _column(term for term, _ in rows) if column is None else column
    for term, meaning in rows:
        wrapped = textwrap.wrap(meaning, WIDTH - column, break_on_hyphens=False) or [""]
        if len(term) + 4 > column:
            lines += textwrap.wrap(f"  {term}", WIDTH, subsequent_indent="    ", break_on_hyphens=False)
        else:
            lines.append((f"  {term}".ljust(column) + wrapped.pop(0)).rstrip())
        lines += [" " * column + line for line in wrapped]
    return "\n".join(lines) + "\n"


def _column(terms: Iterable[str]) -> int:
    return min(_COLUMN, max((len(term) + 4 for term in terms), default=0))
