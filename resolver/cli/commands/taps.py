"""The commands `berth tap`: links of virtual machines."""

from __future__ import annotations

import grp
import os
import pwd

import click

from netcore import limits
from resolver.cli.changed import Changed
from resolver.cli.client import Refused, call, find_sandbox
from resolver.cli.command_table import TAP_ROWS
from resolver.cli.commands.declare import command, group, option
from resolver.cli.commands.options import DRY_RUN, FORMAT, NETWORK, SANDBOX, each, pairs, remove, taking_away
from resolver.cli.egress_files import with_files
from resolver.cli.output import print_json, print_plan, print_warnings

_ADDRESSES, _NAMES, _REACH = "Addresses", "Names", "Reach"


@group(rows=TAP_ROWS)
def tap() -> None:
    """Give virtual machines a link on a network."""


@command(
    examples=(
        "berth tap create front vm1",
        "berth tap create --user ann -p 8080:80 --egress www.example.org front vm1",
    )
)
@click.argument("network_name", metavar="NETWORK", type=NETWORK)
@click.argument("name")
@option("--user", metavar="USER", help="Who may open the tap, by name or number (default: who types this).")
@option("--group", "of_group", metavar="GROUP", help="A group whose members may open it too.")
@option("--persist", is_flag=True, help="Make it again after a reboot, with the same MAC, addresses and ports.")
@option("--mac-address", metavar="MAC", group=_ADDRESSES, help="MAC of the virtual machine (default: a random one).")
@option("--ip", metavar="ADDRESS", group=_ADDRESSES, help="IPv4 address (default: a free one).")
@option("--network-alias", "aliases", multiple=True, metavar="NAME", group=_NAMES, help="Further name on the network.")
@option("-l", "--label", "labels", multiple=True, metavar="KEY=VALUE", help="Label.")
@option("-p", "--publish", "publish", multiple=True, metavar="[[ADDRESS:]HOST_PORT:]PORT[/PROTOCOL]", group=_REACH, help="Publish a port.")
@option(
    "--egress",
    multiple=True,
    metavar="RULE[,RULE...]",
    group=_REACH,
    help="What it may reach; @./FILE and @LIST for lists.",
)
@DRY_RUN
@FORMAT
def create(
    network_name: str, name: str, user: str | None, of_group: str | None, persist: bool, mac_address: str | None, ip: str | None,
    aliases: tuple[str, ...], labels: tuple[str, ...], publish: tuple[str, ...], egress: tuple[str, ...], dry_run: bool, form: str,
) -> None:  # fmt: skip
    """Create a tap called NAME on NETWORK, for a virtual machine.

    The virtual machine gets its address by DHCP and by router advertisements, and its name resolves as that of a sandbox. It must have
    the MAC address that is printed. Programs such as QEMU and Firecracker open the tap by its NAME. It stays until `berth tap rm`.
    """
    if len(name) > limits.IFNAME_LENGTH:
        raise click.UsageError(f"{name}: the name of a link has at most {limits.IFNAME_LENGTH} characters", click.get_current_context())
    link = {"owner": _number(user, "user") if user is not None else os.getuid(), "group": of_group and _number(of_group, "group")}
    endpoint = {"network": network_name, "ifname": name, "aliases": list(aliases), "tap": link}
    endpoint |= {key: value for key, value in (("mac_address", mac_address), ("ip", ip)) if value}
    body = {"name": name, "networks": [endpoint], "labels": pairs(labels), "publish": list(publish), "persist": persist}
    if egress:
        body["egress"] = with_files(list(egress))
    made = call("POST", f"/v1/sandboxes{'?dry_run=1' if dry_run else ''}", body)
    if form == "json":
        print_json(made)
        return
    if dry_run:
        print_plan(made)
        return
    print_warnings(made)
    (found,) = made["endpoints"]
    print(found["mac"])


@command(examples=("berth tap rm vm1",))
@click.argument("names", nargs=-1, required=True, type=SANDBOX, metavar="NAME...")
@option("-f", "--force", is_flag=True, help="It is no failure if one does not exist.")
@DRY_RUN
@FORMAT
def rm(names: tuple[str, ...], force: bool, dry_run: bool, form: str) -> int:
    """Remove taps.

    A virtual machine that has one open loses its link.
    """

    def remove_one(name: str) -> None:
        found = find_sandbox(name)
        if not any(endpoint.get("tap") for endpoint in found["endpoints"]):
            raise Refused(f"{name} has no tap; `berth rm {name}` removes a sandbox")
        path = f"/v1/sandboxes/{found['id']}"
        if dry_run:
            remove(path, name, changed, dry_run=True)
        else:
            print_warnings(call("DELETE", taking_away(path, dry_run=False, wait=False)))
            changed.tell(name, id=found["id"])

    with Changed(form) as changed:
        return each(names, remove_one, may_be_gone=force)


def _number(text: str, kind: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid if kind == "user" else grp.getgrnam(text).gr_gid
    except KeyError:
        raise Refused(f"--{kind} {text}: there is no such {kind}") from None
