"""Runs between the model and the shapes of the admin API. Pure."""

from __future__ import annotations

import math
import re
from pathlib import Path

from netcore.errors import InvalidRequest
from netcore.model import Stack
from resolver.daemon import health_shapes, isolation_shapes
from resolver.daemon.run_networks import networks_of
from resolver.daemon.runs import Process, Run
from resolver.daemon.schema import ProcessBody, RunView, SandboxView
from resolver.signal_names import WHAT_IS_ONE, signal_number

OUTPUT = "output.log"
_RESTART = re.compile(r"no|always|unless-stopped|on-failure(:\d+)?")


def process(body: ProcessBody) -> Process:
    """Return the process that *body* asks for; InvalidRequest says what is wrong with it."""
    if not body.command:
        raise InvalidRequest("command", "it is empty")
    stop_signal(body.stop_signal)
    check_timeout("stop-timeout", body.stop_timeout)
    if not _RESTART.fullmatch(body.restart):
        text = f"{body.restart!r} is not one of no, on-failure, on-failure:N (at most N times), always, unless-stopped"
        raise InvalidRequest("restart", text)
    return Process(
        command=tuple(body.command),
        environment=tuple(body.environment.items()),
        explicit=tuple(body.explicit.items()),
        directory=body.directory,
        directory_required=body.directory_required,
        stop_signal=body.stop_signal,
        stop_timeout=body.stop_timeout,
        restart=body.restart,
        remove=body.remove,
    )


def process_body(process: Process) -> ProcessBody:
    """Return *process* as the API has it."""
    return ProcessBody(
        command=list(process.command),
        environment=dict(process.environment),
        explicit=dict(process.explicit),
        directory=process.directory,
        directory_required=process.directory_required,
        stop_signal=process.stop_signal,
        stop_timeout=process.stop_timeout,
        restart=process.restart,
        remove=process.remove,
    )


def stop_signal(text: str) -> int:
    """Return the number of the signal called *text*; InvalidRequest if there is none."""
    number = signal_number(text)
    if number is None:
        raise InvalidRequest("stop-signal", f"{text!r} is no signal; {WHAT_IS_ONE}")
    return number


def check_timeout(field: str, seconds: float) -> None:
    """Raise InvalidRequest unless *seconds* is a time to wait: from 0 on, or -1 for without end."""
    if not math.isfinite(seconds) or (seconds < 0 and seconds != -1):
        raise InvalidRequest(field, f"{seconds:g} is no time to wait: it is a number of seconds, or -1 to wait without end")


def run_view(run: Run, directory: Path, *, waits: bool, due: bool = False) -> RunView:
    """Return what is told of *run*, whose directory is *directory*. *waits*: its command has ended and will be started again.

    *due*: it will be, as the daemon has started.
    """
    return RunView(
        state="exited" if run.ended is not None else "restarting" if waits else "running",
        command=list(run.process.command),
        restart=run.process.restart,
        restarts=run.restarts,
        stop_signal=run.process.stop_signal,
        stop_timeout=run.process.stop_timeout,
        remove=run.process.remove,
        exit_code=run.exit_code,
        started=run.started,
        ended=run.ended,
        output=str(directory / OUTPUT),
        due=due,
    )


def stopped_view(run: Run, directory: Path, *, due: bool) -> SandboxView:
    """Return what is told of the sandbox of a *run* that has ended: it has no namespace, no endpoints and no files. See `run_view`."""
    request = run.request
    networks = [endpoint.network for endpoint in networks_of(run)]
    shared = next((name.partition(":")[2] for name in networks if name.startswith("container:")), "")
    stack = Stack.SHARED if shared else next((Stack(name) for name in networks if name in (Stack.HOST, Stack.NONE)), Stack.OWN)
    return SandboxView(
        id=run.id,
        name=run.name,
        hostname=request.hostname or run.id[:12],
        domainname=request.domainname,
        netns="",
        directory=str(directory),
        files="",
        adopted=False,
        leader=None,
        forward=request.forwards,
        stack=stack.value,
        shared_with=shared,
        ended=False,
        environment={},
        pid=0,
        owner_pid=None,
        origin=request.origin,
        labels=dict(request.labels),
        networks=networks if stack is Stack.OWN else [],
        addresses=[],
        names=[],
        endpoints=[],
        created=run.created,
        run=run_view(run, directory, waits=False, due=due),
        egress=list(request.egress) if request.egress is not None else None,
        health_check=health_shapes.view(request.health_check),
        isolation=isolation_shapes.view(request.isolation),
    )
