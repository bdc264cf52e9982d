"""Commands on Compose projects: up, down, config, and the group `compose`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from resolver.cli.command_table import COMPOSE_ROWS
from resolver.cli.commands.declare import command, group, option
from resolver.cli.commands.options import DIRECTORY, FILE

if TYPE_CHECKING:
    from resolver.cli.up.project_file import Selection

_SELECTION = (
    option(
        "-f", "--file", "files", multiple=True, type=FILE, metavar="FILE",
        help="Compose file, - for the standard input; each goes over those before it (default: compose.yaml, here or above).",
    ),
    option("-p", "--project-name", metavar="NAME", help="Name of the project (default: that of the file's directory)."),
    option("--profile", "profiles", multiple=True, metavar="NAME", help="Include the services of this profile; * for all."),
    option(
        "--env-file", "env_files", multiple=True, type=FILE, metavar="FILE",
        help="File of variables for the Compose file (default: .env beside it).",
    ),
    option(
        "--project-directory", type=DIRECTORY, metavar="DIRECTORY",
        help="Where relative paths start (default: the directory of the first file).",
    ),
)  # fmt: skip


_TIMEOUT = option(
    "-t", "--timeout", type=click.FloatRange(min=-1), metavar="SECONDS",
    help="Seconds between the stop signal and KILL (default: the service's stop_grace_period, 10).",
)  # fmt: skip


_LONG_SELECTION = tuple(
    option(flag, field, multiple=field in ("files", "profiles", "env_files"), metavar=metavar, help=meaning, group="Project")
    for flag, field, metavar, meaning in (
        ("--file", "files", "FILE", "Compose file."),
        ("--project-name", "project_name", "NAME", "Name of the project."),
        ("--profile", "profiles", "NAME", "Include the services of this profile; that of SERVICE is included."),
        ("--env-file", "env_files", "FILE", "File of variables for the Compose file."),
        ("--project-directory", "project_directory", "DIRECTORY", "Where relative paths start."),
    )
)
"""The same for a command that has other options with their short names: `berth compose` hands them on."""


def takes_project(*, short: bool = True) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Return what gives a command the options that say which project is meant. *short*: with short names, and in the help."""

    def add_all(run: Callable[..., int]) -> Callable[..., int]:
        for add in reversed(_SELECTION if short else _LONG_SELECTION):
            run = add(run)
        return run

    return add_all


def selection_of(given: dict[str, Any]) -> Selection:
    from resolver.cli.up.project_file import Selection

    return Selection(**given)


@command(examples=("berth up", "berth up -d -f examples/shop.yaml"))
@takes_project()
@option("-d", "--detach", is_flag=True, help="Return when everything is up.")
@_TIMEOUT
def up(*, detach: bool, timeout: float | None, **selection: Any) -> int:
    """Start a Compose project.

    Creates its networks and sandboxes, runs its commands, and shows their output. Ctrl-C ends everything.
    """
    from resolver.cli.up import session

    return session.up(selection_of(selection), detach=detach, timeout=timeout)


@command(examples=("berth down -p shop",))
@takes_project()
@option("-v", "--volumes", is_flag=True, help="Remove volumes too: there are none.", group="Always so", expose_value=False)
@_TIMEOUT
def down(*, timeout: float | None, **selection: Any) -> int:
    """Remove a Compose project.

    What runs gets its stop signal first, and KILL when its `stop_grace_period` is over.
    """
    from resolver.cli.up.down import down as take_down

    return take_down(selection_of(selection), timeout=timeout)


@command(examples=("berth config", "berth config --format json -f compose.yaml -f compose.test.yaml", "berth config --services"))
@takes_project()
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@option("--format", "form", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True, help="How to print.")
@option("--services", "listed", flag_value="services", help="Print the names of the services only.")
@option("--networks", "listed", flag_value="networks", help="Print the names of the networks only.")
@option("--volumes", "listed", flag_value="volumes", help="Print the names of the volumes only.")
@option("--images", "listed", flag_value="images", help="Print the names of the images only.")
@option("--profiles", "listed", flag_value="profiles", help="Print the names of the profiles only.")
@option("--environment", "listed", flag_value="environment", help="Print the variables that the file is read with.")
@option("-q", "--quiet", is_flag=True, help="Print nothing; only say what is wrong.")
@option("-o", "--output", type=FILE, metavar="FILE", help="Write to this file.")
def config(*, services: tuple[str, ...], form: str, listed: str | None, quiet: bool, output: str | None, **selection: Any) -> int:
    """Print a Compose project as it is read.

    All files are merged, variables substituted, short forms written out. SERVICE limits it to these and what they depend on.
    """
    from resolver.cli.up.config import print_config

    return print_config(selection_of(selection), services, form, listed, quiet=quiet, output=output)


@group(rows=COMPOSE_ROWS)
def compose() -> None:
    """Commands as `docker compose` has them, options before the command too.

    -f, -p, --profile, --env-file and --project-directory come before the command. up, down and config are those of berth; exec,
    port, top, stats, kill, wait, events, logs, stop, start, restart and rm mean services of the project.
    """
