"""What several commands share: options, and doing one thing for each of many names."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from resolver.cli.client import NoDaemon, Refused, call
from resolver.cli.output import print_plan

FORMAT = click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", help="How to print.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Print the steps and do nothing.")


def pairs(values: tuple[str, ...]) -> dict[str, str]:
    """Return KEY=VALUE texts as a dictionary."""
    return {key: value for key, _, value in (item.partition("=") for item in values)}


def remove(path: str, name: str, dry_run: bool) -> None:
    """Delete what is at *path* and print its name, or print the steps."""
    made = call("DELETE", f"{path}{'?dry_run=1' if dry_run else ''}")
    if dry_run:
        print_plan(made)
    else:
        print(name)


def each(names: tuple[str, ...], action: Callable[[str], None]) -> int:
    """Do *action* for every name, report each failure, and return 1 if there was one."""
    failed = 0
    for name in names:
        try:
            action(name)
        except NoDaemon:
            raise
        except Refused as error:
            print(f"berth: {error}", file=sys.stderr)
            failed = 1
    return failed
