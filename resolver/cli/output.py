"""Printing for people and for programs: tables and JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from resolver.printable import printable


def print_json(value: Any) -> None:
    """Print *value* as indented JSON."""
    json.dump(value, sys.stdout, indent=2)
    sys.stdout.write("\n")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: with rich on a terminal, in plain aligned columns in a pipe."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*columns, box=None, pad_edge=False, header_style="bold")
        for row in rows:
            # As Text, brackets in a cell are not taken for markup.
            table.add_row(*(Text(printable(cell)) for cell in row))
        Console().print(table)
        return
    for line in aligned([columns, *([printable(cell) for cell in row] for row in rows)]):
        print(line)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return *rows* as lines in which each column starts at one place."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def complain(text: object) -> None:
    """Print an error or a warning, whose lines may hold text of others."""
    lines = "\n".join(map(printable, str(text).split("\n")))
    print(f"berth: {lines}", file=sys.stderr)


def counted(number: int, noun: str) -> str:
    """Return "1 network", "2 networks", "2 sandboxes"."""
    plural = noun if number == 1 else f"{noun}es" if noun.endswith("x") else f"{noun}s"
    return f"{number} {plural}"


def print_plan(plan: dict[str, Any]) -> None:
    """Print the steps of a dry run; that there are none is said on standard error."""
    if plan["steps"]:
        print("\n".join(map(printable, plan["steps"])))
    else:
        complain("nothing in the kernel would change")
    print_warnings(plan)


def print_warnings(response: dict[str, Any]) -> None:
    """Print the warnings of a response, each on a line of standard error."""
    for warning in response["warnings"]:
        complain(f"warning: {warning}")


def port_text(port: dict[str, Any]) -> str:
    """Return a published port as `0.0.0.0:8080->80/tcp`, one that is only exposed as `80/tcp`."""
    if not port["host_port"]:
        return f"{port['sandbox_port']}/{port['protocol']}"
    address = f"[{port['host_address']}]" if ":" in port["host_address"] else port["host_address"]
    return f"{address}:{port['host_port']}->{port['sandbox_port']}/{port['protocol']}"
