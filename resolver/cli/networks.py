"""The commands of `berth network`: each one call of the admin API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from resolver.cli import run_exec
from resolver.cli.client import call, segment
from resolver.cli.duration import seconds_of
from resolver.cli.options import DRY_RUN, FORMAT, each, pairs, remove
from resolver.cli.output import print_json, print_plan, print_table, print_warnings


@click.group()
def network() -> None:
    """Create, list, inspect, connect, disconnect, remove networks."""


@network.command("create")
@click.argument("name")
@click.option("-d", "--driver", default="bridge", show_default=True, help="bridge, macvlan, ipvlan or a plugin.")
@click.option("--subnet", "subnets", multiple=True, metavar="CIDR", help="Subnet; one for each family. 0.0.0.0/24: any of that size.")
@click.option("--ip-range", "ip_ranges", multiple=True, metavar="CIDR", help="Part of the subnet that addresses come from.")
@click.option("--gateway", "gateways", multiple=True, metavar="ADDRESS", help="Gateway of the subnet.")
@click.option("--aux-address", "auxiliary", multiple=True, metavar="NAME=ADDRESS", help="Address that is never handed out.")
@click.option("--internal", is_flag=True, help="No traffic to and from other networks and the outside.")
@click.option("--ipv4", type=bool, metavar="[=true|false]", help="IPv4 (on unless --ipv4=false).")
@click.option("--ipv6", type=bool, metavar="[=true|false]", help="IPv6 (off unless --ipv6).")
@click.option("-o", "--opt", "options", multiple=True, metavar="KEY=VALUE", help="Driver option, by Docker's label or short name.")
@click.option("-l", "--label", "labels", multiple=True, metavar="KEY=VALUE", help="Label.")
@click.option("--route", "routes", multiple=True, metavar="DESTINATION=VIA", help="Route of every sandbox, over a neighbour on it.")
@click.option("--ipam-driver", default="default", show_default=True, help="Who hands addresses out: a plugin by name.")
@click.option("--ipam-opt", "ipam_options", multiple=True, metavar="KEY=VALUE", help="Option of the IPAM plugin.")
@DRY_RUN
def network_create(**given: Any) -> None:
    """Create a network called NAME."""
    dry = given.pop("dry_run")
    for key in ("auxiliary", "options", "labels", "ipam_options"):
        given[key] = pairs(given[key])
    made = call("POST", f"/v1/networks{'?dry_run=1' if dry else ''}", given)
    if dry:
        print_plan(made)
        return
    print_warnings(made)
    print(made["id"])


@network.command("ls")
@click.option("-f", "--filter", "filters", multiple=True, metavar="KEY=VALUE", help="name=, id=, driver=, label=, ...")
@click.option("-q", "--quiet", is_flag=True, help="Ids only.")
@FORMAT
def network_ls(filters: tuple[str, ...], quiet: bool, form: str) -> None:
    """List networks."""
    networks = [item for item in call("GET", "/v1/networks") if all(_matches(item, text) for text in filters)]
    if form == "json":
        print_json(networks)
    elif quiet:
        for item in networks:
            print(item["id"])
    else:
        rows = [
            (
                item["id"][:12],
                item["name"],
                item["driver"],
                item["scope"],
                " ".join(pool["subnet"] for pool in item["pools"]),
                "internal" if item["internal"] else "",
            )
            for item in networks
        ]
        print_table(("NETWORK ID", "NAME", "DRIVER", "SCOPE", "SUBNETS", ""), rows)


def _matches(item: dict[str, Any], text: str) -> bool:
    key, equals, value = text.partition("=")
    match key:
        case "name":
            return value in item["name"]
        case "id":
            return bool(item["id"].startswith(value))
        case "driver" | "scope":
            return bool(item[key] == value)
        case "internal":
            return item["internal"] is (value == "true")
        case "dangling":
            return (not item["members"]) is (value in ("true", "1"))
        case "type":
            return value == ("builtin" if item["name"] == "bridge" else "custom")
        case "label":
            name, has_value, wanted = value.partition("=")
            return name in item["labels"] and (not has_value or item["labels"][name] == wanted)
    known = "name, id, driver, scope, internal, dangling, type, label"
    raise click.UsageError(f"--filter {text}: {key!r} is not one of {known}{'' if equals else '='}")


@network.command("inspect")
@click.argument("names", nargs=-1, required=True)
def network_inspect(names: tuple[str, ...]) -> None:
    """Show networks as JSON."""
    print_json([call("GET", f"/v1/networks/{segment(name)}") for name in names])


@network.command("rm")
@click.argument("names", nargs=-1, required=True)
@DRY_RUN
def network_rm(names: tuple[str, ...], dry_run: bool) -> int:
    """Remove networks that have no endpoints."""
    return each(names, lambda name: remove(f"/v1/networks/{segment(name)}", name, dry_run))


@network.command("prune")
@click.option("--force", "-f", is_flag=True, help="Don't ask.")
@click.option("--filter", "filters", multiple=True, metavar="KEY=VALUE", help="label=, label!=, until= (24h, or a time).")
def network_prune(force: bool, filters: tuple[str, ...]) -> None:
    """Remove all networks without endpoints, or those of them that pass every filter."""
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
    """Return the time that *text* means, in seconds since the epoch: so long ago, a date, or such seconds."""
    seconds = seconds_of(text)
    if seconds is not None:
        return datetime.now(UTC).timestamp() - seconds
    try:
        return float(text) if text.replace(".", "", 1).isdigit() else datetime.fromisoformat(text).timestamp()
    except ValueError as error:
        raise click.UsageError(f"--filter until={text}: it should be like 24h, 2026-11-25T12:00 or seconds since 1970") from error


@network.command("connect")
@click.argument("network_name", metavar="NETWORK")
@click.argument("sandbox")
@click.option("--alias", "aliases", multiple=True, help="One more name on this network.")
@click.option("--service", "services", multiple=True, help="Service that it is part of: all that have it answer, and SRV.")
@click.option("--ip", help="IPv4 address.")
@click.option("--ip6", help="IPv6 address.")
@click.option("--link-local-ip", "link_local_ips", multiple=True, metavar="ADDRESS", help="Link-local address, one more.")
@click.option("--mac-address", help="MAC address.")
@click.option("--gw-priority", type=int, default=0, help="The highest gives the default gateway.")
@click.option("--link", "links", multiple=True, metavar="SANDBOX[:ALIAS]", help="Private alias of another sandbox.")
@click.option("--ifname", help="Name of the link in the sandbox.")
@click.option("--route", "routes", multiple=True, metavar="DESTINATION=VIA", help="Route over a neighbour on the network.")
@click.option("--driver-opt", "driver_opts", multiple=True, metavar="KEY=VALUE", help="Option of the endpoint: sysctls, ifname.")
@DRY_RUN
def network_connect(network_name: str, sandbox: str, dry_run: bool, **given: Any) -> None:
    """Connect SANDBOX to NETWORK."""
    links = dict(run_exec.link_option(text) for text in given.pop("links"))
    given["driver_opts"] = pairs(given["driver_opts"])
    body = {"sandbox": run_exec.find_sandbox(sandbox)["id"], "links": links, **given}
    made = call("POST", f"/v1/networks/{segment(network_name)}/connect{'?dry_run=1' if dry_run else ''}", body)
    print_plan(made) if dry_run else print_warnings(made)


@network.command("disconnect")
@click.argument("network_name", metavar="NETWORK")
@click.argument("sandbox")
@DRY_RUN
def network_disconnect(network_name: str, sandbox: str, dry_run: bool) -> None:
    """Disconnect SANDBOX from NETWORK."""
    body = {"sandbox": run_exec.find_sandbox(sandbox)["id"]}
    made = call("POST", f"/v1/networks/{segment(network_name)}/disconnect{'?dry_run=1' if dry_run else ''}", body)
    if dry_run:
        print_plan(made)
