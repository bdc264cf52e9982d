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
    for line in aligned([columns, *rows]):
        print(line)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return *rows* as lines in which each column starts at one place."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def print_plan(plan: dict[str, Any]) -> None:
    """Print the steps of a dry run; that there are none is said on standard error."""
    if plan["steps"]:
        print("\n".join(plan["steps"]))
    else:
        print("berth: nothing in the kernel would change", file=sys.stderr)
    print_warnings(plan)


def print_warnings(response: dict[str, Any]) -> None:
    """Print the warnings of a response, each on a line of standard error."""
    for warning in response["warnings"]:
        print(f"berth: warning: {warning}", file=sys.stderr)


def port_text(port: dict[str, Any]) -> str:
    """Return a published port as `0.0.0.0:8080->80/tcp`, one that is only exposed as `80/tcp`."""
    if not port["host_port"]:
        return f"{port['sandbox_port']}/{port['protocol']}"
    address = f"[{port['host_address']}]" if ":" in port["host_address"] else port["host_address"]
    return f"{address}:{port['host_port']}->{port['sandbox_port']}/{port['protocol']}"
