"""Printing for people and for programs: tables and JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any


def print_json(value: Any) -> None:
    """Print *value* as indented JSON."""
    json.dump(value, sys.stdout, indent=2)
    sys.stdout.write("\n")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: with rich on a terminal, in plain aligned columns in a pipe."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(*columns, box=None, pad_edge=False, header_style="bold")
        for row in rows:
            table.add_row(*row)
        Console().print(table)
        return
    everything = [tuple(columns), *rows]
    widths = [max(len(row[i]) for row in everything) for i in range(len(columns))]
    for row in everything:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_plan(plan: dict[str, Any]) -> None:
    """Print the steps of a dry run."""
    print("\n".join(plan["steps"]))
    print_warnings(plan)


def print_warnings(made: dict[str, Any]) -> None:
    """Print the warnings of an answer, each a line on standard error."""
    for warning in made["warnings"]:
        print(f"berth: warning: {warning}", file=sys.stderr)
