"""`berth compose …`: the commands of `docker compose`, with its options before the command.

Those that berth has go on to it; those on the sandboxes of a project are told which project. Options are read by `compose_options`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from resolver.cli import terminal
from resolver.cli.compose_options import BEFORE, FALSE, UNTIL_OPERAND, BadOption, Read, read
from resolver.cli.compose_selection import FLAGS, SELECTION, Given
from resolver.cli.docker_words import COMPOSE_ANSWERS
from resolver.cli.outcome import outcome, usage_error
from resolver.cli.output import complain
from resolver.cli.words import nearest

_OF_FILES = ("up", "down", "config")
"""Commands that read the Compose file and take its options."""
_OF_SERVICES = ("top", "stats", "kill", "wait", "events", "logs", "stop", "start", "restart", "rm", "exec", "port")
"""Commands on what is up: they take the name of the project, and services."""
COMMANDS = (*_OF_FILES, *_OF_SERVICES, "ls", "ps", "run", "scale", "version")
_GENERAL = ("--ansi", "--no-ansi", "--progress", "--dry-run")
_KNOWN_PROGRESS = ("auto", "tty", "plain", "quiet")

Run = Callable[[list[str]], int]


def main(arguments: list[str], run: Run) -> int:
    """Run `berth compose` *arguments* and return the exit code. *run*: runs another command of berth."""
    return outcome(lambda: _compose(arguments, run))


def main_of_files(arguments: list[str]) -> int:
    """Run `berth up`, `down` or `config` as *arguments* say: with Compose's options that ask for what is so anyway."""
    from resolver.cli import commands

    command, *words = arguments
    return commands.main([command, *_read(command, words).words])


def _read(command: str, words: Sequence[str], keep: Sequence[str] = ()) -> Read:
    try:
        return read(command, words, keep)
    except BadOption as error:
        usage_error(command if command in _OF_FILES else f"compose {command}", error)


def _compose(arguments: list[str], run: Run) -> int:
    given, rest = split(arguments)
    _set_colours(given)
    match rest:
        case [] | ["--help" | "-h" | "help"]:
            return run(["compose", "--help"])
        case ["help", *words]:
            return _compose([*words, "--help"], run)
        case ["version" | "--version" | "-v", *words] if "--help" not in words:
            return _version(words, run)
        case ["convert", *words]:
            return _compose_command("config", words, given, run)
        case [command, *words] if command in COMMANDS:
            return _compose_command(command, words, given, run)
    complain(f"compose {rest[0]}: {COMPOSE_ANSWERS.get(rest[0]) or _unknown(rest[0])}")
    return 2


def _compose_command(command: str, words: list[str], given: Given, run: Run) -> int:
    """Run *command*, one of `COMMANDS`."""
    if words[:1] in (["--help"], ["-h"]) or (command not in UNTIL_OPERAND and {"--help", "-h"} & {*words}):
        return run([command, "--help"]) if command in (*_OF_FILES, *_OF_SERVICES, "version") else _help(command)
    if "--dry-run" in given and "--dry-run" not in words:
        words = ["--dry-run", *words]
    if command in _OF_FILES:
        return run([command, *_in_long(given), *_progress(given, command), *_read(command, words).words])
    if command in ("run", "scale"):
        from resolver.cli import commands

        return commands.main(["compose", command, *_in_long(given), *_read(command, words).words])
    if command in ("ls", "ps"):
        return _list(command, words, given)
    from resolver.cli import compose_services

    return compose_services.on_services(command, words, given, run, _read)


def _help(command: str) -> int:
    """Print the help of a command that is there only behind `compose`."""
    if command in ("ls", "ps"):
        from resolver.cli import projects

        return projects.ls(["--help"]) if command == "ls" else projects.ps("", ["--help"])
    from resolver.cli import commands

    return commands.main(["compose", command, "--help"])


def _unknown(word: str) -> str:
    what = f"there is no option {word} before the command" if word.startswith("-") else "there is no such command"
    flags = [flag for row in BEFORE for flag in row.flags]
    return f"{what}{nearest(word, (*COMMANDS, *flags))}; see `berth compose --help`"


def split(arguments: Sequence[str]) -> tuple[Given, list[str]]:
    """Return the options before the command, and the command with what follows it."""
    try:
        found = read(None, arguments, (*SELECTION, *_GENERAL))
    except BadOption as error:
        usage_error("compose", error)
    # An option that is not known is answered as a command would be.
    return found.values, [*found.words]


def _in_long(given: Given) -> list[str]:
    """Return the options before the command as the command has them, with long names: it has others with the short ones."""
    return [
        flag if flag in FLAGS else f"{flag.replace('--workdir', '--project-directory')}={value}"
        for flag in SELECTION
        for value in given.get(flag, ())
        if flag not in FLAGS or value not in FALSE
    ]


def _set_colours(given: Given) -> None:
    ansi = given.get("--ansi", ("never" if "--no-ansi" in given else "auto",))[-1]
    if ansi not in terminal.COLOURS:
        usage_error("compose", f"--ansi {ansi}: it should be one of {', '.join(terminal.COLOURS)}")
    terminal.show_colours(ansi)


def _progress(given: Given, command: str) -> list[str]:
    """Return the option of *command* that says how it tells what takes long."""
    form = given.get("--progress", ("auto",))[-1]
    if form == "json":
        usage_error(
            "compose", "--progress json: what takes long is told in lines of text; `berth events --json` tells what happens as JSON"
        )
    if form not in _KNOWN_PROGRESS:
        usage_error("compose", f"--progress {form}: it should be one of {', '.join(_KNOWN_PROGRESS)}")
    return ["--progress", form] if command == "up" and form == "quiet" else []


def _list(command: str, words: list[str], given: Given) -> int:
    from resolver.cli import projects

    found = _read(command, words, ("--orphans",))
    if command == "ls":
        return projects.ls([*found.words])
    from resolver.cli import compose_services

    scope = compose_services.scope_of(given)
    return projects.ps(
        scope.project,
        [*found.words],
        services=lambda names: scope.check(names, scope.members(stopped=True)),
        known=scope.known if found.values.get("--orphans", ("true",))[-1] in FALSE else None,
    )


def _version(words: list[str], run: Run) -> int:
    found = _read("version", words, ("--short", "--format"))
    if "--short" in found.values:
        from importlib.metadata import version

        print(version("berth-net"))
        return 0
    form = found.values.get("--format", ("pretty",))[-1]
    return run(["version", *([] if form == "pretty" else ["--format", form]), *found.words])
