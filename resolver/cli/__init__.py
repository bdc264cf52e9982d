"""The command line: each command in a module of its own.

| command | module |
|---|---|
| `run`, `exec`, `attach` | `run`, `exec`, `attach`; options in `sandbox_options`, parser in `sandbox_parser` |
| `up`, `down` | `up/`; the Compose file in `compose/` |
| all others | `commands/`, by topic |

The first row uses the standard library only, because these commands must start fast. All others are loaded when they are used.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command of `sys.argv` and return its exit code."""
    arguments = sys.argv[1:]
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
        case ["__complete"]:
            from resolver.cli import completion

            return completion.main(arguments[1:])
    from resolver.cli import commands

    return commands.main(arguments)
