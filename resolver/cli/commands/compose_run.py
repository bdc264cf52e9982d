"""The command `compose run`."""

from __future__ import annotations

import os
import shlex
from typing import Any

import click

from resolver.cli.commands.compose import selection_of, takes_project
from resolver.cli.commands.declare import command, option
from resolver.cli.commands.options import pairs
from resolver.cli.environment import explicit_environment
from resolver.cli.run import exit_code, with_places


@command(examples=("berth compose run db sh -c 'echo $HOME'", "berth compose run --rm -e A=1 --service-ports web"))
@takes_project(short=False)
@click.argument("service", metavar="SERVICE")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND]...")
@option("-d", "--detach", is_flag=True, help="Return as soon as the command runs, and print the sandbox's name.")
@option("--rm", "rm_", is_flag=True, help="Keep nothing when the command ends: with -d the sandbox stays, stopped, otherwise.")
@option("--name", metavar="NAME", help="Name of the sandbox (default: PROJECT-SERVICE-run- and a random end).")
@option("-e", "--env", "env", multiple=True, metavar="KEY[=VALUE]", help="Environment variable, over those of the service.")
@option("--env-from-file", "env_file", multiple=True, metavar="FILE", help="File of environment variables.")
@option("-u", "--user", metavar="USER[:GROUP]", help="User and group to run as (default: the service's).")
@option("--cap-add", multiple=True, metavar="NAME", help="Capability, beside those of the service.")
@option("--cap-drop", multiple=True, metavar="NAME", help="Capability that it may not have.")
@option("-v", "--volume", "volumes", multiple=True, metavar="SOURCE:TARGET[:ro]", help="Show a file or directory at another place too.")
@option("-w", "--workdir", metavar="DIRECTORY", help="Directory to run in (default: the service's).")
@option("--entrypoint", metavar="COMMAND", help="Go before COMMAND in the place of the service's `entrypoint`.")
@option("--no-deps", is_flag=True, help="Do not start what the service depends on.")
@option("-P", "--service-ports", is_flag=True, help="Publish the service's ports.")
@option("-p", "--publish", multiple=True, metavar="[IP:][HOST:]PORT[/PROTO]", help="Publish a port.")
@option("--use-aliases", is_flag=True, help="Have the service's names too.")
@option("-l", "--label", "labels", multiple=True, metavar="KEY=VALUE", help="Label of the sandbox.")
@option("-q", "--quiet", is_flag=True, help="With -d: do not print the name.")
@option("--remove-orphans", is_flag=True, help="Remove sandboxes of services that the file no longer has.")
@option("-i", "--interactive", is_flag=True, help="Let the command read standard input.", group="Always so", expose_value=False)
@option("-t", "--tty", is_flag=True, help="Let the command have the terminal: it has.", group="Always so", expose_value=False)
@option("-T", "--no-TTY", "--no-tty", is_flag=True, help="Make no terminal: none is made.", group="Always so", expose_value=False)
def run(
    *, service: str, words: tuple[str, ...], detach: bool, rm_: bool, name: str | None, env: tuple[str, ...], env_file: tuple[str, ...],
    workdir: str | None, quiet: bool, remove_orphans: bool, user: str | None, cap_add: tuple[str, ...], cap_drop: tuple[str, ...],
    volumes: tuple[str, ...],
    entrypoint: str | None, no_deps: bool, service_ports: bool, publish: tuple[str, ...], use_aliases: bool, labels: tuple[str, ...],
    **selection: Any,
) -> int:  # fmt: skip
    """Run a command in one more sandbox of a service.

    It is on the networks of the service, with its variables and without its ports, names and addresses. What the service depends on is
    started. `berth down` removes it if it still runs. Exits with the exit code of the command. Needs root.
    """
    from resolver.cli.up.one_off import OneOff, run_one_off

    asked = OneOff(
        service=service, command=words, name=name, detach=detach, remove=rm_, alone=no_deps, ports=service_ports, aliases=use_aliases,
        publish=publish, labels=pairs(labels), variables=explicit_environment({"env": env, "env_file": env_file}),
        quiet=quiet, remove_orphans=remove_orphans, user=user,
        isolation=with_places({"cap_add": cap_add, "cap_drop": cap_drop, "volumes": volumes}),
        entrypoint=None if entrypoint is None else tuple(shlex.split(entrypoint)),
        directory=None if workdir is None else os.path.abspath(workdir),
    )  # fmt: skip
    return exit_code(lambda: run_one_off(selection_of(selection), asked))


run.allow_interspersed_args = False
