"""What completes a command line: options, commands, and names of networks and sandboxes that exist.

The shells' scripts (`completion_scripts`) run `berth __complete SHELL ...` and print what it offers. Its output is a line that
says what else the shell should offer (`Then`), and a line for each candidate. `complete` is pure; what exists comes from a
function that asks the daemon, briefly, and offers nothing if there is none.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from resolver.cli import compose_options
from resolver.cli.client import SERVICE_LABEL, Refused, connect, exchange, socket_path
from resolver.cli.command_table import COMPOSE_ROWS
from resolver.cli.docker_words import translated
from resolver.cli.reference.model import CommandHelp, OptionHelp
from resolver.cli.reference.own import OWN, own_command
from resolver.cli.sandbox_options import OPTIONS

_TIMEOUT = 0.5
Names = Callable[[str], Iterable[str]]
"""Kind (network, sandbox, driver) → names of those that exist."""


class Then(Enum):
    """What the shell does beside offering the candidates."""

    NOTHING = "nothing"
    NO_SPACE = "nospace"
    """More follows in the same word."""
    FILE = "file"
    DIRECTORY = "directory"
    COMMAND = "command"


@dataclass(frozen=True)
class Completion:
    """*candidates*: (whole word, meaning)."""

    candidates: tuple[tuple[str, str], ...] = ()
    then: Then = Then.NOTHING


@dataclass
class _Position:
    """Where the cursor is: after which command, its operands so far, the option whose value comes next."""

    command: CommandHelp
    operands: int = 0
    pending: OptionHelp | None = None
    only_operands: bool = False
    in_command: bool = field(default=False)

    def take(self, word: str) -> None:
        """Move past *word*."""
        if self.in_command:
            return
        if self.pending is not None:
            self.pending = None
        elif word == "--" and not self.only_operands:
            self.only_operands = True
        elif word.startswith("-") and len(word) > 1 and not self.only_operands:
            self._take_option(word)
        elif (inner := self.command.command(word)) is not None:
            self.command = inner
        else:
            # What follows COMMAND is its own.
            self.in_command = self._operand_kind() == "command"
            self.operands += 1

    def _take_option(self, word: str) -> None:
        if word.startswith("--"):
            option = self.command.option(word)
            self.pending = option if option is not None and option.metavar is not None else None
            return
        for at, letter in enumerate(word[1:], 2):
            option = self.command.option(f"-{letter}")
            if option is not None and option.metavar is not None:
                self.pending = option if at == len(word) else None
                return

    def _operand_kind(self) -> str | None:
        operands = self.command.operands
        return operands[self.operands].completes if self.operands < len(operands) else None


def complete(root: CommandHelp, words: Sequence[str], current: str, names: Names) -> Completion:
    """Return what completes *current*, the word at the cursor. *words*: those before it, without `berth`."""
    position = _Position(root)
    for word in words:
        position.take(word)
    if position.in_command:
        return Completion(then=Then.FILE)
    if position.pending is not None:
        return _value(position, position.pending, current, "", names)
    if current.startswith("-") and not position.only_operands:
        flag, equals, value = current.partition("=")
        option = position.command.option(flag)
        if equals and option is not None:
            return _value(position, option, value, f"{flag}=", names)
        return _matching(((flag, option.meaning) for option in position.command.options for flag in option.flags), current)
    if position.command.commands:
        return _matching(((command.name, command.summary) for command in position.command.commands), current)
    return _operand(position, current, names)


def _operand(position: _Position, current: str, names: Names) -> Completion:
    operands = position.command.operands
    if not operands or (position.operands >= len(operands) and not operands[-1].repeats):
        return Completion()
    operand = operands[min(position.operands, len(operands) - 1)]
    if operand.choices:
        return _matching(((choice, "") for choice in operand.choices), current)
    return _of_kind(operand.completes, current, "", names)


def _value(position: _Position, option: OptionHelp, current: str, prefix: str, names: Names) -> Completion:
    if option.choices:
        return _matching(((prefix + choice, "") for choice in option.choices), prefix + current)
    if option.completes == "endpoint":
        return _endpoint(current, prefix, names, modes=position.command.name == "run")
    return _of_kind(option.completes, current, prefix, names)


def _of_kind(kind: str | None, current: str, prefix: str, names: Names) -> Completion:
    match kind:
        case "file" | "directory" | "command":
            return Completion(then=Then(kind))
        case "format":
            return _matching(((prefix + form, "") for form in ("table", "json")), prefix + current)
        case "network" | "sandbox" | "driver":
            return _matching(((prefix + name, kind) for name in names(kind)), prefix + current)
    return Completion()


def _endpoint(current: str, prefix: str, names: Names, *, modes: bool) -> Completion:
    """Complete `NAME[,key=value...]`, or with *modes* host, none and container:SANDBOX too."""
    start, comma, last = current.rpartition(",")
    if comma:
        keys = ((option.key, option.meaning) for option in OPTIONS if option.key)
        return _matching(((f"{prefix}{start},{key}=", meaning) for key, meaning in keys), f"{prefix}{start},{last}")
    offered = [(prefix + name, "network") for name in names("network")]
    if modes and current.startswith("container:"):
        offered = [(f"{prefix}container:{name}", "sandbox") for name in names("sandbox")]
    elif modes:
        offered += [(prefix + "host", "the host's own network stack"), (prefix + "none", "no network")]
        offered.append((prefix + "container:", "the network stack of another sandbox"))
    return _matching(offered, prefix + current)


def _matching(offered: Iterable[tuple[str, str]], current: str) -> Completion:
    candidates = tuple((word, meaning) for word, meaning in offered if word.startswith(current))
    more = any(word.endswith(("=", ":")) for word, _ in candidates)
    return Completion(candidates, Then.NO_SPACE if more else Then.NOTHING)


# --- for the scripts ----------------------------------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    """Print what completes a line. *arguments*: bash, $COMP_WORDBREAKS and the line; or zsh or fish, and the words after `berth`."""
    shell, *rest = arguments
    words, current = split(rest[1]) if shell == "bash" else (rest[:-1], rest[-1])
    words = _own_words(words)
    fast = words and words[0] in OWN
    root = own_command(words[0]) if fast else _tree()
    completion = complete(root, words[1:] if fast else words, current, existing)
    print(completion.then.value)
    for word, meaning in completion.candidates:
        print(word[broken_off(current, rest[0]) :] if shell == "bash" else f"{word}\t{meaning}")
    return 0


def _own_words(words: list[str]) -> list[str]:
    """Return *words* with Docker's spelling of a command replaced by ours; the options before a command of Compose are left out."""
    words = translated(words) if len(words) > 1 else words
    if words[:1] != ["compose"]:
        return words
    try:
        rest = [*compose_options.read(None, words[1:]).operands]
    except compose_options.BadOption:
        rest = []
    return rest if rest and rest[0] not in [name for name, _, _ in COMPOSE_ROWS] else ["compose", *rest]


def _tree() -> CommandHelp:
    from resolver.cli.reference.tree import tree

    return tree()


def split(line: str) -> tuple[list[str], str]:
    """Return the words of *line* after the first, and the word at its end, which may be empty or have an open quote."""
    for closing in ("", '"', "'"):
        try:
            words = shlex.split(line + closing)
        except ValueError:
            continue
        if not closing and (not line or line[-1].isspace()):
            words.append("")
        return words[1:-1], words[-1]
    return [], ""


def broken_off(word: str, breaks: str) -> int:
    """Return how much of *word* bash does not replace: up to the last of the characters *breaks* (: and =) in it."""
    return 1 + max(word.rfind(char) for char in ":=") if set(breaks) >= {":", "="} else 0


def existing(kind: str) -> list[str]:
    """Return the names of what exists, none if the daemon can't be asked."""
    if kind == "driver":
        from resolver.cli.commands.network_options import driver_names

        return list(driver_names())
    try:
        with contextlib.closing(connect(socket_path())) as sock:
            sock.settimeout(_TIMEOUT)
            listed = exchange(sock, "GET", "/v1/networks" if kind == "network" else "/v1/sandboxes")
    except (Refused, OSError, ValueError):
        return []
    services = {entry["labels"].get(SERVICE_LABEL) for entry in listed} if kind == "sandbox" else set()
    return sorted({entry["name"] for entry in listed} | (services - {None}))
