"""`berth compose …`: the commands of `docker compose`, with its options before the command.

Those that berth has go on to it; those on the sandboxes of a project are told which project.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from resolver.cli.client import Refused
from resolver.cli.docker_words import COMPOSE_ANSWERS
from resolver.cli.outcome import outcome
from resolver.cli.output import complain
from resolver.cli.words import nearest

_FIELDS = {
    "-f": "files", "--file": "files", "--profile": "profiles", "--env-file": "env_files",
    "-p": "project_name", "--project-name": "project_name", "--project-directory": "project_directory",
}  # fmt: skip
"""Options before the command → the field of a `Selection` that has the value of each."""
_OF_A_FILE = ("up", "down", "config")
"""Commands that read the Compose file and take its options."""
_OF_A_PROJECT = ("exec", "port", "top", "stats", "kill", "wait", "events", "logs", "stop", "start", "restart", "rm")
"""Commands on what is up: they take the name of the project."""
ALONE = ("ls", "ps", "run", "version")
COMMANDS = (*_OF_A_FILE, *_OF_A_PROJECT, *ALONE)

Run = Callable[[list[str]], int]


def main(arguments: list[str], run: Run) -> int:
    """Run `berth compose` *arguments* and return the exit code. *run*: runs another command of berth."""
    return outcome(lambda: _compose(arguments, run))


def _compose(arguments: list[str], run: Run) -> int:
    given, rest = split(arguments)
    match rest:
        case [] | ["--help" | "-h" | "help", *_]:
            return run(["compose", "--help"])
        case ["ls", *words]:
            from resolver.cli import projects

            return projects.ls(words)
        case ["ps", *words] if "--help" in words or "-h" in words:
            from resolver.cli import projects

            return projects.ps("", words)
        case ["ps", *words]:
            from resolver.cli import projects

            return projects.ps(project_of(given), words)
        case ["run", *words]:
            from resolver.cli import commands

            return commands.main(["compose", "run", *_in_long(given), *words])
        case ["version" | "--version" | "-v", *words]:
            return run(["version", *words])
        case [command, *words] if command in _OF_A_FILE:
            return run([command, *given, *words])
        case [command, *words] if command in _OF_A_PROJECT:
            known = "--help" in words[:1] or "-h" in words[:1]
            return run([command, *([] if known else ["--project", project_of(given)]), *words])
    complain(f"compose {rest[0]}: {COMPOSE_ANSWERS.get(rest[0]) or _unknown(rest[0])}")
    return 2


def _unknown(word: str) -> str:
    what = f"there is no option {word} before the command" if word.startswith("-") else "there is no such command"
    return f"{what}{nearest(word, (*COMMANDS, *_FIELDS))}; see `berth compose --help`"


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the options before the command, and the command with what follows it."""
    given: list[str] = []
    rest = list(arguments)
    while rest and rest[0].partition("=")[0] in _FIELDS:
        word = rest.pop(0)
        given.append(word)
        if "=" not in word and rest:
            given.append(rest.pop(0))
    return given, rest


_LONG = {"-f": "--file", "-p": "--project-name"}


def _in_long(given: list[str]) -> Iterator[str]:
    """Yield the options before the command with long names: the command has others with the short ones."""
    words = iter(given)
    for word in words:
        flag, equals, value = word.partition("=")
        yield f"{_LONG.get(flag, flag)}={value if equals else next(words, '')}"


def project_of(given: list[str]) -> str:
    """Return the project that the options *given* mean: by its name, or by its files as `berth up` reads them."""
    several: dict[str, tuple[str, ...]] = {"files": (), "profiles": (), "env_files": ()}
    single: dict[str, str] = {}
    words = iter(given)
    for word in words:
        flag, equals, value = word.partition("=")
        text, field = value if equals else next(words, ""), _FIELDS[flag]
        if field in several:
            several[field] += (text,)
        else:
            single[field] = text
    name = single.get("project_name") or os.environ.get("COMPOSE_PROJECT_NAME")
    if name:
        return name
    from resolver.cli.up.project_file import Selection, read_project

    try:
        return read_project(Selection(**several, **single), with_env_files=False)[0].name  # type: ignore[arg-type]
    except Refused as error:
        raise Refused(f"{error}, or the project with -p") from error
