"""The program ps of the host, for `berth top NAME [PS_OPTION]...`: what it lists of some processes, as `docker top` does."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Collection, Iterator, Sequence

from resolver.cli.client import Refused
from resolver.printable import printable

_COLUMN = "PID"


def listed(options: Sequence[str], pids: Collection[int]) -> list[str]:
    """Return the lines that `ps` prints of *pids* with *options*, the headings first; Refused says what is wrong with them."""
    written = shlex.join(("ps", *options))
    program = shutil.which("ps")
    if program is None:
        raise Refused(f"{written}: there is no program ps here; leave its options out")
    said = "it failed"
    # However wide a terminal is, nothing of a command line is cut.
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    for which in _which(pids):
        done = subprocess.run([program, *options, *which], capture_output=True, text=True, errors="replace", check=False, env=environment)
        if done.returncode == 0 or done.stdout:
            return _of_processes([printable(line) for line in done.stdout.splitlines()], pids, written)
        said = next((line for line in done.stderr.splitlines() if line.strip()), said)
    raise Refused(f"{written}: {said.removeprefix('error: ')}")


def _which(pids: Collection[int]) -> Iterator[list[str]]:
    """Yield what asks ps for the processes *pids*, or for more: not every ps has it, nor has it beside every option."""
    if pids:
        # Without it only the processes of this terminal may be listed.
        yield ["-q", ",".join(map(str, pids))]
    yield ["-A"]
    yield []


def _of_processes(lines: Sequence[str], pids: Collection[int], written: str) -> list[str]:
    """Return the headings among *lines*, and those about *pids*. *written*: the command, for what is said of it."""
    if not lines or _COLUMN not in lines[0].split():
        raise Refused(f"{written}: its output has no column {_COLUMN}, by which processes are chosen; add -o pid,…")
    heading, *rest = lines
    at = heading.split().index(_COLUMN)
    wanted = {str(pid) for pid in pids}
    return [heading, *(line for line in rest if wanted.intersection(line.split()[at : at + 1]))]
