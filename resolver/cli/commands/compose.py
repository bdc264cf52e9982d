"""Commands on Compose projects: up, down."""

from __future__ import annotations

import click

from resolver.cli.commands.options import FILE

_FILE = click.option("-f", "--file", type=FILE, metavar="FILE", help="Compose file (default: compose.yaml).")
_PROJECT = click.option("-p", "--project-name", metavar="NAME", help="Name of the project (default: that of the file's directory).")


@click.command()
@_FILE
@_PROJECT
@click.option("--profile", "profiles", multiple=True, metavar="NAME", help="Start the services of this profile too; * for all.")
@click.option("-d", "--detach", is_flag=True, help="Return when everything is up.")
def up(file: str | None, project_name: str | None, profiles: tuple[str, ...], detach: bool) -> int:
    """Start a Compose project.

    Creates its networks and sandboxes, runs its commands, and shows their output. Ctrl-C ends everything.
    """
    from resolver.cli.up import session

    return session.up(file, project_name, profiles, detach=detach)


@click.command()
@_FILE
@_PROJECT
def down(file: str | None, project_name: str | None) -> int:
    """Remove a Compose project."""
    from resolver.cli.up.down import down as take_down

    return take_down(file, project_name)
