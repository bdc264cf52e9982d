"""Commands on egress rules: what a sandbox may reach, and what it was refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from resolver.cli.client import call, find_sandbox, segment
from resolver.cli.command_table import EGRESS_ROWS
from resolver.cli.commands.declare import command, group, option
from resolver.cli.commands.moments import moment
from resolver.cli.commands.options import FORMAT, SANDBOX
from resolver.cli.egress_files import save_list, with_files
from resolver.cli.event_stream import event_stream
from resolver.cli.output import print_json, print_table
from resolver.printable import printable


@group(rows=EGRESS_ROWS)
def egress() -> None:
    """Show and change what sandboxes may reach."""


@command("show", examples=("berth egress show job",))
@click.argument("sandbox", type=SANDBOX)
@FORMAT
def show(sandbox: str, form: str) -> None:
    """Show the egress rules of a sandbox, and what they have opened."""
    shown = call("GET", f"{_path(sandbox)}/egress")
    if form == "json":
        print_json(shown)
        return
    if not shown["layers"]:
        print(f"{shown['sandbox']} has no egress rules: it reaches what its networks reach")
    for layer in shown["layers"]:
        print(f"{layer['title']}:")
        for rule in layer["rules"]:
            print(f"  {rule['rule']}")
    if shown["openings"]:
        rows = [(one["name"], one["address"], one["ports"], f"{one['left']:.0f} s", _check(one)) for one in shown["openings"]]
        print_table(("NAME", "OPEN", "PORTS", "LEFT", "CHECKED"), rows)
    if shown["refused"]:
        print(f"refused: {shown['refused']} (see `berth egress log --sandbox {shown['sandbox']}`)")


def _check(opening: Mapping[str, Any]) -> str:
    """Say what beside the address is looked at."""
    if opening["by_address"] == opening["ports"]:
        return "address alone"
    said = ["name"]
    said += [f"{opening['by_address']}: address alone"] if opening["by_address"] else []
    said += [f"{opening['without_name']}: address alone, unless it is TLS or HTTP"] if opening["without_name"] else []
    return "; ".join(said)


@command("add", examples=("berth egress add job '*.mirror.example.org'",))
@click.argument("sandbox", type=SANDBOX)
@click.argument("rules", nargs=-1, required=True)
@FORMAT
def add(sandbox: str, rules: tuple[str, ...], form: str) -> None:
    """Add egress rules to those of a sandbox.

    They hold at once.
    """
    _change(sandbox, {"add": with_files(rules)}, form)


@command("remove", examples=("berth egress remove job packages.example.org",))
@click.argument("sandbox", type=SANDBOX)
@click.argument("rules", nargs=-1, required=True)
@FORMAT
def remove(sandbox: str, rules: tuple[str, ...], form: str) -> None:
    """Take egress rules from a sandbox.

    Connections that are not allowed any more are cut at once.
    """
    _change(sandbox, {"remove": with_files(rules)}, form)


@command("set", examples=("berth egress set job packages.example.org '*.files.example.org:443'", "berth egress set job --inherit"))
@click.argument("sandbox", type=SANDBOX)
@click.argument("rules", nargs=-1)
@option("--inherit", is_flag=True, help="Have the rules of its networks, or the default, in place of its own.")
@FORMAT
def set_rules(sandbox: str, rules: tuple[str, ...], inherit: bool, form: str) -> None:
    """Give a sandbox other egress rules.

    Connections that are not allowed any more are cut at once.
    """
    if bool(rules) == inherit:
        raise click.UsageError("give the rules that it is to have, or --inherit")
    _change(sandbox, {"inherit": True} if inherit else {"rules": with_files(rules)}, form)


@command("test", examples=("berth egress test job example.com:443",))
@click.argument("sandbox", type=SANDBOX)
@click.argument("target")
@FORMAT
def test(sandbox: str, target: str, form: str) -> int:
    """Say whether a sandbox may reach something.

    TARGET is NAME[:PORT] or ADDRESS[:PORT]. Exits with 0 if it may, else with 1.
    """
    verdict = call("POST", f"{_path(sandbox)}/egress/test", {"target": target})
    if form == "json":
        print_json(verdict)
    else:
        print(printable(verdict["reason"]))
    return 0 if verdict["allowed"] else 1


@command("log", examples=("berth egress log -f", "berth egress log --since 10m --sandbox job"))
@option("-f", "--follow", is_flag=True, help="Go on with what is refused from now on.")
@option("--since", metavar="TIME", help="Only what was refused since then: 10m, or 2026-11-25T12:00.")
@option("--sandbox", type=SANDBOX, metavar="SANDBOX", help="Only of this sandbox.")
@FORMAT
def log(follow: bool, since: str | None, sandbox: str | None, form: str) -> None:
    """Show what egress rules refused.

    A line for each question and connection: when last, which sandbox, what it wanted, how often, and the rule that would allow it.
    """
    given = {"since": f"{moment('--since', since):.3f}" if since is not None else None, "sandbox": sandbox}
    if follow and since is None:
        given["since"] = "0"
    query = "&".join(f"{key}={segment(value)}" for key, value in given.items() if value is not None)
    if follow:
        for refused in event_stream(f"/v1/egress/log/stream?{query}"):
            print(json.dumps(refused, separators=(",", ":")) if form == "json" else _line(refused), flush=True)
        return
    listed = call("GET", f"/v1/egress/log{'?' if query else ''}{query}")
    if form == "json":
        print_json(listed)
        return
    for refused in listed:
        print(_line(refused))


@command(
    "learn",
    examples=("berth run --egress learn --name job -- make ci", "berth egress learn job", "berth egress learn job --save ci --clear"),
)
@click.argument("sandbox", type=SANDBOX)
@option("--save", metavar="LIST", help="Write them to a list of yours, for `--egress @LIST`.")
@option("--clear", is_flag=True, help="Forget them then: the next run begins anew.")
@FORMAT
def learn(sandbox: str, save: str | None, clear: bool, form: str) -> None:
    """Show the egress rules that a sandbox has needed.

    A rule a line. It is recorded of sandboxes with the rule `learn`, and outlives them.
    """
    path = f"/v1/egress/learned/{segment(sandbox)}"
    learned = call("GET", path)
    _tell_learned(learned, save, form)
    if clear:
        call("DELETE", path)


def _tell_learned(learned: Mapping[str, Any], save: str | None, form: str) -> None:
    if save is not None:
        path = save_list(save, learned["rules"], f"what sandbox {learned['sandbox']} has needed")
        print(f"{path}: {len(learned['rules'])} rules, for --egress @{save}")
    elif form == "json":
        print_json(learned)
    else:
        for rule in learned["rules"]:
            print(rule)


def _line(refused: dict[str, Any]) -> str:
    time = datetime.fromtimestamp(refused["last"], UTC).astimezone().isoformat(timespec="milliseconds")
    target = refused["name"]
    if refused["kind"] == "connection":
        port = f":{refused['port']}" if refused["port"] else ""
        target = f"{refused['address']}{port}/{refused['protocol']}{f' ({target})' if target else ''}"
    lacks = refused["lacks"] or "-"
    return printable(f"{time} {refused['sandbox']} {refused['kind']} {target} count={refused['count']} lacks={lacks}")


def _path(sandbox: str) -> str:
    return f"/v1/sandboxes/{find_sandbox(sandbox)['id']}"


def _change(sandbox: str, change: dict[str, Any], form: str) -> None:
    """Change the rules of *sandbox*, and print those that it has now of its own; as JSON null if it has none."""
    rules = call("PATCH", _path(sandbox), {"egress": change})["egress"]
    if form == "json":
        print_json(rules)
        return
    for rule in rules or ():
        print(rule)
