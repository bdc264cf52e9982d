"""The table that `berth up` prints: what has come up, with its networks, addresses and ports."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from resolver.cli.client import Refused
from resolver.cli.output import print_json, print_table
from resolver.cli.up.plan import table
from resolver.cli.up.reconcile import place

if TYPE_CHECKING:
    from resolver.cli.sandbox_calls import Call

View = Mapping[str, Any]


class Shown:
    """What is to be printed, service by service.

    *detach*: all of it at the end; otherwise before the services print anything. *is_json*: as the admin API has it, at the end.
    """

    def __init__(self, call: Call, *, detach: bool, is_json: bool = False) -> None:
        self._is_json = is_json
        self._call = call
        self._detach = detach
        self._services: list[list[View]] = [[]]
        self._has_printed = False

    def begin(self) -> None:
        """Begin with one more service, whose replicas are printed in the order of their numbers."""
        self._services.append([])

    def add(self, sandbox: View) -> None:
        """Have *sandbox* printed."""
        self._services[-1].append(sandbox)

    def print(self, *, is_last: bool = False) -> None:
        """Print what has been added since the last call."""
        if self._detach and not is_last:
            return
        shown = [sandbox for service in self._services for sandbox in sorted(service, key=place)]
        self._services = [[]]
        now = [self._current(sandbox) for sandbox in shown]
        if self._is_json:
            print_json(now)
            return
        # What has ended already is shown as it was created.
        heading, *rows = table([current if current["endpoints"] else made for current, made in zip(now, shown, strict=True)])
        if rows or not self._has_printed:
            print_table(heading, rows)
        if self._detach:
            _print_ends(now)
        elif not self._has_printed:
            print("Ctrl-C ends everything.")
        sys.stdout.flush()
        self._has_printed = True

    def _current(self, sandbox: View) -> View:
        """Return *sandbox* as it is now, or as it was created if it is gone already."""
        try:
            current: View = self._call("GET", f"/v1/sandboxes/{sandbox['id']}")
        except Refused as error:
            if error.kind != "not-found":
                raise
            return sandbox
        return current


def _print_ends(sandboxes: list[View]) -> None:
    for sandbox in sandboxes:
        run = sandbox.get("run")
        if run is not None and run["exit_code"] is not None:
            print(f"{sandbox['name']} exited with code {run['exit_code']}")
