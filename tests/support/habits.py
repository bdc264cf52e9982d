"""The tables of docs/habits.md."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "habits.md").read_text()


def rows(heading: str) -> list[tuple[str, ...]]:
    """Return the rows of the table below *heading*, each as its cells."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    return [tuple(re.split(r"(?<!\\) \| ", line.strip("| "))) for line in lines]


def typed(cell: str) -> str:
    """Return what a cell says is typed or said."""
    return cell.strip("`").replace(r"\|", "|")
