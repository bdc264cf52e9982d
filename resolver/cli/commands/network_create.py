"""The command `network create`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from resolver.cli.client import call
from resolver.cli.commands.declare import command, option
from resolver.cli.commands.options import DRIVER, DRY_RUN, FORMAT, pairs
from resolver.cli.egress_files import with_files
from resolver.cli.output import print_json, print_plan, print_warnings
from resolver.cli.record_line import record_of

_ADDRESSES, _REACH = "Addresses", "Reach"


def _sections() -> Sequence[Any]:
    """Return the drivers and the options of each, for the end of the help."""
    from resolver.cli.commands import network_options

    return network_options.sections()


@command(
    examples=("berth network create front", "berth network create --subnet 10.5.0.0/24 --ipv6 -o icc=false back"),
    sections=_sections,
)
@click.argument("name")
@option("-d", "--driver", type=DRIVER, metavar="DRIVER", default="bridge", show_default=True, help="Driver; see below.")
@option(
    "--subnet",
    "subnets",
    multiple=True,
    metavar="CIDR",
    group=_ADDRESSES,
    help="Subnet; one for each family. 0.0.0.0/24: any of that size.",
)
@option(
    "--ip-range", "ip_ranges", multiple=True, metavar="CIDR", group=_ADDRESSES, help="Part of the subnet that addresses are allocated from."
)
@option("--gateway", "gateways", multiple=True, metavar="ADDRESS", group=_ADDRESSES, help="Gateway of the subnet.")
@option("--aux-address", "auxiliary", multiple=True, metavar="NAME=ADDRESS", group=_ADDRESSES, help="Address that is never allocated.")
@option("--internal", is_flag=True, group=_REACH, help="No traffic to or from other networks and the outside.")
@option("--ipv4", type=bool, metavar="[=true|false]", group=_ADDRESSES, help="IPv4 (on unless --ipv4=false).")
@option("--ipv6", type=bool, metavar="[=true|false]", group=_ADDRESSES, help="IPv6 (off unless --ipv6).")
@option("-o", "--opt", "options", multiple=True, metavar="KEY=VALUE", help="Option, by Docker's label or its short name; see below.")
@option("-l", "--label", "labels", multiple=True, metavar="KEY=VALUE", help="Label.")
@option(
    "--route",
    "routes",
    multiple=True,
    metavar="DESTINATION=VIA",
    group=_REACH,
    help="Route of every sandbox, through a neighbour on the network.",
)
@option(
    "--record",
    "records",
    multiple=True,
    metavar="'NAME TYPE VALUE'",
    help="Static name, as of `network record add`; a number before TYPE is its TTL.",
)
@option(
    "--ipam-driver",
    default="default",
    show_default=True,
    metavar="NAME",
    group=_ADDRESSES,
    help="What allocates addresses: the name of a plugin.",
)
@option("--ipam-opt", "ipam_options", multiple=True, metavar="KEY=VALUE", group=_ADDRESSES, help="Option of the IPAM plugin.")
@option(
    "--egress",
    "egress",
    multiple=True,
    metavar="RULE[,RULE...]",
    group=_REACH,
    help="What sandboxes that join without rules of their own may reach; @./FILE and @LIST for lists.",
)
@DRY_RUN
@FORMAT
def create(form: str, **given: Any) -> None:
    """Create a network called NAME."""
    dry_run = given.pop("dry_run")
    for text in given["auxiliary"]:
        if "=" not in text:
            raise click.UsageError(f"--aux-address {text} needs a name: NAME={text}")
    for key in ("auxiliary", "options", "labels", "ipam_options"):
        given[key] = pairs(given[key])
    try:
        records = [record_of(text) for text in given.pop("records")]
    except ValueError as error:
        raise click.UsageError(f"--record {error}") from error
    if records:
        given["records"] = records
    given["egress"] = with_files(given["egress"]) or None
    created = call("POST", f"/v1/networks{'?dry_run=1' if dry_run else ''}", given)
    if form == "json":
        print_json(created)
        return
    if dry_run:
        print_plan(created)
        return
    print_warnings(created)
    print(created["id"])
