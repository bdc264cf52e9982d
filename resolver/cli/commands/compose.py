"""Commands on Compose projects: up, down."""

from __future__ import annotations

from resolver.cli.command_table import COMPOSE_ROWS
from resolver.cli.commands.declare import command, group, option
from resolver.cli.commands.options import FILE

_FILE = option("-f", "--file", type=FILE, metavar="FILE", help="Compose file (default: compose.yaml).")
_PROJECT = option("-p", "--project-name", metavar="NAME", help="Name of the project (default: that of the file's directory).")


@command(examples=("berth up", "berth up -d -f examples/shop.yaml"))
@_FILE
@_PROJECT
@option("--profile", "profiles", multiple=True, metavar="NAME", help="Start the services of this profile too; * for all.")
@option("-d", "--detach", is_flag=True, help="Return when everything is up.")
def up(file: str | None, project_name: str | None, profiles: tuple[str, ...], detach: bool) -> int:
    """Start a Compose project.

    Creates its networks and sandboxes, runs its commands, and shows their output. Ctrl-C ends everything.
    """
    from resolver.cli.up import session

    return session.up(file, project_name, profiles, detach=detach)


@command(examples=("berth down -p shop",))
@_FILE
@_PROJECT
@option("-v", "--volumes", is_flag=True, help="Remove volumes too: there are none.", group="Always so", expose_value=False)
def down(file: str | None, project_name: str | None) -> int:
    """Remove a Compose project."""
    from resolver.cli.up.down import down as take_down

    return take_down(file, project_name)


@group(rows=COMPOSE_ROWS)
def compose() -> None:
    """Commands as `docker compose` has them, options before the command too.

    -f, -p, --profile, --env-file and --project-directory come before the command. up, down and config are those of berth; exec,
    port, top, stats, kill, wait and events mean services of the project.
    """
