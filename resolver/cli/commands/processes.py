"""Commands on what runs in sandboxes: top, stats, kill, wait."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from contextlib import ExitStack
from typing import Any, NamedTuple

import click

from resolver.cli import proc, ps_program, traffic
from resolver.cli.changed import Changed
from resolver.cli.client import NoDaemon, Refused, call, find_sandbox
from resolver.cli.commands.declare import HELP, command, option
from resolver.cli.commands.meant import for_each, meant
from resolver.cli.commands.options import FORMAT, PROJECT, SANDBOX, check_template
from resolver.cli.enter import check_runs, open_leader
from resolver.cli.entering import EnterFailed
from resolver.cli.event_stream import event_stream
from resolver.cli.listing import Listing, print_listing
from resolver.cli.output import complain, print_json, print_table, shown_id
from resolver.signal_names import WHAT_IS_ONE, signal_number

_PERIOD = 1.0
"""Seconds between two tables of stats."""
_TAKEN_WITHIN = 1000
"""Milliseconds for the parent of a process to take its exit code."""
_RECORDED_LOOK = 0.02
"""Seconds between looks whether the daemon has recorded an end."""
_CLEAR = "\x1b[H\x1b[2J"


@command(examples=("berth top web", "berth top web aux", "berth top web -eo pid,user,args"))
@click.argument("words", nargs=-1, type=SANDBOX, metavar="SANDBOX... [PS_OPTION]...")
@option("--format", "form", default="table", show_default=True, metavar="FORMAT", help="table or json; another one is that of ps.")
@PROJECT
def top(words: tuple[str, ...], project: str | None, form: str) -> None:
    """List the processes in a sandbox.

    PID and PPID are those of the host. The first one is the init that berth runs there. With options of ps, as `docker top` takes
    them, it is what that prints of these processes. Needs root.
    """
    names, options = (words, ()) if project is not None else _names_and_options(words)
    if form not in ("table", "json"):
        options = (*options, "--format", form)
    if form == "json" and options:
        raise click.UsageError(f"--format json and {options[0]} of ps exclude each other", click.get_current_context())
    sandboxes = meant(names, project, one_offs=True)
    for sandbox in sandboxes:
        try:
            check_runs(sandbox)
        except EnterFailed as error:
            raise Refused(str(error)) from error
    listed: list[dict[str, Any]] = []
    for sandbox, pids in zip(sandboxes, proc.members(sandboxes), strict=True):
        if len(sandboxes) > 1 and form != "json":
            print(sandbox["name"])
        if not pids and os.geteuid() != 0:
            raise Refused("the processes of others can be listed by root only: use sudo")
        if options:
            print("\n".join(_by_ps(options, pids)))
            continue
        processes = [process for process in map(proc.process, pids) if process is not None]
        if form == "json":
            listed.append({"id": sandbox["id"], "name": sandbox["name"], "processes": [process._asdict() for process in processes]})
            continue
        print_table(proc.COLUMNS, [process.row() for process in processes], cut=("CMD",))
    if form == "json":
        print_json(listed)


top.context_settings = {**HELP, "ignore_unknown_options": True}


def _names_and_options(words: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of sandboxes, and the options of ps that follow them: from the first word on that is no sandbox."""
    if words and words[0].startswith("-"):
        raise click.NoSuchOption(words[0], ctx=click.get_current_context())
    for at, word in enumerate(words):
        if at and (word.startswith("-") or (word.isalpha() and not _exists(word))):
            return words[:at], words[at:]
    return words, ()


def _by_ps(options: tuple[str, ...], pids: list[int]) -> list[str]:
    try:
        return ps_program.listed(options, pids)
    except Refused as error:
        raise Refused(str(error) if options[0].startswith("-") else f"{error}; and no sandbox is called {options[0]}") from error


def _exists(name: str) -> bool:
    try:
        find_sandbox(name)
    except Refused as error:
        if error.kind != "not-found":
            raise
        return False
    return True


@command(examples=("berth stats --no-stream", "berth stats --format '{{.Name}} {{.NetIO}}' web"))
@click.argument("names", nargs=-1, type=SANDBOX, metavar="[SANDBOX...]")
@option("--no-stream", is_flag=True, help="Print once and end.")
@option("--no-trunc", is_flag=True, help="Cut nothing.")
@option("--format", "form", default="table", show_default=True, metavar="FORMAT", help="table, json (one array), or a Go template.")
@PROJECT
def stats(names: tuple[str, ...], no_stream: bool, no_trunc: bool, form: str, project: str | None) -> None:
    """Show the traffic of sandboxes.

    Of each endpoint what it has received and sent since it was connected, a second apart until Ctrl-C. What is used of processors and
    memory is not measured.
    """
    check_template(form)
    clears = not no_stream and form == "table" and sys.stdout.isatty()
    while True:
        sandboxes = meant(names, project, or_all=True)
        running = [sandbox for sandbox in sandboxes if sandbox["leader"] is not None]
        counts = {sandbox["id"]: len(pids) for sandbox, pids in zip(running, proc.members(running), strict=True)}
        rows = [row for sandbox in sandboxes for row in _traffic_of(sandbox, counts.get(sandbox["id"], 0))]
        if clears:
            sys.stdout.write(_CLEAR)
        print_listing(_stats_listing(rows, whole=no_trunc), form, whole=no_trunc)
        if no_stream:
            return
        sys.stdout.flush()
        time.sleep(_PERIOD)


def _traffic_of(sandbox: dict[str, Any], pids: int) -> list[dict[str, Any]]:
    """Return a row for each endpoint of *sandbox*, in which *pids* processes run."""
    pid = sandbox["leader"]["pid"] if sandbox["leader"] is not None else None
    found = []
    for endpoint in sandbox["endpoints"]:
        seen = traffic.of_endpoint(endpoint, pid)
        counted = seen._asdict() if seen is not None else dict.fromkeys(traffic.Traffic._fields)
        found.append({"id": sandbox["id"], "name": sandbox["name"], "network": endpoint["network"], **counted, "pids": pids})
    return found


def _stats_listing(rows: list[dict[str, Any]], *, whole: bool) -> Listing:
    def size(row: dict[str, Any], key: str) -> str:
        return "-" if row[key] is None else traffic.human(row[key])

    def number(row: dict[str, Any], key: str) -> str:
        return "-" if row[key] is None else str(row[key])

    return Listing(
        things=rows,
        columns=("SANDBOX ID", "NAME", "NETWORK", "RECEIVED", "SENT", "PACKETS", "DROPPED", "PIDS"),
        cells=lambda row: (
            shown_id(row, whole=whole), row["name"], row["network"], size(row, "received"), size(row, "sent"),
            f"{number(row, 'received_packets')} / {number(row, 'sent_packets')}", number(row, "dropped"), str(row["pids"] or "-"),
        ),
        fields=lambda row: {
            "ID": shown_id(row, whole=whole), "Container": row["id"][:12], "Name": row["name"], "Network": row["network"],
            "NetIO": f"{size(row, 'received')} / {size(row, 'sent')}", "PIDs": str(row["pids"] or "--"),
            "CPUPerc": "--", "MemUsage": "-- / --", "MemPerc": "--", "BlockIO": "-- / --",
        },
        id_of=lambda row: str(row["id"]),
        headings={"ID": "SANDBOX ID", "NetIO": "NET I/O"},
    )  # fmt: skip


@command(examples=("berth kill -s HUP web", "berth kill web"))
@click.argument("names", nargs=-1, type=SANDBOX, metavar="SANDBOX...")
@option("-s", "--signal", "name", default="KILL", show_default=True, metavar="SIGNAL", help="Signal, by name or number.")
@PROJECT
@FORMAT
def kill(names: tuple[str, ...], name: str, project: str | None, form: str) -> int:
    """Send a signal to what runs in sandboxes.

    It goes to the command that was started; KILL ends everything in the sandbox. After KILL, and after the signal that stops
    it, no restart policy starts it again. Needs root.
    """
    number = _signal(name)
    with Changed(form) as changed:
        return for_each(names, project, lambda sandbox: send_signal(sandbox, number), changed, stopped=False, one_offs=True)


def _signal(text: str) -> int:
    number = signal_number(text)
    if number is None:
        raise click.UsageError(f"{text!r} is no signal; {WHAT_IS_ONE}", click.get_current_context())
    return number


def send_signal(sandbox: dict[str, Any], number: int) -> None:
    """Send a signal to the command in *sandbox*, or to its init, with which everything ends."""
    run = sandbox.get("run")
    is_to_end = run is not None and run["state"] != "exited" and number in (signal.SIGKILL, signal_number(run["stop_signal"]))
    if is_to_end and os.geteuid() != 0:
        raise Refused("signals can be sent by root only: use sudo")
    if run is not None and is_to_end:
        # As with Docker, what is ended by hand is not started again by its restart policy.
        if number == signal.SIGKILL or run["state"] == "restarting":
            call("POST", f"/v1/sandboxes/{sandbox['id']}/stop", {"signal": "KILL"})
            return
        call("PATCH", f"/v1/sandboxes/{sandbox['id']}", {"start_no_more": True})
    if sandbox["adopted"]:
        raise Refused(f"{sandbox['name']} is adopted: its processes belong to who started them, and are ended there")
    pidfd = _leader(sandbox)
    try:
        pid = proc.command_pid(sandbox["leader"]["pid"])
        if number == signal.SIGKILL or pid == sandbox["leader"]["pid"]:
            signal.pidfd_send_signal(pidfd, number)
        else:
            os.kill(pid, number)
    except PermissionError as error:
        raise Refused("signals can be sent by root only: use sudo") from error
    except ProcessLookupError as error:
        raise Refused(f"what ran in {sandbox['name']} has ended") from error
    finally:
        os.close(pidfd)


def _leader(sandbox: dict[str, Any]) -> int:
    """Return a descriptor of the process that was started in *sandbox*; Refused if there is none."""
    try:
        pidfd = open_leader(sandbox)
    except EnterFailed as error:
        raise Refused(str(error)) from error
    if pidfd is None:
        raise Refused(f"nothing was started in {sandbox['name']}")
    return pidfd


@command(examples=("berth wait job",))
@click.argument("names", nargs=-1, type=SANDBOX, metavar="SANDBOX...")
@PROJECT
@FORMAT
def wait(names: tuple[str, ...], project: str | None, form: str) -> int:
    """Wait until sandboxes have ended, and print their exit codes.

    In the order of the names; exits with 0, or with 1 if there is none of some name. Of one that is stopped, its exit code is printed;
    of one that is gone, what the daemon remembers. Where the kernel does not tell an exit code (before Linux 6.15), a ? is printed, and
    the command's own is 1.
    """
    from netcore.kernel import process

    found: list[int | None] = []
    known, missing = _meant_or_gone(names, project)
    with ExitStack() as opened:
        waiting: list[tuple[dict[str, Any], int | None] | _Gone] = []
        for given in known:
            if isinstance(given, _Gone):
                waiting.append(given)
                continue
            pidfd = _leader_of_running(given)
            if pidfd is not None:
                opened.callback(os.close, pidfd)
            waiting.append((given, pidfd))
        for one in waiting:
            if isinstance(one, _Gone):
                found.append(one.exit_code)
                continue
            sandbox, pidfd = one
            code = None
            if pidfd is not None:
                # A pidfd can be read when its process has ended (pidfd_open(2)).
                select.select([pidfd], [], [])
                code = process.exit_code(sandbox["leader"]["pid"], pidfd, _TAKEN_WITHIN)
            found.append(recorded_exit_code(sandbox, code) if sandbox.get("run") is not None else code)
    if form == "json":
        ended = [(one.id, one.name) if isinstance(one, _Gone) else (one["id"], one["name"]) for one in known]
        print_json([{"id": id_, "name": name, "exit_code": code} for (id_, name), code in zip(ended, found, strict=True)])
    else:
        for code in found:
            print("?" if code is None else code)
    for reason in missing:
        sys.stdout.flush()
        complain(reason)
    return int(bool(missing) or None in found)


def _leader_of_running(sandbox: dict[str, Any]) -> int | None:
    """Return a descriptor of what was started in *sandbox*; None if that has ended and is told of by the daemon."""
    run = sandbox.get("run")
    if run is not None and (run["state"] != "running" or sandbox["leader"] is None):
        return None
    try:
        return _leader(sandbox)
    except Refused:
        if run is None:
            raise
        return None


def recorded_exit_code(sandbox: dict[str, Any], code: int | None) -> int | None:
    """Return the exit code of a sandbox that stays, as soon as the daemon has it. *code*: what the kernel tells, if it does."""
    while True:
        try:
            run = call("GET", f"/v1/sandboxes/{sandbox['id']}")["run"]
        except Refused as error:
            if error.kind != "not-found":
                raise
            gone = _gone(sandbox["id"])
            return code if code is not None or gone is None else gone.exit_code
        if run["exit_code"] is not None and (run["state"] == "exited" or run["restart"] != "no"):
            recorded: int = run["exit_code"]
            return recorded if code is None else code
        time.sleep(_RECORDED_LOOK)


class _Gone(NamedTuple):
    """A sandbox that has ended, as the daemon remembers it. *exit_code*: None if it does not know that."""

    id: str
    name: str
    exit_code: int | None


def _meant_or_gone(names: tuple[str, ...], project: str | None) -> tuple[list[dict[str, Any] | _Gone], list[Refused]]:
    """Return the sandboxes that are meant, and why others are not: one that has ended may be remembered by events."""
    if project is not None or not names:
        return [*meant(names, project, stopped=True)], []
    found: list[dict[str, Any] | _Gone] = []
    missing = []
    for name in names:
        try:
            found.append(find_sandbox(name))
        except Refused as error:
            if error.kind != "not-found":
                raise
            gone = _gone(name)
            if gone is None:
                missing.append(error)
            else:
                found.append(gone)
    return found, missing


def _gone(name: str) -> _Gone | None:
    """Return the last sandbox with this name or id that has ended, None if the daemon remembers none."""
    now = time.time()  # noqa: TID251 (this is where the clock is read)
    found: _Gone | None = None
    # Where nothing is saved, no daemon is there to ask.
    with contextlib.suppress(NoDaemon):
        for event in event_stream(f"/v1/events?since=0&until={now:.3f}"):
            if (event["kind"], event["action"]) == ("sandbox", "remove") and (name == event["name"] or event["id"].startswith(name)):
                found = _Gone(event["id"], event["name"], event["exit_code"])
    return found
