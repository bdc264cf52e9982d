"""Commands on static names of networks: `berth network record`."""

from __future__ import annotations

import click

from resolver.cli.client import call, segment
from resolver.cli.command_table import RECORD_ROWS
from resolver.cli.commands.declare import command, group, option
from resolver.cli.commands.options import FORMAT, NETWORK
from resolver.cli.output import print_json, print_table


@group(rows=RECORD_ROWS)
def record() -> None:
    """Give a network static names.

    Sandboxes on the network find them like the names of other sandboxes: as NAME, NAME.NETWORK and NAME.NETWORK.berth.internal.
    """


@command(
    "add",
    examples=(
        "berth network record add front printer A 192.168.1.20",
        "berth network record add front www CNAME web",
        "berth network record add front _sip._udp SRV '0 5 5060 pbx' --ttl 60",
    ),
)
@click.argument("network_name", metavar="NETWORK", type=NETWORK)
@click.argument("name")
@click.argument("rtype", metavar="TYPE")
@click.argument("value", nargs=-1, required=True, metavar="VALUE...")
@option("--ttl", type=int, metavar="SECONDS", help="How long answers may be kept (default: the network's option ttl).")
@FORMAT
def record_add(network_name: str, name: str, rtype: str, value: tuple[str, ...], ttl: int | None, form: str) -> None:
    """Add a static name to NETWORK.

    VALUE is written as in a zone file. A target of one label, or one that ends in .NETWORK, is on NETWORK; any other is a full name.
    The NAME of a PTR record is an address.
    """
    body = {"name": name, "type": rtype, "data": " ".join(value), "ttl": ttl}
    added = call("POST", f"/v1/networks/{segment(network_name)}/records", body)
    if form == "json":
        print_json(added)


@command("remove", examples=("berth network record remove front www", "berth network record remove front printer A 192.168.1.20"))
@click.argument("network_name", metavar="NETWORK", type=NETWORK)
@click.argument("name")
@click.argument("rtype", required=False, metavar="[TYPE]")
@click.argument("value", nargs=-1, metavar="[VALUE...]")
@FORMAT
def record_remove(network_name: str, name: str, rtype: str | None, value: tuple[str, ...], form: str) -> None:
    """Remove static names from NETWORK.

    All records of NAME, or those of one type, or the one with this value. Prints them.
    """
    which = f"name={segment(name)}"
    if rtype is not None:
        which += f"&type={segment(rtype)}"
    if value:
        which += f"&data={segment(' '.join(value))}"
    removed = call("DELETE", f"/v1/networks/{segment(network_name)}/records?{which}")
    if form == "json":
        print_json(removed)
        return
    for each in removed:
        print(" ".join((each["name"], each["type"], each["data"])))


@command("ls", examples=("berth network record ls front",))
@click.argument("network_name", metavar="NETWORK", type=NETWORK)
@FORMAT
def record_ls(network_name: str, form: str) -> None:
    """List the static names of NETWORK."""
    records = call("GET", f"/v1/networks/{segment(network_name)}/records")
    if form == "json":
        print_json(records)
    else:
        rows = [(each["name"], str(each["ttl"]), each["type"], each["data"]) for each in records]
        print_table(("NAME", "TTL", "TYPE", "VALUE"), rows, whole=True)
