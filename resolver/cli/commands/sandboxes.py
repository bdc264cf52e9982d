"""Commands on sandboxes: rm, rename, detach."""

from __future__ import annotations

import click

from resolver.cli.client import Refused, call, find_sandbox, segment
from resolver.cli.commands.declare import command, option
from resolver.cli.commands.options import DRY_RUN, SANDBOX, WAIT, each, remove, taking_away
from resolver.cli.output import print_warnings
from resolver.cli.sandbox_calls import delete


@command(examples=("berth rm web db", "berth rm -f web"))
@click.argument("names", nargs=-1, required=True, type=SANDBOX, metavar="SANDBOX...")
@option("-f", "--force", is_flag=True, help="It is no failure if one does not exist. Running ones are removed in any case.")
@option("-v", "--volumes", is_flag=True, help="Remove its volumes: it has none.", group="Always so", expose_value=False)
@WAIT
@DRY_RUN
def rm(names: tuple[str, ...], force: bool, wait: bool, dry_run: bool) -> int:
    """Remove sandboxes.

    The processes that berth started in them end.
    """

    def remove_one(name: str) -> None:
        path = f"/v1/sandboxes/{_to_remove(name)}"
        if dry_run:
            remove(path, name, dry_run=True)
        else:
            print_warnings({"warnings": delete(taking_away(path, dry_run=False, wait=wait), call)})
            print(name)

    return each(names, remove_one, may_be_gone=force)


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


@command(examples=("berth rename web front-web",))
@click.argument("sandbox", type=SANDBOX)
@click.argument("name")
def rename(sandbox: str, name: str) -> None:
    """Rename a sandbox.

    NAME resolves at once; the old name no longer does.
    """
    call("PATCH", f"/v1/sandboxes/{find_sandbox(sandbox, autostart=True)['id']}", {"name": name})


@command(examples=("berth detach legacy",))
@click.argument("sandbox", type=SANDBOX)
def detach(sandbox: str) -> None:
    """Release an adopted sandbox.

    Its namespace and its processes stay; what berth added to the namespace is removed.
    """
    found = find_sandbox(sandbox, autostart=True)
    if not found["adopted"]:
        raise Refused(f"{found['name']} is not adopted, so nothing would be left of it; `berth rm` ends its processes and removes it")
    print_warnings(call("DELETE", f"/v1/sandboxes/{found['id']}"))
