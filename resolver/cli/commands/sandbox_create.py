"""`berth sandbox create`: a sandbox that waits for whoever enters it; and the group itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from resolver.cli.client import call
from resolver.cli.command_table import SANDBOX_ROWS
from resolver.cli.commands.declare import command, group
from resolver.cli.commands.options import FORMAT, sandbox_option
from resolver.cli.output import print_json, print_plan, print_warnings
from resolver.cli.sandbox_options import BadOption, of_command, sandbox_body


@group(rows=SANDBOX_ROWS)
def sandbox() -> None:
    """Prepare sandboxes for programs of others."""


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a sandbox, from their table."""
    for row in reversed(of_command("create")):
        function = sandbox_option(row, "create")(function)
    return function


def _given(value: Any) -> Any:
    """Return what click has made of an option as the parser of `berth run` has it."""
    return list(value) if isinstance(value, tuple) else str(value) if type(value) is int else value


@command(examples=("berth sandbox create web --network front -p 8080:80",))
@click.argument("name")
@_options
@FORMAT
def create(name: str, form: str, **given: Any) -> None:
    """Create a sandbox that waits for whoever enters it.

    It has a network namespace, files, addresses and published ports, and its name resolves. It needs no process, and stays until
    `berth rm`. Programs find it as /run/netns/berth-NAME and below /run/berth/by-name/NAME. Without --network it joins the network
    `default`, which is created when it is first needed.
    """
    try:
        values = {row.dest: _given(given[row.field or row.dest]) for row in of_command("create")}
        body = sandbox_body(values, default_network="default")
    except BadOption as error:
        raise click.UsageError(str(error), click.get_current_context()) from error
    body |= {"name": name, "default_network": True}
    if given["dry_run"]:
        print_plan(call("POST", "/v1/sandboxes?dry_run=1", body), is_json=form == "json")
        return
    made = call("POST", "/v1/sandboxes", body)
    if form == "json":
        print_json(made)
        return
    print_warnings(made)
    print(made["id"])
    print(f"berth: resolv.conf, hosts, hostname and netns of {name} are in {made['by_name']}", file=sys.stderr)
