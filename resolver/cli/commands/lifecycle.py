"""Commands on sandboxes that stay when their command has ended: start, stop, restart, logs, prune."""

from __future__ import annotations

import contextlib
import heapq
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import click

from resolver.cli import starting
from resolver.cli.changed import Changed
from resolver.cli.client import SERVICE_LABEL, NoDaemon, Refused, call
from resolver.cli.commands.declare import command, option
from resolver.cli.commands.meant import for_each, meant
from resolver.cli.commands.moments import moment
from resolver.cli.commands.options import FORMAT, PROJECT, SANDBOX, Seconds, each
from resolver.cli.commands.processes import recorded_exit_code, send_signal
from resolver.cli.commands.prune_filters import prune_body
from resolver.cli.line_formats import Write, as_json, as_text
from resolver.cli.output_lines import Line, Reader, chosen, stamp
from resolver.cli.sandbox_fields import is_stopped
from resolver.cli.starting import check_stays, prepare_to_start, start_stopped

_LOOK = 0.1
"""Seconds between looks for new lines."""
_LOOKS_AT_STATE = 5
"""Looks without a new line after which is looked whether the sandbox still runs."""

_NAMES = click.argument("names", nargs=-1, type=SANDBOX, metavar="SANDBOX...")
_TIMEOUT = option(
    "-t", "--timeout", "--time", "timeout", type=Seconds(), metavar="SECONDS",
    help="Seconds between the signal and KILL; -1 for no KILL (default: as started, 10).",
)  # fmt: skip
_SIGNAL = option("-s", "--signal", "name", metavar="SIGNAL", help="Signal that asks the command to end (default: as started, TERM).")


@command(examples=("berth stop web", "berth stop -t 30 web db"))
@_NAMES
@_TIMEOUT
@_SIGNAL
@PROJECT
@FORMAT
def stop(names: tuple[str, ...], timeout: float | None, name: str | None, project: str | None, form: str) -> int:
    """Stop what runs in sandboxes.

    The command gets SIGTERM, and SIGKILL after 10 seconds. A sandbox of `run -d` or `up -d` stays, stopped: its name, its output and
    the exit code are kept, its addresses and ports are free. Any other is removed.
    """
    with Changed(form) as changed:
        return for_each(names, project, lambda sandbox: _stop(sandbox, timeout, name), changed)


@command(examples=("berth start web",))
@_NAMES
@option(
    "-a", "--attach", "-i", "--interactive", "attach", is_flag=True,
    help="Print what one prints, hand signals on to it, and exit with its exit code.",
)  # fmt: skip
@option("--due", is_flag=True, help="Those that their restart policy starts when a daemon has started; for its service.")
@PROJECT
@FORMAT
def start(names: tuple[str, ...], attach: bool, due: bool, project: str | None, form: str) -> int:
    """Start stopped sandboxes again.

    With the same command, variables, networks, aliases and ports. Addresses may be others, unless they were given. Needs root.
    """
    prepare_to_start()
    if attach and form == "json":
        raise click.UsageError("--format json can't go with -a, which prints what the command prints", click.get_current_context())
    if attach:
        return _start_attached(names, project)
    if not due:
        with Changed(form) as changed:
            return for_each(names, project, start_stopped, changed, shared_first=True)
    if names or project is not None:
        raise click.UsageError("--due is about all sandboxes; leave their names out", click.get_current_context())
    found = {sandbox["name"]: sandbox for sandbox in starting.due()}

    def one(name: str) -> None:
        start_stopped(found[name])
        changed.tell(name, id=found[name]["id"])

    with Changed(form) as changed:
        return each(tuple(found), one)


def _start_attached(names: tuple[str, ...], project: str | None) -> int:
    """Start the one sandbox that is meant, and follow it until its command has ended for good; return its exit code."""
    sandboxes = meant(names, project, stopped=True)
    if len(sandboxes) != 1:
        raise click.UsageError("-a is about one sandbox: you cannot start and attach multiple of them at once", click.get_current_context())
    (sandbox,) = sandboxes
    check_stays(sandbox)
    reader = Reader(sandbox["run"]["output"])
    try:
        # What was printed before is for `berth logs`.
        for _ in chain(reader.lines(), reader.rest()):
            pass
        start_stopped(sandbox)

        def hand_on(number: int, _: object) -> None:
            # It may have ended, or wait to be started again.
            with contextlib.suppress(Refused):
                send_signal(call("GET", f"/v1/sandboxes/{sandbox['id']}"), number)

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, hand_on)
        _follow([(sandbox, as_text(None, timestamps=False), reader)], None)
    finally:
        reader.close()
    code = recorded_exit_code(sandbox, None)
    return 0 if code is None else code


@command(examples=("berth restart web", "berth restart -t 1 web"))
@_NAMES
@_TIMEOUT
@_SIGNAL
@PROJECT
@option("--no-deps", is_flag=True, help="With --project: without services that are restarted with these.")
@FORMAT
def restart(names: tuple[str, ...], timeout: float | None, name: str | None, project: str | None, no_deps: bool, form: str) -> int:
    """Stop sandboxes and start them again.

    Those that are stopped are only started. Needs root.
    """
    prepare_to_start()

    def restart_one(sandbox: dict[str, Any]) -> None:
        check_stays(sandbox)
        _stop(sandbox, timeout, name)
        start_stopped(call("GET", f"/v1/sandboxes/{sandbox['id']}"))

    with Changed(form) as changed:
        code = for_each(names, project, restart_one, changed, shared_first=True)
        others = () if no_deps else _restarted_with(names, project)
        return max(code, for_each(others, project, restart_one, changed)) if others else code


def _restarted_with(names: tuple[str, ...], project: str | None) -> tuple[str, ...]:
    """Return the services of *project* that are restarted with those called *names*, and run (`depends_on` with `restart: true`)."""
    if project is None or not names:
        return ()
    from resolver.cli.projects import of_project
    from resolver.cli.up.reconcile import restarts_with

    running = of_project(call("GET", "/v1/sandboxes"), project)
    found = {sandbox["labels"].get(SERVICE_LABEL) for sandbox in running if restarts_with(sandbox) & {*names}}
    return tuple(sorted(found - {None, *names}))


def _stop(sandbox: dict[str, Any], timeout: float | None, name: str | None) -> None:
    # The daemon answers when it has ended, however long that takes.
    call("POST", f"/v1/sandboxes/{sandbox['id']}/stop", {"timeout": timeout, "signal": name}, patience=None)


@command(examples=("berth prune -f", "berth prune --networks"))
@option("-f", "--force", is_flag=True, help="Do not ask.")
@option(
    "--filter",
    "filters",
    multiple=True,
    metavar="KEY=VALUE",
    help="Only those with label=, without label!=, or created before until= (24h ago, or a time).",
)
@option("--networks", is_flag=True, help="Networks that nobody uses too, as `docker system prune`.")
@FORMAT
def prune(force: bool, filters: tuple[str, ...], networks: bool, form: str) -> None:
    """Remove stopped sandboxes.

    Their output and their exit codes are removed too.
    """
    body = prune_body(filters)
    if not force:
        click.confirm(f"Remove all stopped sandboxes{' and all networks without endpoints' if networks else ''}?", abort=True)
    with Changed(form) as changed:
        for name in call("POST", "/v1/sandboxes/prune", body)["removed"]:
            changed.tell(name, object="sandbox")
        for name in call("POST", "/v1/networks/prune", body)["removed"] if networks else ():
            changed.tell(name, object="network")


@command(examples=("berth logs web", "berth logs -f --tail 20 web db", "berth logs --since 10m -t web"))
@_NAMES
@option("-f", "--follow", is_flag=True, help="Go on with what is printed from now on, until the command ends.")
@option("-n", "--tail", default="all", show_default=True, metavar="NUMBER", help="The last lines only.")
@option("--since", metavar="TIME", help="Lines since then: 10m ago, 2026-11-25T12:00, or seconds since 1970.")
@option("--until", metavar="TIME", help="Lines until then.")
@option("-t", "--timestamps", is_flag=True, help="Each line with its time.")
@option("--no-log-prefix", is_flag=True, help="Without the name before each line, where several are shown.")
@option("--index", type=click.IntRange(min=1), metavar="NUMBER", help="With --project: only this replica of each service.")
@PROJECT
@option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print; json: an object for each line, with sandbox, time, stream and text.",
)
def logs(
    names: tuple[str, ...], follow: bool, tail: str, since: str | None, until: str | None, timestamps: bool, no_log_prefix: bool,
    project: str | None, index: int | None, form: str,
) -> None:  # fmt: skip
    """Print what the commands of sandboxes have printed.

    Kept for sandboxes of `run -d` and `up -d` until they are removed: the last 30 MB of each. Needs root.
    """
    number = None if tail in ("all", "-1") else int(tail) if tail.isdigit() else -1
    if number == -1:
        raise click.UsageError(f"--tail {tail}: it should be a number of lines, or all", click.get_current_context())
    first = None if since is None else stamp(moment("--since", since))
    last = None if until is None else stamp(moment("--until", until))
    sandboxes = meant(names, project, stopped=True, index=index)
    for sandbox in sandboxes if names else ():
        if sandbox.get("run") is None or _is_in_foreground(sandbox):
            raise Refused(f"output is kept of `run -d` and `up -d` only; that of {sandbox['name']} went where it was started")
    kept = [sandbox for sandbox in sandboxes if sandbox.get("run") is not None]
    width = max((len(sandbox["name"]) for sandbox in kept), default=0)
    is_prefixed = (len(sandboxes) > 1 or project is not None) and not no_log_prefix

    def format_of(name: str) -> Write:
        if form == "json":
            return as_json(name)
        return as_text(f"{name.ljust(width)} | " if is_prefixed else None, timestamps=timestamps)

    readers = [(sandbox, format_of(sandbox["name"]), Reader(sandbox["run"]["output"])) for sandbox in kept]
    try:

        def lines_of(sandbox: dict[str, Any], reader: Reader, write: Write) -> Iterator[tuple[Line, Write]]:
            written = chain(reader.lines(), reader.rest() if is_stopped(sandbox) or not follow else ())
            lines = chosen(written, tail=number, since=first, until=last)
            if follow and number is not None:
                # A last line that goes on is printed when it is whole, and is one of them.
                lines = [*lines]
                lines = lines[max(0, len(lines) + reader.unfinished() - number) :]
            return ((line, write) for line in lines)

        each_one = [lines_of(sandbox, reader, write) for sandbox, write, reader in readers]
        # Merged as they are read: nothing holds 30 MB of short lines.
        _print(heapq.merge(*each_one, key=_time))
        if follow:
            _follow(readers, last)
    except PermissionError as error:
        raise Refused("the output of commands can be read by root only: use sudo") from error
    finally:
        for _, _, reader in readers:
            reader.close()


def _is_in_foreground(sandbox: dict[str, Any]) -> bool:
    """Return whether what *sandbox* prints goes where it was started, although the daemon knows how it is to end."""
    try:
        os.stat(sandbox["run"]["output"])
    except FileNotFoundError:
        return bool(sandbox["run"]["state"] != "exited")
    except PermissionError as error:
        raise Refused("the output of commands can be read by root only: use sudo") from error
    return False


def _print(lines: Iterable[tuple[Line, Write]]) -> None:
    for line, write in lines:
        write(line)
    sys.stdout.flush()
    sys.stderr.flush()


def _time(pair: tuple[Line, Write]) -> str:
    return pair[0].time


def _follow(readers: list[tuple[dict[str, Any], Write, Reader]], last: str | None) -> None:
    """Print what comes, until all that is followed has ended, or until the time *last*."""
    idle = 0
    while readers and (last is None or stamp(time.time()) <= last):  # noqa: TID251 (this is where the clock is read)
        time.sleep(_LOOK)
        lines = [(line, write) for _, write, reader in readers for line in reader.lines()]
        _print(sorted(lines, key=_time))
        idle = 0 if lines else idle + 1
        if idle % _LOOKS_AT_STATE:
            continue
        ended = [one for one in readers if not _runs(one[0])]
        left = [(line, write) for _, write, reader in ended for line in (*reader.lines(), *reader.rest())]
        _print(sorted(left, key=_time))
        readers = [one for one in readers if one not in ended]


def _runs(sandbox: dict[str, Any]) -> bool:
    try:
        return bool(call("GET", f"/v1/sandboxes/{sandbox['id']}", autostart=False)["run"]["state"] != "exited")
    except NoDaemon:
        # It goes on without one.
        return True
    except Refused as error:
        return error.kind != "not-found"
