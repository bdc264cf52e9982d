"""Commands on networks: `berth network` create, ls, inspect, connect, disconnect, rm, prune."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from resolver.cli.client import call, find_sandbox, segment
from resolver.cli.commands import network_options
from resolver.cli.commands.options import DRIVER, DRY_RUN, FORMAT, NETWORK, SANDBOX, each, pairs, remove, sandbox_option
from resolver.cli.duration import seconds_of
from resolver.cli.output import print_json, print_plan, print_table, print_warnings
from resolver.cli.sandbox_options import of_command, value_of


@click.group()
def network() -> None:
    """Create and change networks."""


class _CreateCommand(click.Command):
    """`network create`, whose help ends with the drivers and the options of each."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section in network_options.sections():
            with formatter.section(section.title):
                formatter.write_dl(section.rows)


@network.command("create", cls=_CreateCommand)
@click.argument("name")
@click.option("-d", "--driver", type=DRIVER, metavar="DRIVER", default="bridge", show_default=True, help="Driver; see below.")
@click.option("--subnet", "subnets", multiple=True, metavar="CIDR", help="Subnet; one for each family. 0.0.0.0/24: any of that size.")
@click.option("--ip-range", "ip_ranges", multiple=True, metavar="CIDR", help="Part of the subnet that addresses are allocated from.")
@click.option("--gateway", "gateways", multiple=True, metavar="ADDRESS", help="Gateway of the subnet.")
@click.option("--aux-address", "auxiliary", multiple=True, metavar="NAME=ADDRESS", help="Address that is never allocated.")
@click.option("--internal", is_flag=True, help="No traffic to or from other networks and the outside.")
@click.option("--ipv4", type=bool, metavar="[=true|false]", help="IPv4 (on unless --ipv4=false).")
@click.option("--ipv6", type=bool, metavar="[=true|false]", help="IPv6 (off unless --ipv6).")
@click.option("-o", "--opt", "options", multiple=True, metavar="KEY=VALUE", help="Option, by Docker's label or its short name; see below.")
@click.option("-l", "--label", "labels", multiple=True, metavar="KEY=VALUE", help="Label.")
@click.option(
    "--route", "routes", multiple=True, metavar="DESTINATION=VIA", help="Route of every sandbox, through a neighbour on the network."
)
@click.option("--ipam-driver", default="default", show_default=True, metavar="NAME", help="What allocates addresses: the name of a plugin.")
@click.option("--ipam-opt", "ipam_options", multiple=True, metavar="KEY=VALUE", help="Option of the IPAM plugin.")
@DRY_RUN
def network_create(**given: Any) -> None:
    """Create a network called NAME."""
    dry_run = given.pop("dry_run")
    for text in given["auxiliary"]:
        if "=" not in text:
            raise click.UsageError(f"--aux-address {text} needs a name: NAME={text}")
    for key in ("auxiliary", "options", "labels", "ipam_options"):
        given[key] = pairs(given[key])
    created = call("POST", f"/v1/networks{'?dry_run=1' if dry_run else ''}", given)
    if dry_run:
        print_plan(created)
        return
    print_warnings(created)
    print(created["id"])


_PREDEFINED = ("bridge", "berth_gwbridge")
"""Networks that berth makes when they are needed, and that can't be removed by hand."""
FILTERS = ("name", "id", "driver", "scope", "internal", "dangling", "type", "label")
COLUMNS: tuple[tuple[str, Callable[[dict[str, Any]], str]], ...] = (
    ("NETWORK ID", lambda shown: shown["id"][:12]),
    ("NAME", lambda shown: shown["name"]),
    ("DRIVER", lambda shown: shown["driver"]),
    ("SCOPE", lambda shown: shown["scope"]),
    ("SUBNETS", lambda shown: " ".join(pool["subnet"] for pool in shown["pools"])),
    ("", lambda shown: "internal" if shown["internal"] else ""),
)
"""The columns of `berth network ls`: heading, and what of a network is in it."""


@network.command("ls")
@click.option("-f", "--filter", "filters", multiple=True, metavar="KEY=VALUE", help=f"Only networks with this {', '.join(FILTERS)}.")
@click.option("-q", "--quiet", is_flag=True, help="Print ids only.")
@FORMAT
def network_ls(filters: tuple[str, ...], quiet: bool, form: str) -> None:
    """List networks."""
    networks = [shown for shown in call("GET", "/v1/networks") if all(_matches(shown, text) for text in filters)]
    if form == "json":
        print_json(networks)
    elif quiet:
        for shown in networks:
            print(shown["id"])
    else:
        print_table([heading for heading, _ in COLUMNS], [[cell(shown) for _, cell in COLUMNS] for shown in networks])


def _matches(shown: dict[str, Any], text: str) -> bool:
    key, equals, value = text.partition("=")
    if key in FILTERS and not equals:
        raise click.UsageError(f"--filter {text} needs a value: {text}=VALUE")
    match key:
        case "name":
            return value in shown["name"]
        case "id":
            return bool(shown["id"].startswith(value))
        case "driver" | "scope":
            return bool(shown[key] == value)
        case "internal":
            return shown["internal"] is (value == "true")
        case "dangling":
            return (not shown["members"]) is (value in ("true", "1"))
        case "type":
            return value == ("builtin" if shown["name"] in _PREDEFINED else "custom")
        case "label":
            name, has_value, wanted = value.partition("=")
            return name in shown["labels"] and (not has_value or shown["labels"][name] == wanted)
    raise click.UsageError(f"--filter {text}: {key!r} is not one of {', '.join(FILTERS)}")


@network.command("inspect")
@click.argument("names", nargs=-1, required=True, type=NETWORK, metavar="NETWORK...")
def network_inspect(names: tuple[str, ...]) -> None:
    """Show networks as JSON."""
    print_json([call("GET", f"/v1/networks/{segment(name)}") for name in names])


@network.command("rm")
@click.argument("names", nargs=-1, required=True, type=NETWORK, metavar="NETWORK...")
@DRY_RUN
def network_rm(names: tuple[str, ...], dry_run: bool) -> int:
    """Remove networks that have no endpoints."""
    return each(names, lambda name: remove(f"/v1/networks/{segment(name)}", name, dry_run=dry_run))


@network.command("prune")
@click.option("--force", "-f", is_flag=True, help="Do not ask.")
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="KEY=VALUE",
    help="Only networks with label=, without label!=, or created before until= (24h ago, or a time).",
)
def network_prune(force: bool, filters: tuple[str, ...]) -> None:
    """Remove unused networks.

    All networks without endpoints are removed, or those of them that pass every filter.
    """
    body: dict[str, Any] = {"labels": [], "other_labels": [], "until": None}
    for text in filters:
        key, _, value = text.partition("=")
        match key:
            case "label":
                body["labels"].append(value)
            case "label!":
                body["other_labels"].append(value)
            case "until":
                body["until"] = _moment(value)
            case _:
                raise click.UsageError(f"--filter {text}: {key!r} is not one of label, label!, until")
    if not force:
        click.confirm("Remove all networks without endpoints?" if not filters else "Remove these networks?", abort=True)
    for name in call("POST", "/v1/networks/prune", body)["removed"]:
        print(name)


def _moment(text: str) -> float:
    """Return the time that *text* means, in seconds since the epoch: a duration ago, a date, or seconds since the epoch."""
    seconds = seconds_of(text)
    if seconds is not None:
        return datetime.now(UTC).timestamp() - seconds
    try:
        return float(text) if text.replace(".", "", 1).isdigit() else datetime.fromisoformat(text).timestamp()
    except ValueError as error:
        raise click.UsageError(f"--filter until={text}: it should be like 24h, 2026-11-25T12:00 or seconds since 1970") from error


def _connect_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options of an endpoint, from the table of sandbox options."""
    for option in reversed(of_command("connect")):
        function = sandbox_option(option, "connect")(function)
    return function


@network.command("connect")
@click.argument("network_name", metavar="NETWORK", type=NETWORK)
@click.argument("sandbox", type=SANDBOX)
@_connect_options
@DRY_RUN
def network_connect(network_name: str, sandbox: str, dry_run: bool, **given: Any) -> None:
    """Connect SANDBOX to NETWORK."""
    body = {"sandbox": find_sandbox(sandbox, autostart=True)["id"]}
    for option in of_command("connect"):
        value = given[option.field]
        if value not in (None, ()):
            body[option.field] = value_of(option, value if option.kind.repeats else [value])
    connected = call("POST", f"/v1/networks/{segment(network_name)}/connect{'?dry_run=1' if dry_run else ''}", body)
    print_plan(connected) if dry_run else print_warnings(connected)


@network.command("disconnect")
@click.argument("network_name", metavar="NETWORK", type=NETWORK)
@click.argument("sandbox", type=SANDBOX)
@DRY_RUN
def network_disconnect(network_name: str, sandbox: str, dry_run: bool) -> None:
    """Disconnect SANDBOX from NETWORK."""
    body = {"sandbox": find_sandbox(sandbox, autostart=True)["id"]}
    disconnected = call("POST", f"/v1/networks/{segment(network_name)}/disconnect{'?dry_run=1' if dry_run else ''}", body)
    print_plan(disconnected) if dry_run else print_warnings(disconnected)
