"""The commands inspect, `network inspect` and port."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from resolver.cli import command_record, docker_inspect, proc
from resolver.cli.client import Refused, call, find_sandbox, segment
from resolver.cli.commands.declare import command, option
from resolver.cli.commands.options import FORMAT, NETWORK, PROJECT, SANDBOX, TEMPLATE, check_template
from resolver.cli.listing import print_by_template
from resolver.cli.output import complain, print_json


@command(examples=("berth inspect web", "berth inspect -f '{{.NetworkSettings.Networks.front.IPAddress}}' web"))
@click.argument("names", nargs=-1, required=True, type=SANDBOX, metavar="NAME...")
@TEMPLATE
@option("--type", "kind", type=click.Choice(["container", "sandbox", "network"]), help="Only what is of this type.")
def inspect(names: tuple[str, ...], form: str, kind: str | None) -> int:
    """Show sandboxes or networks as JSON.

    Where a sandbox and a network have one name, the sandbox is shown. Templates know Docker's fields and those of the JSON.
    """
    check_template(form)
    return _show(names, form, lambda name: _found(name, kind))


@command("inspect", examples=("berth network inspect front", "berth network inspect -f '{{len .Containers}}' front"))
@click.argument("names", nargs=-1, required=True, type=NETWORK, metavar="NETWORK...")
@TEMPLATE
def network_inspect(names: tuple[str, ...], form: str) -> int:
    """Show networks as JSON."""
    check_template(form)
    return _show(names, form, _network)


@command(examples=("berth port web", "berth port web 80/tcp"))
@click.argument("sandbox", type=SANDBOX)
@click.argument("port", required=False, metavar="[PORT[/PROTO]]")
@PROJECT
@option("--index", type=int, default=1, show_default=True, metavar="NUMBER", help="Which replica of the service.")
@FORMAT
def port(sandbox: str, port: str | None, project: str | None, index: int, form: str) -> None:
    """Show where the ports of a sandbox are published.

    With PORT only the address and port on the host.
    """
    shown = find_sandbox(sandbox, project=project, index=index)
    published = docker_inspect.published_ports(shown, port)
    if port is not None and not published:
        others = sorted({line.partition(" ")[0] for line in docker_inspect.port_lines(shown, None)})
        raise Refused(f"{shown['name']} does not publish {port}; it publishes {', '.join(others) or 'nothing'}")
    if form == "json":
        print_json(published)
        return
    for line in docker_inspect.port_lines(shown, port):
        print(line)


View = dict[str, Any]
Found = tuple[Callable[[View], View], View]
"""What makes the fields for templates, and what the admin API says."""


def _found(name: str, kind: str | None) -> Found:
    if kind == "network":
        return _network(name)
    try:
        shown = call("GET", f"/v1/sandboxes/{find_sandbox(name)['id']}?plugins=1")
    except Refused as error:
        if error.kind != "not-found" or kind is not None:
            raise
        try:
            return _network(name)
        except Refused as neither:
            if neither.kind != "not-found":
                raise
            raise Refused(f"there is no sandbox and no network {name}; `berth ps` and `berth network ls` list them", "not-found") from error
    record = command_record.read(shown)
    if record is not None:
        shown["environment"] = {**shown["environment"], **record.variables}
        shown["working_directory"] = record.directory
    if shown.get("health") is not None:
        # Who may not read the directory of the sandbox is told the state without its reasons.
        with contextlib.suppress(OSError, ValueError):
            shown["health_log"] = json.loads(Path(shown["directory"], "health").read_text())
    return lambda view: docker_inspect.sandbox(view, proc.command_of(view)), shown


def _show(names: Sequence[str], form: str, find: Callable[[str], Found]) -> int:
    """Print what there is of *names*, then what there is not; return the exit code, 1 if anything was not there."""
    found: list[Found] = []
    missing: list[Refused] = []
    for name in names:
        try:
            found.append(find(name))
        except Refused as error:
            if error.kind != "not-found":
                raise
            missing.append(error)
    if form == "json":
        print_json([shown for _, shown in found])
    else:
        print_by_template(form, [fields(shown) for fields, shown in found])
    sys.stdout.flush()
    for reason in missing:
        complain(reason)
    return 1 if missing else 0


def _network(name: str) -> Found:
    return docker_inspect.network, call("GET", f"/v1/networks/{segment(name)}")
