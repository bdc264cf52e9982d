"""Commands on networks: `berth network` connect, disconnect, rm, prune; and the group itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from resolver.cli.changed import Changed
from resolver.cli.client import call, find_sandbox, segment
from resolver.cli.command_table import NETWORK_ROWS
from resolver.cli.commands.declare import command, group, option
from resolver.cli.commands.options import DRY_RUN, FORMAT, NETWORK, SANDBOX, WAIT, each, remove, sandbox_option, taking_away
from resolver.cli.commands.prune_filters import prune_body
from resolver.cli.output import print_json, print_plan, print_warnings
from resolver.cli.sandbox_options import of_command, value_of


@group(rows=NETWORK_ROWS, examples=("berth network create front", "berth network connect --alias www front web"))
def network() -> None:
    """Create and change networks."""


@command(examples=("berth network rm front back",))
@click.argument("names", nargs=-1, required=True, type=NETWORK, metavar="NETWORK...")
@option("-f", "--force", is_flag=True, help="It is no failure if one does not exist.")
@WAIT
@DRY_RUN
@FORMAT
def rm(names: tuple[str, ...], force: bool, wait: bool, dry_run: bool, form: str) -> int:
    """Remove networks that have no endpoints."""
    with Changed(form) as changed:
        return each(
            names, lambda name: remove(f"/v1/networks/{segment(name)}", name, changed, dry_run=dry_run, wait=wait), may_be_gone=force
        )


@command(examples=("berth network prune -f --filter until=24h",))
@option("--force", "-f", is_flag=True, help="Do not ask.")
@option(
    "--filter",
    "filters",
    multiple=True,
    metavar="KEY=VALUE",
    help="Only networks with label=, without label!=, or created before until= (24h ago, or a time).",
)
@FORMAT
def prune(force: bool, filters: tuple[str, ...], form: str) -> None:
    """Remove unused networks.

    All networks without endpoints are removed, or those of them that pass every filter.
    """
    body = prune_body(filters)
    if not force:
        click.confirm("Remove all networks without endpoints?" if not filters else "Remove these networks?", abort=True)
    with Changed(form) as changed:
        for name in call("POST", "/v1/networks/prune", body)["removed"]:
            changed.tell(name)


def _connect_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options of an endpoint, from the table of sandbox options."""
    for row in reversed(of_command("connect")):
        function = sandbox_option(row, "connect")(function)
    return function


@command(examples=("berth network connect --alias store --ip 10.5.0.9 back db",))
@click.argument("network_name", metavar="NETWORK", type=NETWORK)
@click.argument("sandbox", type=SANDBOX)
@_connect_options
@DRY_RUN
@FORMAT
def connect(network_name: str, sandbox: str, dry_run: bool, form: str, **given: Any) -> None:
    """Connect SANDBOX to NETWORK."""
    body = {"sandbox": find_sandbox(sandbox)["id"]}
    for row in of_command("connect"):
        value = given[row.field]
        if value not in (None, ()):
            body[row.field] = value_of(row, value if row.kind.repeats else [value])
    connected = call("POST", f"/v1/networks/{segment(network_name)}/connect{'?dry_run=1' if dry_run else ''}", body)
    _print(connected, form, dry_run=dry_run)


@command(examples=("berth network disconnect back db",))
@click.argument("network_name", metavar="NETWORK", type=NETWORK)
@click.argument("sandbox", type=SANDBOX)
@WAIT
@DRY_RUN
@FORMAT
def disconnect(network_name: str, sandbox: str, wait: bool, dry_run: bool, form: str) -> None:
    """Disconnect SANDBOX from NETWORK."""
    body = {"sandbox": find_sandbox(sandbox)["id"]}
    path = f"/v1/networks/{segment(network_name)}/disconnect"
    disconnected = call("POST", taking_away(path, dry_run=dry_run, wait=wait), body)
    _print(disconnected, form, dry_run=dry_run)


def _print(response: dict[str, Any], form: str, *, dry_run: bool) -> None:
    if form == "json":
        print_json(response)
    elif dry_run:
        print_plan(response)
    else:
        print_warnings(response)
