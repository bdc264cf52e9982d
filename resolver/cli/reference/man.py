"""Manual pages: `berth.1`, one page for each command or group, `berth.toml.5`. Pure.

The markup is man(7), which both groff and mandoc read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from resolver.cli.reference.model import CommandHelp, Key, OptionHelp, Section

_CONFIG_TEXT = (
    "The daemon reads one file in TOML: that of `--config`, of BERTH_CONFIG, or /etc/berth/berth.toml if it exists. The variables "
    "BERTH_RUN_DIR and BERTH_STATE_DIR override it, and the command line overrides both. All settings take effect when the daemon "
    "starts. `berth daemon --check-config` prints the effective ones."
)
_EXAMPLE = """suffix = "my.lab"
dns_search = ["example.org"]

[forward]
"corp.example" = ["10.0.0.53"]

[proxies.default]
httpProxy = "http://10.0.0.1:3128"
"""


def pages(root: CommandHelp, keys: Sequence[Key]) -> dict[str, str]:
    """Return file name → text of all pages. *keys*: of the configuration file."""
    names = [page_name(command.path) for command in root.commands]
    see_also = [f"{name}(1)" for name in names]
    made = {"berth.1": _overview(root, [*see_also, "berth.toml(5)"]), "berth.toml.5": _configuration(keys)}
    for command in root.commands:
        made[f"{page_name(command.path)}.1"] = _command_page(command)
    return made


def page_name(path: str) -> str:
    """Return the name of the page of the command *path*."""
    return path.replace(" ", "-")


def _overview(root: CommandHelp, see_also: Sequence[str]) -> str:
    lines = [*_head("berth", 1, root.summary), ".SH SYNOPSIS", _bold("berth"), *_text("COMMAND ..."), ".SH DESCRIPTION"]
    lines += _text(root.description or "")
    lines.append(".SH COMMANDS")
    for command in root.commands:
        lines += [".TP", rf"\fB{_escape(page_name(command.path))}\fR(1)", *_text(command.summary)]
    lines += [".SH OPTIONS", *_options(root.options)]
    for section in root.sections:
        lines += _section(section, ".SH")
    return _end(lines, see_also)


def _command_page(command: CommandHelp) -> str:
    name = page_name(command.path)
    lines = [*_head(name, 1, command.summary), ".SH SYNOPSIS"]
    shown = command.commands or (command,)
    for i, inner in enumerate(shown):
        lines += [".br"] * bool(i) + _synopsis(inner)
    lines.append(".SH DESCRIPTION")
    lines += _text(f"{command.summary} {command.description or ''}")
    if command.commands:
        lines.append(".SH COMMANDS")
    for inner in command.commands:
        lines += [f".SS {_escape(inner.path)}", *_text(f"{inner.summary} {inner.description or ''}"), *_options(inner.options)]
        for section in inner.sections:
            lines += [".PP", _bold(section.title), *_rows(section)]
        if command.commands:
            lines += [".PP", *_examples(inner.examples)] if inner.examples else []
    if not command.commands:
        lines += _grouped_options(command.options)
        lines += [".SH EXAMPLES", *_examples(command.examples)] if command.examples else []
        for section in command.sections:
            lines += _section(section, ".SH")
    return _end(lines, ["berth(1)", "berth.toml(5)"] if name == "berth-daemon" else ["berth(1)"])


def _examples(examples: Sequence[str]) -> list[str]:
    return [".nf", *map(_escape, examples), ".fi"]


def _configuration(keys: Sequence[Key]) -> str:
    lines = [*_head("berth.toml", 5, "Configuration of the berth daemon."), ".SH DESCRIPTION", *_text(_CONFIG_TEXT), ".SH KEYS"]
    for key in keys:
        lines += [".TP", _bold(key.name), *_text(f"{key.meaning} Default: {key.default}." if key.default else key.meaning)]
    lines += [".SH EXAMPLE", ".nf", *(_escape(line) for line in _EXAMPLE.splitlines()), ".fi"]
    return _end(lines, ["berth(1)", "berth-daemon(1)"])


def _head(name: str, section: int, summary: str) -> list[str]:
    first = summary[:1].lower() + summary[1:].rstrip(".") if not summary.startswith("Docker") else summary.rstrip(".")
    return [
        r".\" Made by `python -m resolver.cli.reference`; change what it is made from.",
        f'.TH "{_escape(name.upper())}" "{section}" "" "berth" "berth manual"',
        ".SH NAME",
        rf"{_escape(name)} \- {_escape(first)}",
    ]


def _end(lines: list[str], see_also: Sequence[str]) -> str:
    references = [re.sub(r"(.*)(\(\d\))", lambda match: rf"\fB{_escape(match[1])}\fR{match[2]}", page) for page in see_also]
    lines += [".SH SEE ALSO", ",\n".join(references)]
    return "\n".join(lines) + "\n"


def _synopsis(command: CommandHelp) -> list[str]:
    rest = command.usage.removeprefix(command.path).strip()
    return [_bold(command.path), *_text(rest)]


def _grouped_options(options: Sequence[OptionHelp]) -> list[str]:
    groups = list(dict.fromkeys(option.group for option in options))
    lines = [".SH OPTIONS"] if options else []
    for group in groups:
        if len(groups) > 1:
            lines.append(f".SS {_escape(group)}")
        lines += _options([option for option in options if option.group == group])
    return lines


def _options(options: Sequence[OptionHelp]) -> list[str]:
    lines: list[str] = []
    for option in options:
        flags = ", ".join(rf"\fB{_escape(flag)}\fR" for flag in option.flags)
        space = "" if option.metavar and option.metavar.startswith("[=") else " "
        metavar = rf"{space}\fI{_escape(option.metavar)}\fR" if option.metavar else ""
        lines += [".TP", flags + metavar, *_text(meaning_of(option))]
    return lines


def meaning_of(option: OptionHelp) -> str:
    """Return the meaning of *option* with its default and how often it may be given."""
    notes = [
        note
        for note, applies in (
            ("Required.", option.required),
            ("May be repeated.", option.repeats),
            (f"Default: {option.default}.", option.default is not None),
        )
        if applies
    ]
    return " ".join([option.meaning, *notes])


def _section(section: Section, macro: str) -> list[str]:
    title = section.title.upper() if macro == ".SH" and "=" not in section.title else section.title
    return [f"{macro} {_escape(title)}", *_rows(section)]


def _rows(section: Section) -> list[str]:
    return [line for term, meaning in section.rows for line in (".TP", _bold(term), *_text(meaning))]


def _bold(text: str) -> str:
    return rf"\fB{_escape(text)}\fR"


def _text(text: str) -> list[str]:
    """Return *text* as lines of a page; each sentence starts a line, as roff wants it, and `code` is bold."""
    sentences = [sentence for part in text.split("\n") for sentence in re.split(r"(?<=[a-z)`]\.) (?=[A-Z`])", part) if sentence.strip()]
    return [re.sub(r"`([^`]+)`", r"\\fB\1\\fR", _escape(sentence.strip())) for sentence in sentences]


def _escape(text: str) -> str:
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace('"', r"\(dq")
    return rf"\&{escaped}" if escaped.startswith((".", r"\(aq")) else escaped
