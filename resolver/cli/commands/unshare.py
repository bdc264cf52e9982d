"""The command unshare: any command in the namespaces that an ordinary user's sandboxes are in."""

from __future__ import annotations

import os

import click

from resolver.cli.client import Refused
from resolver.cli.commands.declare import command
from resolver.rootless import places

_FOR_PODMAN = {"_CONTAINERS_USERNS_CONFIGURED": "done"}
"""What tells Podman that it is in a user namespace of its user already."""


@command(
    examples=("berth unshare -- ip addr", "berth unshare -- podman run -d --network none busybox sleep 3600"),
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND [ARG...]")
def unshare(words: tuple[str, ...]) -> int:
    """Run a command where the sandboxes of an ordinary user are.

    It sees bridges, firewall and processes as the daemon does, and what it starts, such as a container, can be adopted. Root has no
    such place: its sandboxes are on the host itself.
    """
    if not places.is_nest():
        raise Refused("root's sandboxes are in the host's own namespaces; type the command as it is")
    try:
        os.execvpe(words[0], list(words), {**os.environ, **_FOR_PODMAN})
    except FileNotFoundError:
        click.echo(f"berth: {words[0]}: command not found", err=True)
        return 127
    except OSError as error:
        click.echo(f"berth: {words[0]}: {error.strerror}", err=True)
        return 126
