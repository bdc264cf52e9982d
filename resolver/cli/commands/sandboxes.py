"""Commands on sandboxes: rm, rename, detach."""

from __future__ import annotations

import click

from resolver.cli.changed import Changed
from resolver.cli.client import Refused, call, find_sandbox, sandboxes_path, segment
from resolver.cli.commands.declare import command, option
from resolver.cli.commands.meant import meant
from resolver.cli.commands.options import DRY_RUN, FORMAT, SANDBOX, WAIT, each, remove, taking_away
from resolver.cli.output import complain, print_warnings
from resolver.cli.sandbox_calls import delete


@command(examples=("berth rm web db", "berth rm -f web"))
@click.argument("names", nargs=-1, type=SANDBOX, metavar="SANDBOX...")
@option("-f", "--force", is_flag=True, help="It is no failure if one does not exist. With --project: do not ask.")
@option("-s", "--stop", is_flag=True, help="With --project: stop those that run first.")
@WAIT
@DRY_RUN
@option("--project", metavar="NAME", help="Remove only what is stopped of this Compose project; SANDBOX is one of its services.")
@FORMAT
def rm(names: tuple[str, ...], force: bool, stop: bool, wait: bool, dry_run: bool, project: str | None, form: str) -> int:
    """Remove sandboxes.

    The processes that berth started in them end. Without --project running ones are removed in any case.
    """
    if project is not None:
        with Changed(form) as changed:
            return _remove_services(names, project, changed, force=force, stop=stop, wait=wait, dry_run=dry_run)
    if stop:
        raise click.UsageError("--stop is for services of a --project; others are stopped in any case", click.get_current_context())
    if not names:
        raise click.UsageError("SANDBOX is missing", click.get_current_context())

    def remove_one(name: str) -> None:
        identity = _to_remove(name)
        path = f"/v1/sandboxes/{identity}"
        if dry_run:
            remove(path, name, changed, dry_run=True)
        else:
            print_warnings({"warnings": delete(taking_away(path, dry_run=False, wait=wait), call)})
            changed.tell(name, id=identity)

    with Changed(form) as changed:
        return each(names, remove_one, may_be_gone=force)


def _remove_services(names: tuple[str, ...], project: str, changed: Changed, *, force: bool, stop: bool, wait: bool, dry_run: bool) -> int:
    members = meant(names, project, stopped=True)
    if stop and not dry_run:
        for member in members:
            if member["run"] is not None and member["run"]["state"] != "exited":
                call("POST", f"/v1/sandboxes/{member['id']}/stop", {}, patience=None)
        # Of one that keeps nothing, nothing is left.
        members = [member for member in call("GET", sandboxes_path(stopped=True)) if member["id"] in {one["id"] for one in members}]
    found = {member["name"]: member for member in members if member["run"] is not None and (stop or member["run"]["state"] == "exited")}
    if not found:
        complain(f"nothing of project {project} is stopped" if not names else f"no sandbox of {', '.join(names)} is stopped")
        return 0
    if not force and not dry_run:
        click.confirm(f"Remove {', '.join(found)}?", abort=True)

    def remove_one(name: str) -> None:
        identity = found[name]["id"]
        path = f"/v1/sandboxes/{identity}"
        if dry_run:
            remove(path, name, changed, dry_run=True)
        else:
            delete(taking_away(path, dry_run=False, wait=wait), call)
            changed.tell(name, id=identity)

    return each(tuple(found), remove_one)


def _to_remove(name: str) -> str:
    """Return the id of the sandbox that *name* means; the name itself if there is none, but some are set aside: it may be one."""
    try:
        identity: str = find_sandbox(name)["id"]
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
    call("PATCH", f"/v1/sandboxes/{find_sandbox(sandbox)['id']}", {"name": name})


@command(examples=("berth detach legacy",))
@click.argument("sandbox", type=SANDBOX)
def detach(sandbox: str) -> None:
    """Release an adopted sandbox.

    Its namespace and its processes stay; what berth added to the namespace is removed. One that follows a program does so no more.
    """
    found = find_sandbox(sandbox)
    if not found["adopted"] and not found.get("follows"):
        raise Refused(f"{found['name']} is not adopted, so nothing would be left of it; `berth rm` ends its processes and removes it")
    print_warnings(call("DELETE", f"/v1/sandboxes/{found['id']}"))
