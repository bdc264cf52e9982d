"""Starting sandboxes that are stopped: by `berth start`, and by their restart policy when a daemon has started.

A daemon has not the rights to start commands, and its children live in its service; so what starts sandboxes then is a process of its
own, which `launch` starts before the daemon gives up its rights. Where systemd has taken them already, `ExecStartPost=` of its unit
does it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from resolver.cli import enter, entering, monitor
from resolver.cli.client import NoDaemon, Refused, call, sandboxes_path
from resolver.cli.entering import EnterFailed
from resolver.cli.output import complain, print_warnings
from resolver.cli.sandbox_calls import hold_for_a_moment

_LOOK = 0.1
"""Seconds between looks whether the daemon answers, and whether it knows what has ended while there was none."""
_LOOKS = 300
"""After so many what is not known by then is left alone."""


def prepare_to_start() -> None:
    """Have this process hold sandboxes until their monitors do; Refused if it may not start commands."""
    try:
        entering.check_privilege()
    except EnterFailed as error:
        raise Refused(str(error)) from error
    hold_for_a_moment()


def check_stays(sandbox: dict[str, Any]) -> None:
    """Refused unless the command of *sandbox* is known, so that it can be started again."""
    if sandbox.get("run") is None:
        reason = "is adopted" if sandbox["adopted"] else "is not of `run -d` or `up -d`"
        raise Refused(f"{sandbox['name']} {reason}, so its command is not known and can't be started again")


def start_stopped(sandbox: dict[str, Any]) -> None:
    """Start *sandbox* again, if it is stopped."""
    check_stays(sandbox)
    if sandbox["run"]["state"] != "exited":
        return
    started = call("POST", f"/v1/sandboxes/{sandbox['id']}/start", {"owner_pid": os.getpid()})
    print_warnings(started["sandbox"])
    try:
        monitor.start(started["sandbox"], started["process"])
    except EnterFailed as error:
        raise Refused(f"{sandbox['name']}: {entering.failure(str(error))[1]}") from error


def due() -> list[dict[str, Any]]:
    """Return the sandboxes that their restart policy starts now, as a daemon has started, the oldest one first."""
    for _ in range(_LOOKS):
        everything = call("GET", sandboxes_path(stopped=True), autostart=False)
        if not any(map(_has_ended_unnoticed, everything)):
            break
        time.sleep(_LOOK)
    found = [sandbox for sandbox in everything if sandbox["run"] is not None and sandbox["run"]["due"]]
    # What shares the stack of another one came after it.
    return sorted(found, key=lambda sandbox: sandbox["created"])


def _has_ended_unnoticed(sandbox: dict[str, Any]) -> bool:
    run, holder = sandbox["run"], sandbox["owner_pid"]
    return run is not None and run["state"] != "exited" and holder is not None and not os.path.exists(f"/proc/{holder}")


_LAUNCHER = 'while read -r _; do ("$@" </dev/null &); done'
"""A shell that starts its arguments as a program for each line it reads, and ends with the daemon, whose end of the pipe closes then."""


def launch(state_dir: str, run_dir: str) -> Callable[[], None]:
    """Start the process that, each time the returned function is called, starts what is due; once now, if anything may be due.

    For this process, which becomes the daemon and gives up the rights that it takes to start commands. A shell waits with these rights.
    """
    waiting, writing = os.pipe2(os.O_CLOEXEC)
    daemon = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            # Not the daemon's child: the daemon would have to take its exit code.
            if os.fork() == 0:
                os.setsid()
                os.dup2(waiting, 0)
                # What systemd has handed to the daemon is not for commands.
                os.closerange(3, os.sysconf("SC_OPEN_MAX"))
                os.chdir("/")
                command = [sys.executable, "-m", "resolver.cli.starting", str(daemon)]
                os.execve("/bin/sh", ["sh", "-c", _LAUNCHER, "sh", *command], {**os.environ, "BERTH_RUN_DIR": run_dir})
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(waiting)
    os.set_blocking(writing, False)

    def start_due() -> None:
        # One that has too much to do, or is gone, starts nothing: what is due stays so.
        with contextlib.suppress(OSError):
            os.write(writing, b"\n")

    with contextlib.suppress(OSError), os.scandir(f"{state_dir}/sandboxes") as entries:
        if any(entries):
            start_due()
    return start_due


def start_due(daemon: int) -> None:
    """Start what is due as soon as the *daemon* with this pid answers; nothing if it ends."""
    process = os.pidfd_open(daemon)
    while _pid_that_answers() != daemon:
        try:
            signal.pidfd_send_signal(process, 0)
        except ProcessLookupError:
            return
        time.sleep(_LOOK)
    found = due()
    if not found:
        return
    try:
        enter.check_namespaces()
    except EnterFailed as error:
        complain(f"{len(found)} sandboxes are to be started by their restart policy; `berth start --due` starts them: {error}")
        return
    prepare_to_start()
    for sandbox in found:
        try:
            start_stopped(sandbox)
        except Refused as error:
            if not _runs_by_now(sandbox):
                complain(f"{sandbox['name']} can't be started by its restart policy: {error}")


def _runs_by_now(sandbox: dict[str, Any]) -> bool:
    """Return whether somebody else has started *sandbox*, or has removed it."""
    try:
        return bool(call("GET", f"/v1/sandboxes/{sandbox['id']}", autostart=False)["run"]["state"] != "exited")
    except Refused as error:
        return error.kind == "not-found"


def _pid_that_answers() -> int | None:
    try:
        pid: int = call("GET", "/v1/status")["pid"]
    except NoDaemon:
        return None
    return pid


if __name__ == "__main__":
    try:
        start_due(int(sys.argv[1]))
    except Refused as refused:
        complain(refused)
        sys.exit(1)
