"""The command systemd-dropin: a drop-in that puts a service of systemd into a sandbox."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import click

from resolver.cli.client import NoDaemon, Refused, call, segment
from resolver.cli.commands.declare import command, option
from resolver.cli.commands.options import DIRECTORY
from resolver.cli.commands.service import UNITS, tell_systemd
from resolver.cli.output import complain

_NAME = "berth.conf"
_UNIT = re.compile(r"[A-Za-z0-9:_.\\-]+(@[A-Za-z0-9:_.\\-]*)?\.service\Z")
_SANDBOX = re.compile(r"[a-zA-Z0-9%][a-zA-Z0-9_.%-]*\Z")

_DROPIN = """\
# Written by `berth systemd-dropin {unit}`; with --remove it is removed.
[Unit]
Wants=berth.service
After=berth.service

[Service]
NetworkNamespacePath={netns}/berth-{sandbox}
BindReadOnlyPaths={files}/{sandbox}/resolv.conf:/etc/resolv.conf
BindReadOnlyPaths={files}/{sandbox}/hosts:/etc/hosts
"""


@command("systemd-dropin", examples=("berth systemd-dropin web.service", "berth systemd-dropin --dry-run --sandbox shop web"))
@click.argument("unit")
@option("--sandbox", metavar="NAME", help="Sandbox to run it in (default: the name of the unit; of a template NAME@, NAME-%i).")
@option(
    "--directory",
    type=DIRECTORY,
    metavar="DIRECTORY",
    default=UNITS,
    show_default=True,
    help="Where the unit's directory of drop-ins is; systemd is told of its own directory only.",
)
@option("--dry-run", is_flag=True, help="Print it and write nothing.")
@option("--remove", is_flag=True, help="Remove it. The unit's directory of drop-ins goes with it if nothing else is in it.")
def systemd_dropin(unit: str, sandbox: str | None, directory: str, dry_run: bool, remove: bool) -> None:
    """Write a drop-in that runs a service in a sandbox.

    UNIT is the service. The drop-in is printed first. The service gets the sandbox's network namespace, resolv.conf and hosts when it
    is started the next time. Make the sandbox with `berth sandbox create --persist NAME`, so that it is there before the service
    after a boot.
    """
    unit = unit if unit.endswith(".service") else f"{unit}.service"
    if not _UNIT.match(unit):
        raise click.UsageError(f"{unit!r} is not the name of a service of systemd", click.get_current_context())
    path = Path(directory, f"{unit}.d", _NAME)
    if remove:
        _remove(path, directory, dry_run=dry_run)
        return
    name = sandbox or _sandbox_of(unit)
    if not _SANDBOX.match(name):
        raise click.UsageError(f"{name!r} can't be the name of a sandbox; give one with --sandbox", click.get_current_context())
    text = dropin(unit, name)
    print(f"# {path}")
    print(text, end="")
    _warn_if_missing(name)
    if dry_run:
        return
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    if tell_systemd(Path(directory), "daemon-reload"):
        complain(f"it takes effect at the next start: systemctl restart {unit}")


def dropin(unit: str, sandbox: str) -> str:
    """Return the text of the drop-in of *unit* for *sandbox*."""
    files = os.path.join(os.environ.get("BERTH_RUN_DIR", "/run/berth"), "by-name")
    return _DROPIN.format(unit=unit, sandbox=sandbox, netns="/run/netns", files=files)


def _sandbox_of(unit: str) -> str:
    name = unit.removesuffix(".service")
    prefix, at, instance = name.partition("@")
    return name if not at else f"{prefix}-{instance or '%i'}"


def _warn_if_missing(name: str) -> None:
    """Say what is not as it should be with the sandbox, as far as a daemon is there to be asked."""
    if "%" in name:
        return
    try:
        found = call("GET", f"/v1/sandboxes/{segment(name)}", autostart=False)
    except NoDaemon:
        return
    except Refused:
        complain(f"warning: there is no sandbox {name} yet; create it with `berth sandbox create --persist {name} --network NETWORK`")
        return
    if not found.get("persists"):
        complain(f"warning: sandbox {name} is not there after a reboot; `berth sandbox create --persist` makes one that is")


def _remove(path: Path, directory: str, *, dry_run: bool) -> None:
    if not path.exists():
        raise Refused(f"{path} does not exist; there is nothing to remove")
    print(path)
    if dry_run:
        return
    try:
        path.unlink()
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    with contextlib.suppress(OSError):
        path.parent.rmdir()
    tell_systemd(Path(directory), "daemon-reload")
