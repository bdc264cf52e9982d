"""The help of `berth run`, `exec` and `attach`, by the table of options. Pure."""

from __future__ import annotations

import textwrap

from resolver.cli.sandbox_options import COMMANDS, GROUPS, OPTIONS, Kind, Option, flags_of, help_flags, is_required, of_command

_WIDTH, _COLUMN = 100, 30


def help_of(name: str) -> str:
    """Return the help of `berth` *name*, one of run, exec, attach."""
    command = next(command for command in COMMANDS if command.name == name)
    parts = [f"Usage: {command.usage}\n", *(textwrap.fill(text, _WIDTH) + "\n" for text in (command.summary, command.description))]
    for group in GROUPS:
        rows = [(_syntax(option, name), help_text(option, name)) for option in of_command(name) if option.group == group]
        if rows:
            parts.append(_section(group, rows))
    parts.append(_section("Help", [(", ".join(help_flags(name)), "Show this text.")]))
    if name != "exec":
        keys = [(f"{option.key}={option.metavar}", option.meaning) for option in OPTIONS if option.key]
        parts.append(_section("Keys of --network NAME,key=value", keys))
    return "\n".join(parts)


def help_text(option: Option, command: str) -> str:
    """Return the meaning of *option* with its default, and whether it may be repeated."""
    notes = ["repeatable"] if option.kind.repeats else []
    if is_required(option, command):
        notes.append("required")
    elif option.default is not None:
        notes.append(f"default: {option.default}")
    return f"{option.meaning} ({'; '.join(notes)})" if notes else option.meaning


def _syntax(option: Option, command: str) -> str:
    flags = ", ".join(flags_of(option, command))
    return flags if option.kind is Kind.FLAG else f"{flags} {option.metavar}"


def _section(title: str, rows: list[tuple[str, str]]) -> str:
    lines = [f"{title}:"]
    for term, meaning in rows:
        wrapped = textwrap.wrap(meaning, _WIDTH - _COLUMN)
        if len(term) + 4 > _COLUMN:
            lines.append(f"  {term}")
        else:
            lines.append(f"  {term}".ljust(_COLUMN) + wrapped.pop(0))
        lines += [" " * _COLUMN + line for line in wrapped]
    return "\n".join(lines) + "\n"
