"""The command `compose scale`."""

from __future__ import annotations

from typing import Any

import click

from resolver.cli.commands.compose import selection_of, takes_project
from resolver.cli.commands.declare import command, option
from resolver.cli.commands.options import FORMAT


@command(examples=("berth compose scale web=3", "berth compose scale --no-deps web=3 worker=2"))
@takes_project(short=False)
@click.argument("numbers", nargs=-1, required=True, metavar="SERVICE=NUMBER...")
@option("--no-deps", is_flag=True, help="Do not start what SERVICE depends on.")
@option("--dry-run", is_flag=True, help="Print what would be done and do nothing.")
@FORMAT
def scale(*, numbers: tuple[str, ...], no_deps: bool, dry_run: bool, form: str, **selection: Any) -> int:
    """Start or remove replicas of services.

    As `berth up -d --scale SERVICE=NUMBER SERVICE`, but what SERVICE depends on is only started, and keeps its number of replicas.
    """
    from resolver.cli.up.command import up
    from resolver.cli.up.options import Options, scale_of
    from resolver.cli.up.reconcile import Asked, Spared

    try:
        wanted = dict(map(scale_of, numbers))
    except ValueError as error:
        raise click.UsageError(str(error), click.get_current_context()) from error
    asked = Asked(services=tuple(wanted), no_deps=no_deps, spared=Spared.DEPENDENCIES)
    return up(selection_of(selection), Options(detach=True, asked=asked, scale=wanted, dry_run=dry_run, is_json=form == "json"))
