"""What several commands share: options, kinds of arguments, and doing one thing for each of many names."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any

import click

from resolver.cli.changed import Changed
from resolver.cli.client import NoDaemon, Refused, call
from resolver.cli.commands.declare import option
from resolver.cli.output import complain
from resolver.cli.sandbox_options import Kind, Option, flags_of


class Name(click.types.StringParamType):
    """A name of something. *name*: of what; the completion offers those that exist."""

    def __init__(self, name: str) -> None:
        self.name = name


class Seconds(click.types.FloatParamType):
    """A number of seconds: none that is not finite."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return *value* as a number."""
        number: float = super().convert(value, param, ctx)
        return number if isfinite(number) else self.fail(f"{value!r} is not a number of seconds", param, ctx)


NETWORK, SANDBOX, DRIVER = Name("network"), Name("sandbox"), Name("driver")
FILE, DIRECTORY = Name("file"), Name("directory")

FORMAT = option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print.")
TEMPLATE = option(
    "-f", "--format", "form", type=Name("format"), metavar="FORMAT", default="json", show_default=True,
    help="json, or a Go template with Docker's field names, such as '{{.Id}}'.",
)  # fmt: skip
PROJECT = option("--project", metavar="NAME", help="SANDBOX is a service of this Compose project.")
CONFIG = option("--config", "config_path", type=FILE, metavar="FILE", help="Configuration file (default: /etc/berth/berth.toml).")
STATE_DIR = option("--state-dir", type=DIRECTORY, metavar="DIRECTORY", help="Where networks are stored (default: /var/lib/berth).")
RUN_DIR = option("--run-dir", type=DIRECTORY, metavar="DIRECTORY", help="Sockets and files of running sandboxes (default: /run/berth).")
DRY_RUN = option("--dry-run", is_flag=True, help="Print the steps and change nothing.")
WAIT = option("--wait", is_flag=True, help="Return when the kernel has deleted the links. Without it they are only down and unnamed.")


def sandbox_option(row: Option, command: str) -> Callable[[Any], Any]:
    """Return the click option of *command* for a row of the table of sandbox options."""
    if row.kind is Kind.FLAG:
        return option(*flags_of(row, command), row.field or row.dest, is_flag=True, help=row.meaning, group=row.group)
    return option(
        *flags_of(row, command),
        row.field,
        multiple=row.kind.repeats,
        type=int if row.kind is Kind.NUMBER else Name(row.completes) if row.completes else str,
        metavar=row.metavar,
        help=row.meaning,
        group=row.group,
    )


def check_template(form: str) -> None:
    """Raise click.UsageError if `--format` *form* is neither table nor json nor a template that can be read."""
    from resolver.cli.listing import BadFormat, check_format

    try:
        check_format(form)
    except BadFormat as error:
        raise click.UsageError(str(error), click.get_current_context()) from error


def pairs(values: tuple[str, ...]) -> dict[str, str]:
    """Return KEY=VALUE texts as a dictionary."""
    return {key: value for key, _, value in (text.partition("=") for text in values)}


def taking_away(path: str, *, dry_run: bool, wait: bool) -> str:
    """Return the path of a request that takes something away, with what --dry-run and --wait ask for."""
    return f"{path}?dry_run=1" if dry_run else f"{path}?wait=gone" if wait else path


def remove(path: str, name: str, changed: Changed, *, dry_run: bool, wait: bool = False) -> None:
    """Delete what is at *path*, which is called *name*, or tell the steps. *wait*: until its links are gone."""
    outcome = call("DELETE", taking_away(path, dry_run=dry_run, wait=wait))
    if dry_run:
        changed.tell_plan(name, outcome)
    else:
        changed.tell(name)


def each(names: tuple[str, ...], action: Callable[[str], None], *, may_be_gone: bool = False) -> int:
    """Do *action* for every name, report each failure, and return 1 if there was one.

    *may_be_gone*: what does not exist is reported, and is no failure.
    """
    failed = 0
    for name in names:
        try:
            action(name)
        except NoDaemon:
            raise
        except Refused as error:
            complain(error)
            failed |= not (may_be_gone and error.kind == "not-found")
    return int(failed)
