"""Commands on sandboxes: ps, inspect, rm, rename, detach."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from resolver.cli.client import Refused, call, find_sandbox, segment
from resolver.cli.commands.options import DRY_RUN, FORMAT, SANDBOX, each, remove
from resolver.cli.output import port_text, print_json, print_table, print_warnings
from resolver.cli.sandbox_calls import delete


def network_mode(sandbox: dict[str, Any]) -> str | None:
    """Return the mode of a sandbox without networks of its own, as `--network` names it, None for any other."""
    match sandbox["stack"]:
        case "host" | "none" as mode:
            return str(mode)
        case "container":
            return f"container:{sandbox['shared_with']}"
    return "(ended, its stack is shared)" if sandbox["ended"] else None


PS_COLUMNS: tuple[tuple[str, Callable[[dict[str, Any]], str]], ...] = (
    ("SANDBOX ID", lambda sandbox: sandbox["id"][:12]),
    ("NAME", lambda sandbox: sandbox["name"]),
    ("PID", lambda sandbox: str(sandbox["pid"] or "-")),
    ("NETWORKS", lambda sandbox: network_mode(sandbox) or " ".join(sandbox["networks"])),
    ("ADDRESSES", lambda sandbox: " ".join(sandbox["addresses"])),
    ("PORTS", lambda sandbox: " ".join(port_text(port) for endpoint in sandbox["endpoints"] for port in endpoint["ports"])),
)
"""The columns of `berth ps`: heading, and what of a sandbox is in it."""


@click.command()
@click.option("-q", "--quiet", is_flag=True, help="Print ids only.")
@FORMAT
def ps(quiet: bool, form: str) -> None:
    """List sandboxes."""
    sandboxes = call("GET", "/v1/sandboxes")
    if form == "json":
        print_json(sandboxes)
    elif quiet:
        for sandbox in sandboxes:
            print(sandbox["id"])
    else:
        headings = [heading for heading, _ in PS_COLUMNS]
        print_table(headings, [[cell(sandbox) for _, cell in PS_COLUMNS] for sandbox in sandboxes])


@click.command()
@click.argument("names", nargs=-1, required=True, type=SANDBOX, metavar="SANDBOX...")
def inspect(names: tuple[str, ...]) -> None:
    """Show sandboxes as JSON."""
    print_json([call("GET", f"/v1/sandboxes/{find_sandbox(name)['id']}?plugins=1") for name in names])


@click.command()
@click.argument("names", nargs=-1, required=True, type=SANDBOX, metavar="SANDBOX...")
@DRY_RUN
def rm(names: tuple[str, ...], dry_run: bool) -> int:
    """Remove sandboxes.

    The processes that berth started in them end.
    """

    def remove_one(name: str) -> None:
        path = f"/v1/sandboxes/{_to_remove(name)}"
        if dry_run:
            remove(path, name, dry_run=True)
        else:
            print_warnings({"warnings": delete(path, call)})
            print(name)

    return each(names, remove_one)


def _to_remove(name: str) -> str:
    """Return the id of the sandbox that *name* means; the name itself if there is none, but some are set aside: it may be one."""
    try:
        identity: str = find_sandbox(name, autostart=True)["id"]
    except Refused as error:
        if error.kind != "not-found" or not _has_set_aside():
            raise
        return segment(name)
    return identity


def _has_set_aside() -> bool:
    try:
        return any(finding["object"] == "sandbox" for finding in call("GET", "/v1/doctor"))
    except Refused:
        return False


@click.command()
@click.argument("sandbox", type=SANDBOX)
@click.argument("name")
def rename(sandbox: str, name: str) -> None:
    """Rename a sandbox.

    NAME resolves at once; the old name no longer does.
    """
    call("PATCH", f"/v1/sandboxes/{find_sandbox(sandbox, autostart=True)['id']}", {"name": name})


@click.command()
@click.argument("sandbox", type=SANDBOX)
def detach(sandbox: str) -> None:
    """Release an adopted sandbox.

    Its namespace and its processes stay; what berth added to the namespace is removed.
    """
    found = find_sandbox(sandbox, autostart=True)
    if not found["adopted"]:
        raise Refused(f"{found['name']} is not adopted, so nothing would be left of it; `berth rm` ends its processes and removes it")
    print_warnings(call("DELETE", f"/v1/sandboxes/{found['id']}"))
