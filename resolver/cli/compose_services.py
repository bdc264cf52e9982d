"""`berth compose stop web` and the like: which sandboxes of a project a command on services means, and what Compose adds to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from resolver.cli.client import SERVICE_LABEL, Refused, call, sandboxes_path
from resolver.cli.compose_options import FALSE, Read
from resolver.cli.compose_selection import Given, project_of, selection_of
from resolver.cli.outcome import usage_error
from resolver.cli.output import print_json, print_steps
from resolver.cli.projects import of_project
from resolver.cli.words import nearest_or_all

KEPT = {
    "port": ("--protocol",),
    "start": ("--wait", "--wait-timeout", "--dry-run"),
    "wait": ("--down-project",),
    **dict.fromkeys(("stop", "restart", "kill"), ("--dry-run",)),
}
"""Command → options that are done here."""
_DONE = {"stop": "stopped", "start": "started", "restart": "restarted", "kill": "killed"}


class Scope(NamedTuple):
    """A project. *known*: returns the services that its files have, none if there are no files to read."""

    project: str
    known: Callable[[], Collection[str]]

    def members(self, *, stopped: bool) -> list[dict[str, Any]]:
        """Return its sandboxes. *stopped*: those that are stopped too."""
        return of_project(call("GET", sandboxes_path(stopped=stopped)), self.project)

    def check(self, names: Sequence[str], members: Sequence[dict[str, Any]]) -> list[str]:
        """Return those of the services *names* that have sandboxes; Refused for one that is not even in the files."""
        there = {str(member["labels"][SERVICE_LABEL]) for member in members if SERVICE_LABEL in member["labels"]}
        if there.issuperset(names):
            return [*names]
        everything = sorted({*there, *self.known()})
        for name in names:
            if name not in everything:
                raise Refused(f"there is no service {name} in project {self.project}{nearest_or_all(name, everything)}", "not-found")
        return [name for name in names if name in there]


def scope_of(given: Given) -> Scope:
    """Return the project that the options *given* mean."""

    def known() -> tuple[str, ...]:
        from resolver.cli.up.project_file import services_of

        return services_of(selection_of(given))

    return Scope(project_of(given), known)


def on_services(command: str, words: Sequence[str], given: Given, run: Callable[[list[str]], int], read: Callable[..., Read]) -> int:
    """Run *command* for services of the project that *given* means. *read*: reads *words*, see `compose_options`."""
    found = read(command, words, KEPT.get(command, ()))
    scope = scope_of(given)
    count = 1 if command in ("exec", "port") else len(found.operands)
    names, rest = found.operands[:count], [*found.operands[count:]]
    members = scope.members(stopped=True)
    up = scope.check(names, members)
    if not up and (names or not members):
        return _on_nothing(command, names, scope.project)
    if command == "port" and rest and "/" not in rest[0]:
        rest[0] += f"/{found.values.get('--protocol', ('tcp',))[-1]}"
    is_json = "--format=json" in found.options
    if "--dry-run" in found.values:
        return _print_dry_run(command, scope, up, is_json=is_json)
    if found.values.get("--down-project", FALSE)[-1] not in FALSE:
        return _wait_and_take_down(scope, up, is_json=is_json)
    operands = [f"--service={name}" for name in up] if command == "events" else up
    code = run([command, "--project", scope.project, *found.options, *operands, *rest])
    if code == 0 and found.values.get("--wait", FALSE)[-1] not in FALSE:
        _wait_until_ready(scope, up, found.values.get("--wait-timeout"))
    return code


def _on_nothing(command: str, names: Sequence[str], project: str) -> int:
    """Return the exit code for services of which nothing is up, as with Compose; Refused where that is a failure."""
    what = f"service {names[0]} of project {project}" if names else f"project {project}"
    match command:
        case "exec" | "port" | "top" if names:
            raise Refused(f"{what} is not up; `berth up -d {names[0]}` starts it")
        case "start" | "wait" | "exec" | "port":
            raise Refused(f"{what} has nothing that was started; `berth up -d` makes and starts it")
    return 0


def _print_dry_run(command: str, scope: Scope, names: Sequence[str], *, is_json: bool) -> int:
    changing = [
        member
        for member in _meant(scope, names)
        if member.get("run") is not None and (member["run"]["state"] == "exited") == (command == "start")
    ]
    print_steps([f"{member['name']} is {_DONE[command]}" for member in changing], is_json=is_json)
    return 0


def _meant(scope: Scope, names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        member
        for member in scope.members(stopped=True)
        if SERVICE_LABEL in member["labels"] and (not names or member["labels"][SERVICE_LABEL] in names)
    ]


def _wait_until_ready(scope: Scope, names: Sequence[str], timeouts: Sequence[str] | None) -> None:
    """Wait as `up --wait` does; Refused for what will not come."""
    from resolver.cli.up.conditions import Met, healthy
    from resolver.cli.up.session import LOOK, runs_for_a_while

    end = None if timeouts is None else time.monotonic() + _seconds(timeouts[-1])
    while (verdict := healthy(_meant(scope, names), runs=runs_for_a_while)).met is not Met.YES:
        if verdict.met is Met.NEVER:
            raise Refused(f"{verdict.text}; `berth logs` shows what it has printed")
        if end is not None and time.monotonic() >= end:
            raise Refused(f"not everything is up and healthy in time; waited for {verdict.text}")
        time.sleep(LOOK)


def _seconds(text: str) -> float:
    if not text.isascii() or not text.isdigit():
        usage_error("compose start", f"--wait-timeout {text}: it should be a number of seconds")
    return float(text)


def _wait_and_take_down(scope: Scope, names: Sequence[str], *, is_json: bool) -> int:
    """Wait until the first of the services has ended, take the project down, and return its exit code."""
    from resolver.cli.up.down import remove_project
    from resolver.cli.up.session import LOOK

    while True:
        started = [member for member in _meant(scope, names) if member.get("run") is not None]
        ended = [member for member in started if member["run"]["state"] == "exited"]
        if ended or not started:
            break
        time.sleep(LOOK)
    first = min(ended, key=lambda member: member["run"]["ended"], default=None)
    code = int(first["run"]["exit_code"]) if first is not None else 0
    if is_json:
        print_json([{"id": first["id"], "name": first["name"], "exit_code": code}] if first is not None else [])
    else:
        print(code)
    remove_project(scope.project, None, call)
    return code
