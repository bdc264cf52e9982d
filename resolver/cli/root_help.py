"""The help of `berth` itself, by the table of commands. It needs nothing but that table, so that it is there at once. Pure."""

from __future__ import annotations

from resolver.cli.command_table import DESCRIPTION, GROUPS, SUMMARY

WIDTH = 80


def root_help() -> str:
    """Return the list of all commands."""
    parts = ["Usage: berth COMMAND\n", f"{SUMMARY}\n", "\n".join(_wrapped(DESCRIPTION, 0)) + "\n"]
    column = max(len(name) for _, rows in GROUPS for name, _, _ in rows) + 4
    for heading, rows in GROUPS:
        lines = [f"{heading}:"]
        for name, summary, _ in rows:
            first, *more = _wrapped(summary, column)
            lines += [f"  {name}".ljust(column) + first, *(" " * column + line for line in more)]
        parts.append("\n".join(lines) + "\n")
    parts.append("Options:\n  --version   Show the version and exit.\n  -h, --help  Show this text.\n")
    parts.append("`berth COMMAND --help` tells more. Docker's words are known too:\n`berth container ls`, `berth compose up`.\n")
    return "\n".join(parts)


def _wrapped(text: str, indent: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > WIDTH - indent:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines
