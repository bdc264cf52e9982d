"""Starting sandboxes that are stopped: by `berth start`, and by their restart policy when a daemon has started.

A daemon has not the rights to start commands, and its children live in its service; so what starts sandboxes then is a process of its
own, which `launch` starts before the daemon gives up its rights. Where systemd has taken them already, `ExecStartPost=` of its unit
does it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from resolver.cli import enter, monitor
from resolver.cli.client import NoDaemon, Refused, call, sandboxes_path
from resolver.cli.output import complain, print_warnings
from resolver.cli.sandbox_calls import hold_for_a_moment
from resolver.cli.system_calls import EnterFailed

_LOOK = 0.1
"""Seconds between looks whether the daemon answers, and whether it knows what has ended while there was none."""
_LOOKS = 300
"""After so many what is not known by then is left alone."""


def prepare_to_start() -> None:
    """Have this process hold sandboxes until their monitors do; Refused if it may not start commands."""
    try:
        enter.check_privilege()
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
        raise Refused(f"{sandbox['name']}: {enter.failure(str(error))[1]}") from error


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


def launch(state_dir: str, run_dir: str) -> None:
    """Start the process that starts what is due as soon as this one, which becomes the daemon, answers; if anything may be due."""
    try:
        if not any(os.scandir(f"{state_dir}/sandboxes")):
            return
    except OSError:
        return
    daemon = os.getpid()
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        # Not the daemon's child: the daemon would have to take its exit code.
        if os.fork() == 0:
            os.setsid()
            # What systemd has handed to the daemon is not for commands.
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
            os.chdir("/")
            os.execve(
                sys.executable, [sys.executable, "-m", "resolver.cli.starting", str(daemon)], {**os.environ, "BERTH_RUN_DIR": run_dir}
            )
    finally:
        os._exit(0)


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
            complain(f"{sandbox['name']} can't be started by its restart policy: {error}")


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
