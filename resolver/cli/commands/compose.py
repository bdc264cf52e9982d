"""Commands on Compose projects: up, down, config, and the group `compose`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from resolver.cli.command_table import COMPOSE_ROWS
from resolver.cli.commands.declare import command, group, option
from resolver.cli.commands.options import DIRECTORY, FILE, FORMAT

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
    option("--compatibility", is_flag=True, help="Name sandboxes with _ between the parts, as version 1 of Compose: shop_web_1."),
    option("--all-resources", is_flag=True, help="Networks that no service uses too."),
)  # fmt: skip
_OWN = ("files", "project_name", "profiles", "env_files", "project_directory", "compatibility", "all_resources")
"""The fields of a `Selection`."""


_LONG_SELECTION = tuple(
    option(flag, field, multiple=field in ("files", "profiles", "env_files"), metavar=metavar, help=meaning, group="Project")
    for flag, field, metavar, meaning in (
        ("--file", "files", "FILE", "Compose file."),
        ("--project-name", "project_name", "NAME", "Name of the project."),
        ("--profile", "profiles", "NAME", "Include the services of this profile; that of SERVICE is included."),
        ("--env-file", "env_files", "FILE", "File of variables for the Compose file."),
        ("--project-directory", "project_directory", "DIRECTORY", "Where relative paths start."),
    )
) + tuple(
    option(flag, is_flag=True, help=meaning, group="Project")
    for flag, meaning in (
        ("--compatibility", "Name sandboxes with _ between the parts."),
        ("--all-resources", "Networks that no service uses too."),
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


@command(examples=("berth up", "berth up -d -f examples/shop.yaml", "berth up -d --wait web", "berth up --dry-run --remove-orphans"))
@takes_project()
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@option("-d", "--detach", is_flag=True, help="Return when everything is up.")
@option("--wait", is_flag=True, help="Return when everything is running or healthy; implies -d.")
@option("--wait-timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait for so long at most (default: without end).")
@option("--scale", "scales", multiple=True, metavar="SERVICE=NUMBER", help="So many replicas, whatever the file says.", group="What is up")
@option("--no-deps", is_flag=True, help="Without what SERVICE depends on.", group="What is up")
@option("--remove-orphans", is_flag=True, help="Remove sandboxes of services that the file no longer has.", group="What is up")
@option("--force-recreate", is_flag=True, help="Make services anew though nothing has changed.", group="What is made anew")
@option("--always-recreate-deps", is_flag=True, help="With it, what SERVICE depends on too.", group="What is made anew")
@option("--no-recreate", is_flag=True, help="Leave services as they are though something has changed.", group="What is made anew")
@option(
    "-t",
    "--timeout",
    type=click.FloatRange(min=-1),
    metavar="SECONDS",
    group="When it ends",
    help="Seconds between the signal to stop and KILL (default: as in the file, 10).",
)
@option("--abort-on-container-exit", is_flag=True, help="Stop everything as soon as a command has ended.", group="When it ends")
@option("--abort-on-container-failure", is_flag=True, help="Stop everything as soon as a command has failed.", group="When it ends")
@option(
    "--exit-code-from",
    metavar="SERVICE",
    group="When it ends",
    help="Exit with the code of this service; implies --abort-on-container-exit.",
)
@option("--attach", multiple=True, metavar="SERVICE", group="Output", help="Print the output of these only.")
@option("--no-attach", multiple=True, metavar="SERVICE", group="Output", help="Do not print the output of these.")
@option("--attach-dependencies", is_flag=True, group="Output", help="Print that of what SERVICE depends on too.")
@option("--timestamps", is_flag=True, help="Each line with its time.", group="Output")
@option("--no-log-prefix", is_flag=True, help="Without the name before each line.", group="Output")
@option(
    "--progress",
    type=click.Choice(["auto", "quiet"]),
    default="auto",
    show_default=True,
    group="Output",
    help="Whether what takes longer than a second is told on standard error.",
)
@option("--dry-run", is_flag=True, help="Print what would be done and do nothing.")
@FORMAT
def up(*, services: tuple[str, ...], **given: Any) -> int:
    """Start a Compose project.

    Creates its networks and sandboxes, runs its commands, and shows their output. Ctrl-C ends everything. What is up already and has
    not changed stays, what has changed is made anew, what is missing comes. SERVICE limits it to these and what they depend on.
    Options about images, such as --build and --pull, are accepted: there are no images to build or pull.
    """
    from resolver.cli.up import command as whole
    from resolver.cli.up.options import Attached, Options
    from resolver.cli.up.reconcile import Asked

    attached = given["abort_on_container_exit"] or given["abort_on_container_failure"] or given["exit_code_from"]
    detach = given["detach"] or given["wait"]
    if attached and detach:
        flag = "--exit-code-from" if given["exit_code_from"] else "--abort-on-container-exit and --abort-on-container-failure"
        raise _usage(f"{flag} can't go with {'-d' if given['detach'] else '--wait, which implies -d'}: leave one of them out")
    if given["abort_on_container_failure"] and (given["abort_on_container_exit"] or given["exit_code_from"]):
        raise _usage("--abort-on-container-failure can't go with --abort-on-container-exit or --exit-code-from: leave one of them out")
    if given["no_recreate"] and (given["force_recreate"] or given["always_recreate_deps"]):
        raise _usage("--no-recreate can't go with --force-recreate or --always-recreate-deps: leave one of them out")
    if given["wait_timeout"] is not None and not given["wait"]:
        raise _usage("--wait-timeout is for --wait: add it")
    if given["attach"] and given["attach_dependencies"]:
        raise _usage("--attach can't go with --attach-dependencies: leave one of them out")
    if given["form"] == "json" and not (detach or given["dry_run"]):
        raise _usage("--format json needs -d, --wait or --dry-run: without them the output of the services is printed")
    return whole.up(
        selection_of({name: given[name] for name in _OWN}),
        Options(
            detach=detach,
            asked=Asked(
                services=services,
                no_deps=given["no_deps"],
                force=given["force_recreate"],
                always_recreate_deps=given["always_recreate_deps"],
                keep=given["no_recreate"],
                all_networks=given["all_resources"],
            ),
            scale=dict(map(_scale, given["scales"])),
            remove_orphans=given["remove_orphans"],
            timeout=given["timeout"],
            wait=given["wait"],
            wait_timeout=given["wait_timeout"],
            abort_on_exit=given["abort_on_container_exit"] or given["exit_code_from"] is not None,
            abort_on_failure=given["abort_on_container_failure"],
            exit_code_from=given["exit_code_from"],
            attached=Attached(only=given["attach"], without=given["no_attach"], dependencies=given["attach_dependencies"]),
            has_prefix=not given["no_log_prefix"],
            timestamps=given["timestamps"],
            quiet=given["progress"] == "quiet",
            dry_run=given["dry_run"],
            is_json=given["form"] == "json",
        ),
    )


def _scale(text: str) -> tuple[str, int]:
    from resolver.cli.up.options import scale_of

    try:
        return scale_of(text)
    except ValueError as error:
        raise _usage(f"--scale {error}") from error


def _usage(text: str) -> click.UsageError:
    return click.UsageError(text, click.get_current_context())


@command(examples=("berth down -p shop", "berth down -t 1 web"))
@takes_project()
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@option(
    "-t",
    "--timeout",
    type=click.FloatRange(min=-1),
    metavar="SECONDS",
    help="Seconds between the signal to stop and KILL (default: as in the file, 10).",
)
@option("-v", "--volumes", is_flag=True, help="Remove volumes too: there are none.", group="Always so", expose_value=False)
@option("--remove-orphans", is_flag=True, help="Remove what the file no longer has.", group="Always so", expose_value=False)
@option("--dry-run", is_flag=True, help="Print what would be removed and do nothing.")
@FORMAT
def down(*, services: tuple[str, ...], timeout: float | None, dry_run: bool, form: str, **selection: Any) -> int:
    """Remove a Compose project.

    Each command gets its stop signal, what depends on others first, and KILL when its grace has passed. SERVICE limits it to the
    sandboxes of these; the networks go with the last one.
    """
    from resolver.cli.up.down import down as take_down

    return take_down(selection_of(selection), services, timeout, dry_run=dry_run, is_json=form == "json")


@command(examples=("berth config", "berth config --format json -f compose.yaml -f compose.test.yaml", "berth config --services"))
@takes_project()
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@option("--format", "form", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True, help="How to print.")
@option("--services", "listed", flag_value="services", help="Print the names of the services only.", group="Only names")
@option("--networks", "listed", flag_value="networks", help="Print the names of the networks only.", group="Only names")
@option("--volumes", "listed", flag_value="volumes", help="Print the names of the volumes only.", group="Only names")
@option("--images", "listed", flag_value="images", help="Print the names of the images only.", group="Only names")
@option("--models", "listed", flag_value="models", help="Print the names of the models only.", group="Only names")
@option("--profiles", "listed", flag_value="profiles", help="Print the names of the profiles only.", group="Only names")
@option("--environment", "listed", flag_value="environment", help="Print the variables that the file is read with.", group="Only names")
@option("--variables", "listed", flag_value="variables", help="Print the variables that the files ask for.", group="Only names")
@option("--hash", "hashed", metavar="SERVICE", help="Print what changes when the service does; * for all.", group="Only names")
@option("--no-normalize", is_flag=True, help="Without what is so where nothing is said.", group="How it is read")
@option("--no-path-resolution", is_flag=True, help="Leave relative paths as they are.", group="How it is read")
@option("--no-consistency", is_flag=True, help="Do not check whether what is referred to is there.", group="How it is read")
@option("--no-env-resolution", is_flag=True, help="Leave files of variables unread.", group="How it is read")
@option("-q", "--quiet", is_flag=True, help="Print nothing; only say what is wrong.")
@option("-o", "--output", type=FILE, metavar="FILE", help="Write to this file.")
def config(
    *, services: tuple[str, ...], form: str, listed: str | None, hashed: str | None, no_normalize: bool,
    no_path_resolution: bool, no_consistency: bool, no_env_resolution: bool, quiet: bool, output: str | None, **selection: Any,
) -> int:  # fmt: skip
    """Print a Compose project as it is read.

    All files are merged, variables substituted, short forms written out. SERVICE limits it to these and what they depend on.
    """
    from resolver.cli.compose.sources import Steps
    from resolver.cli.up.config import Wanted, print_config

    steps = Steps(
        normalizes=not no_normalize, makes_absolute=not no_path_resolution,
        checks=not no_consistency, reads_env_files=not no_env_resolution,
    )  # fmt: skip
    wanted = Wanted(services=services, form=form, listed=listed, hashed=hashed, quiet=quiet, output=output, steps=steps)
    return print_config(selection_of(selection), wanted)


@group(rows=COMPOSE_ROWS, examples=("berth compose -p shop ps", "berth compose run --rm db sh"))
def compose() -> None:
    """Commands as `docker compose` has them, options before the command too.

    -f, -p, --profile, --env-file, --project-directory, --ansi, --progress, --dry-run and --compatibility come before the command. up,
    down and config are those of berth; exec, port, top, stats, kill, wait, events, logs, stop, start, restart and rm mean services of
    the project. `scale web=3` starts or removes replicas, `start --wait` waits as `up --wait`, `wait --down-project` ends the project.
    """
