"""The command events."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import click

from resolver.cli.client import PROJECT_LABEL, SERVICE_LABEL, Refused, call, sandboxes_path, segment
from resolver.cli.commands.declare import command, option
from resolver.cli.commands.moments import moment
from resolver.cli.event_fields import FILTERS, SENSELESS, docker_fields, event_line, tests
from resolver.cli.event_stream import event_stream
from resolver.cli.filters import BadFilter, matches, read_filters
from resolver.cli.listing import BadFormat, check_format, print_by_template
from resolver.printable import printable


@command(examples=("berth events --since 10m --until 0s", "berth events --filter type=sandbox --filter event=remove"))
@option("--since", metavar="TIME", help="Also what happened since then, if the daemon still knows it: 10m, or 2026-11-25T12:00.")
@option("--until", metavar="TIME", help="End then: 0s is now.")
@option("-f", "--filter", "filters", multiple=True, metavar="KEY=VALUE", help=f"Only events with this {', '.join(FILTERS)}.")
@option("--format", "form", default="table", show_default=True, metavar="FORMAT", help="table, json (an object a line), or a Go template.")
@option("--json", "as_json", is_flag=True, help="As --format json.")
@option("--project", metavar="NAME", help="Only of sandboxes and networks of this Compose project.")
@option("--service", "services", multiple=True, metavar="NAME", help="Only of sandboxes of this service of the project.")
def events(
    since: str | None, until: str | None, filters: tuple[str, ...], form: str, as_json: bool, project: str | None,
    services: tuple[str, ...],
) -> None:  # fmt: skip
    """Follow what happens to networks and sandboxes.

    A line for each event: when, what, the id, and of a sandbox that was removed why, and the exit code of its command if it is known.
    Ends with 1 when the daemon does, unless the time of --until has come.
    """
    form = "json" if as_json else form
    context = click.get_current_context()
    try:
        check_format(form)
        wanted = read_filters(filters, FILTERS, SENSELESS)
    except (BadFilter, BadFormat) as error:
        raise click.UsageError(str(error), context) from error
    moments = {name: moment(f"--{name}", text) for name, text in (("since", since), ("until", until)) if text is not None}
    query = [f"{name}={at:.3f}" for name, at in moments.items()]
    members = _Members(project, services) if project is not None else None
    for event in event_stream(f"/v1/events{'?' if query else ''}{'&'.join(query)}"):
        if matches(wanted, tests(event)) and (members is None or members.has(event)):
            _print(event, form)
    if "until" not in moments or time.time() < moments["until"] - _EARLY:  # noqa: TID251 (this is where the clock is read)
        raise Refused("the daemon has ended, or events came faster than they were read: some may be missing; ask again with --since")


_EARLY = 0.5
"""Seconds by which the daemon's clock may be ahead of what is read here."""


class _Members:
    """The sandboxes and networks of a project, those too that come while it is followed. *services*: only sandboxes of these."""

    def __init__(self, project: str, services: tuple[str, ...]) -> None:
        self._project = project
        self._services = services
        self._known: dict[str, bool] = {}
        things = [*call("GET", sandboxes_path(stopped=True)), *call("GET", "/v1/networks")]
        for thing in things:
            self._known[thing["name"]] = self._is_one(thing)

    def has(self, event: Mapping[str, Any]) -> bool:
        """Return whether *event* is of one of them."""
        name = event["name"]
        if name not in self._known and event["kind"] in _PATHS:
            try:
                self._known[name] = self._is_one(call("GET", f"/v1/{_PATHS[event['kind']]}/{segment(name)}"))
            except Refused:
                # It is gone already.
                return False
        return self._known.get(name, False)

    def _is_one(self, thing: Mapping[str, Any]) -> bool:
        labels = thing["labels"]
        return labels.get(PROJECT_LABEL) == self._project and (not self._services or labels.get(SERVICE_LABEL) in self._services)


_PATHS = {"sandbox": "sandboxes", "endpoint": "sandboxes", "network": "networks"}
"""Kind of an event → where what it is about is asked for."""


def _print(event: dict[str, Any], form: str) -> None:
    if form == "json":
        print(json.dumps(event, separators=(",", ":")), flush=True)
    elif form == "table":
        print(printable(event_line(event)), flush=True)
    else:
        print_by_template(form, [docker_fields(event)])
