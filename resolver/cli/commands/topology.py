"""The command graph."""

from __future__ import annotations

import click

from resolver.cli.client import PROJECT_LABEL, Refused, call
from resolver.cli.commands.declare import command, option
from resolver.cli.topology import FORMS, picture


@command(examples=("berth graph", "berth graph --format mermaid", "berth graph --format dot | dot -Tsvg > networks.svg"))
@option("--format", "form", type=click.Choice(list(FORMS)), default="text", show_default=True, help="How to print.")
@option("--project", metavar="NAME", help="Only networks and sandboxes of this Compose project.")
def graph(form: str, project: str | None) -> None:
    """Print networks and sandboxes as a picture.

    What is on which network, with addresses, names and published ports; of overlay networks what other hosts have too. Mermaid
    is drawn by GitHub and others, dot by Graphviz. JSON has the networks and sandboxes as the admin API lists them.
    """
    networks, sandboxes = call("GET", "/v1/networks"), call("GET", "/v1/sandboxes")
    if project is not None:
        sandboxes = [sandbox for sandbox in sandboxes if sandbox["labels"].get(PROJECT_LABEL) == project]
        used = {name for sandbox in sandboxes for name in sandbox["networks"]}
        networks = [network for network in networks if network["name"] in used or network["labels"].get(PROJECT_LABEL) == project]
        if not networks and not sandboxes:
            raise Refused(f"project {project} is not up; `berth compose ls` lists those that are")
    print(picture(networks, sandboxes, form), end="")
