"""`berth attach`: adopt a network namespace that exists, with the options of `berth run` that are not about a command."""

from __future__ import annotations

import os
import sys

from resolver.cli.client import Refused, call
from resolver.cli.egress_files import with_files
from resolver.cli.outcome import outcome, usage_error
from resolver.cli.output import print_json, print_plan, print_warnings
from resolver.cli.sandbox_options import BadOption, sandbox_body
from resolver.cli.sandbox_parser import arguments_of
from resolver.rootless import places

_PIDFILE = "pidfile:"


def main(arguments: list[str]) -> int:
    """Run `berth attach` *arguments* and return the exit code: 0, 1 (refused or failed) or 2 (usage)."""
    return outcome(lambda: _attach(arguments))


def _pid_in_nest(pid: int) -> int:
    """Return what the process *pid* is called in the nest of an ordinary user; Refused if it is not there."""
    from resolver.rootless import pids

    found = pids.inside(pid)
    if found is None:
        raise Refused(
            f"process {pid} is not in the namespaces of this user's sandboxes, so its network can't be changed; start it there, "
            "with `berth unshare -- COMMAND`"
        )
    return found


def _attach(arguments: list[str]) -> int:
    values, operands = arguments_of("attach", arguments)
    if operands and not {"pid", "netns"} & values.keys():
        usage_error("attach", f"`berth logs -f {operands[0]}` shows what {operands[0]} prints, as docker attach; `berth attach` adopts a "
                    "network namespace that exists, with --pid or --netns")  # fmt: skip
    if operands:
        usage_error("attach", f"{operands[0]!r} is not an option; attach starts no command")
    if not {"pid", "netns", "follow"} & values.keys():
        usage_error("attach", "give --pid, --netns or --follow")
    for option in ("pid", "netns", "fd"):
        if option in values and "follow" in values:
            usage_error("attach", f"--{option} names one namespace, and --follow whatever its program has; give one of them")
    for option in ("pid", "fd"):
        if option in values and "netns" in values:
            usage_error("attach", f"--{option} and --netns name two namespaces; give one of them")
    try:
        body = sandbox_body(values)
    except BadOption as error:
        usage_error("attach", error)
    if body.get("follow", "").startswith(_PIDFILE):
        body["follow"] = _PIDFILE + os.path.abspath(body["follow"].removeprefix(_PIDFILE))
    if "egress" in body:
        body["egress"] = with_files(body["egress"])
    if "pid" in body and places.is_nest():
        body["pid"] = _pid_in_nest(body["pid"])
    is_json = values.get("format") == "json"
    if values.get("dry_run"):
        print_plan(call("POST", "/v1/sandboxes?dry_run=1", body), is_json=is_json)
        return 0
    sandbox = call("POST", "/v1/sandboxes", body)
    if is_json:
        print_json(sandbox)
        return 0
    print_warnings(sandbox)
    print(sandbox["id"])
    if sandbox.get("waits"):
        print(f"berth: {sandbox['name']} waits for {sandbox['follows']}", file=sys.stderr)
    print(f"berth: resolv.conf, hosts and hostname of {sandbox['name']} are in {sandbox['by_name']}", file=sys.stderr)
    return 0
