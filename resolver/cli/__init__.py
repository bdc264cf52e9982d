"""The command line: each command in a module of its own.

| command | module |
|---|---|
| `run`, `exec`, `attach` | `run`, `exec`, `attach`; options in `sandbox_options`, parser in `sandbox_parser` |
| `ps`, `network ls` | `ps`, `network_ls`; options in `list_options` |
| `up`, `down` | `up/`; the Compose file in `compose/` |
| all others | `commands/`, by topic; `command_table` lists them |
| `berth --help` | `root_help` |
| Docker's other words for a command | `docker_words` |

The first two rows use the standard library only, because these commands must start fast. All others are loaded when they are used.
"""

from __future__ import annotations

import posix
import sys

_FREQUENT = ("run", "exec", "ps", "--help")
"""What needs no look at Docker's words, and ends at once."""


def program() -> int:
    """Be the program `berth`: as `main`, but a command that must be quick ends this process."""
    code = main()
    if sys.argv[1:2] and sys.argv[1] in _FREQUENT:
        _end(code)
    return code


def _end(code: int) -> None:
    """End this process with *code*; return only if somebody has to be told that its output could not be written.

    Nothing is left to be done, and to take the interpreter apart takes as long as to load all that the command needed.
    """
    import os

    try:
        for stream in (sys.stdout, sys.stderr):
            # None if the caller has closed it.
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        return
    os._exit(code)


def main() -> int:
    """Run the command of `sys.argv` and return its exit code."""
    if None in (sys.stdin, sys.stdout, sys.stderr):
        from resolver import standard_streams

        standard_streams.open_missing()
    arguments = sys.argv[1:]
    if arguments and arguments[0] not in _FREQUENT:
        if arguments[0].startswith("-"):
            from resolver.cli.docker_options import without_accepted

            arguments = without_accepted(arguments)
        from resolver.cli.docker_words import translated

        arguments = translated(arguments)
    return run_command(arguments) if posix.geteuid() == 0 else _run_without_root(arguments)


def _run_without_root(arguments: list[str]) -> int:
    """As `run_command`, for an ordinary user: in his nest, unless root's daemon lets him in or the command needs none."""
    from resolver.cli import without_daemon
    from resolver.cli.connection import uses_daemon_of_root
    from resolver.rootless import entry
    from resolver.rootless.commands import Where, where

    place = where(arguments)
    if place is Where.OUTSIDE or uses_daemon_of_root():
        return run_command(arguments)
    if arguments[0] == "doctor":
        from resolver.rootless import examination

        examination.examine()
    starts = place is Where.STARTS or (place is Where.SHOWS and without_daemon.has_saved_state())
    return entry.run_inside(lambda: run_command(arguments), starts=starts)


def run_command(arguments: list[str]) -> int:
    """Run the command of *arguments* and return its exit code."""
    match arguments[:1]:
        case ["run"]:
            from resolver.cli import run

            return run.main(arguments[1:])
        case ["exec"]:
            from resolver.cli import exec as exec_

            return exec_.main(arguments[1:])
        case ["attach"]:
            from resolver.cli import attach

            return attach.main(arguments[1:])
        case ["ps"]:
            from resolver.cli import ps

            return ps.main(arguments[1:])
        case ["network"] if arguments[1:2] == ["ls"]:
            from resolver.cli import network_ls

            return network_ls.main(arguments[2:])
        case ["__complete"]:
            from resolver.cli import completion

            return completion.main(arguments[1:])
        case ["--help" | "-h"] | []:
            from resolver.cli.root_help import root_help

            sys.stdout.write(root_help())
            return 0
        case ["compose"] if arguments[1:] != ["--help"]:
            from resolver.cli import compose_command

            return compose_command.main(arguments[1:], run_command)
        case ["up" | "down" | "config"]:
            from resolver.cli import compose_command

            return compose_command.main_of_files(arguments)
    from resolver.cli import commands

    return commands.main(arguments)
