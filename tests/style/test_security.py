"""The security page names a test for each thing that it says can't be done, and that test exists."""

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"
_NAMED = re.compile(r"`(test_\w+)`(?: in `(tests/[\w/]+\.py)`)?")
_FILES = re.compile(r"`(tests/[\w/]+\.py)`")


@dataclass(frozen=True)
class Row:
    """A row of a table that has a column of tests. *files*: where those are that it names without a file. *tests*: (file, name)."""

    says: str
    refusals: tuple[str, ...]
    tests: tuple[tuple[str, str], ...]
    """Those of the last column, which are for each refusal that names none itself."""
    own: tuple[tuple[str, str], ...]


def _tests(cell: str, files: list[str]) -> tuple[tuple[str, str], ...]:
    return tuple((file, name) for name, own in _NAMED.findall(cell) for file in ([own] if own else files))


def rows(text: str) -> list[Row]:
    """Return the rows of tables whose last column is headed "Test in ..". "the same" is what the row above names."""
    found: list[Row] = []
    files: list[str] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            files = []
            continue
        cells = [cell.strip() for cell in line[1:-1].split(" | ")]
        if cells[-1].startswith("Test in"):
            files = _FILES.findall(cells[-1])
        elif files and not line.startswith("|-"):
            tests = found[-1].tests if cells[-1] == "the same" else _tests(cells[-1], files)
            refusals = tuple(cell for cell in cells[1:-1] if re.match(r"no\b", cell))
            found.append(Row(cells[0], refusals, tests, tuple(test for cell in cells[1:-1] for test in _tests(cell, files[:1]))))
    return found


ROWS = rows(PAGE.read_text())


@cache
def _functions(file: str) -> frozenset[str]:
    return frozenset(node.name for node in ast.parse((ROOT / file).read_text()).body if isinstance(node, ast.FunctionDef))


def test_rows_are_read_as_they_are_written():
    text = (
        "| Can it | A | Test in `tests/a.py` and `tests/b.py` |\n|---|---|---|\n| fly | no, never | `test_x`, `test_y` in `tests/c.py` |\n"
        "| swim | no: `test_z` | the same |\n| walk | **yes** | |\n\n| Other | table |\n| with | `test_w` |\n"
    )
    fly = (("tests/a.py", "test_x"), ("tests/b.py", "test_x"), ("tests/c.py", "test_y"))
    assert rows(text) == [
        Row("fly", ("no, never",), fly, ()), Row("swim", ("no: `test_z`",), fly, (("tests/a.py", "test_z"),)), Row("walk", (), (), ()),
    ]  # fmt: skip


def test_what_runs_with_and_without_root_is_there():
    assert len([row for row in ROWS if row.refusals]) > 20


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.says[:60])
def test_what_can_not_be_done_names_a_test_that_tries_it(row):
    for refusal in row.refusals:
        assert row.tests or _NAMED.search(refusal), refusal
    for file, name in (*row.tests, *row.own):
        assert name in _functions(file), f"{file} has no {name}"
