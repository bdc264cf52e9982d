"""`docs/cli.md`: every command and option. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from resolver.cli.reference.model import CommandHelp, Key, OptionHelp, Section

_HEAD = """# Command line

<!-- Made by `python -m resolver.cli.reference docs`; change what it is made from. -->

"""


def page(root: CommandHelp, keys: Sequence[Key]) -> str:
    """Return the page of all commands. *keys*: of the configuration file."""
    parts = [_HEAD, f"{root.summary} {root.description or ''}\n", _commands(root)]
    parts += [_section(section, "##") for section in root.sections]
    parts += [_command(command, "##") for command in root.commands]
    rows = [(f"`{key.name}`", _code(key.default), key.meaning) for key in keys]
    parts.append("## Configuration file\n\n" + _table(("Key", "Default", "Meaning"), rows))
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _commands(root: CommandHelp) -> str:
    rows = [(f"[`{command.path}`](#{command.path.replace(' ', '-')})", command.summary) for command in root.commands]
    return _table(("Command", "Meaning"), rows)


def _command(command: CommandHelp, heading: str) -> str:
    parts = [f"{heading} {command.path}\n", f"{command.summary} {command.description or ''}".strip() + "\n"]
    if command.commands:
        return "\n".join([*parts, *(_command(inner, heading + "#") for inner in command.commands)])
    parts.append(f"```\n{command.usage}\n```\n")
    has_others = any(option.docker or option.compose for option in command.options)
    if command.examples:
        parts.append("For example:\n\n```sh\n" + "\n".join(command.examples) + "\n```\n")
    parts += [_options(command.options, has_others=has_others), *(_section(section, heading + "#") for section in command.sections)]
    return "\n".join(parts)


def _options(options: Sequence[OptionHelp], *, has_others: bool) -> str:
    heads = ("Option", "Meaning", "Default") + (("Docker", "Compose") if has_others else ())
    rows = []
    for option in options:
        flags = ", ".join(f"`{flag}`" for flag in option.flags) + (f" `{option.metavar}`" if option.metavar else "")
        notes = " Required." * option.required + " May be repeated." * option.repeats
        row = (flags, option.meaning + notes, option.default or "")
        rows.append((*row, _code(option.docker), _code(option.compose and option.compose.replace("networks.", "networks.NAME."))))
    return _table(heads, [row[: len(heads)] for row in rows])


def _section(section: Section, heading: str) -> str:
    return f"{heading} {section.title}\n\n" + _table(("", ""), [(f"`{term}`", meaning) for term, meaning in section.rows])


def _code(text: str | None) -> str:
    return f"`{text}`" if text else ""


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"

    return "\n".join([line(heads), "|" + "---|" * len(heads), *map(line, rows)]) + "\n"
