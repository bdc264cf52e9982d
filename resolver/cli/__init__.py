"""The command line. `run` and `exec` take a path of the standard library only; the rest is loaded when it is used."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command of `sys.argv` and return its exit code."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] in ("run", "exec"):
        from resolver.cli import run_exec

        return run_exec.main(arguments)
    from resolver.cli import commands

    return commands.main(arguments)
