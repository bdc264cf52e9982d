"""Health checks: a process beside each command that has one. It probes from inside the sandbox and tells the daemon what changes.

A child of the process that holds the sandbox (`resolver.cli.monitor`, or `berth run` in the foreground), so it goes on without a
daemon and ends with the command. One probe at a time; one that takes too long is killed. What it finds is in the file `health` in
the sandbox's directory; the daemon hears only of a change, at most once a second, and as soon as there is one. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time
from collections.abc import Mapping
from typing import Any, NoReturn

from resolver.cli import enter, entering, rights
from resolver.cli.client import NoDaemon, Refused, call
from resolver.cli.entering import EnterFailed
from resolver.cli.health_rules import OUTPUT, Result, Tracker, target_of, url_of
from resolver.cli.system_calls import end_with_parent
from resolver.cli.whole_file import write_whole

_BETWEEN_REPORTS = 1.0
"""Seconds, at least, between what the daemon is told."""
_GRACE = 5.0
"""Seconds that a probe gets to kill what it has started, beyond the timeout."""


def start(sandbox: Mapping[str, Any], init: int, environment: dict[str, str], directory: entering.WorkingDirectory) -> int | None:
    """Start to check the health of the command whose *init* runs in *sandbox*; return the pid of who does, None without a check.

    *environment*, *directory*: of the command, and so of what checks it.
    """
    if sandbox.get("health_check") is None:
        return None
    parent = os.getpid()
    try:
        leader = {"pid": init, "start_time": enter.start_time(init)}
    except OSError:
        # It has ended already.
        return None
    pid = os.fork()
    if pid:
        return pid
    code = entering.FAILED
    try:
        _end_with_parent(parent)
        os.setsid()
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        null = os.open("/dev/null", os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        # The sandbox as it was when it was made: what runs in it is known from here.
        _Checker({**sandbox, "leader": leader, "run": None}, environment, directory).run()
        code = 0
    finally:
        os._exit(code)


def stop(checker: int | None) -> None:
    """End what `start` has started."""
    if checker is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(checker, signal.SIGKILL)
        enter.wait(checker)


def _end_with_parent(parent: int) -> None:
    end_with_parent()
    if os.getppid() != parent:
        os._exit(0)


class _Checker:
    """Probes until the command has ended, or the sandbox is gone."""

    def __init__(self, sandbox: dict[str, Any], environment: dict[str, str], directory: entering.WorkingDirectory) -> None:
        self._sandbox = sandbox
        self._check: dict[str, Any] = sandbox["health_check"]
        self._environment = environment
        self._directory = directory
        self._rights = rights.rights_of(sandbox)
        self._tracker = Tracker(self._check)
        self._told = self._tracker.status
        self._tell_at = 0.0

    def run(self) -> None:
        """Probe, and tell what has changed, until then."""
        began = time.monotonic()
        due = began + self._tracker.pause(0.0)
        while True:
            now = time.monotonic()
            if now >= due:
                if not self._runs():
                    return
                self._tracker.note(self._probe(), now - began)
                self._write()
                due = time.monotonic() + self._tracker.pause(time.monotonic() - began)
            is_new = self._tracker.status != self._told
            if is_new and time.monotonic() >= self._tell_at and not self._tell():
                return
            next_look = min(due, self._tell_at) if self._tracker.status != self._told else due
            time.sleep(max(next_look - time.monotonic(), 0.0))

    def _runs(self) -> bool:
        """Return whether the command still runs."""
        try:
            process = enter.open_leader(self._sandbox)
        except EnterFailed:
            return False
        if process is not None:
            os.close(process)
        return True

    def _tell(self) -> bool:
        """Tell the daemon, if there is one; return whether the sandbox is there still."""
        self._tell_at = time.monotonic() + _BETWEEN_REPORTS
        status = self._tracker.status
        try:
            call("PATCH", f"/v1/sandboxes/{self._sandbox['id']}", {"health": status}, autostart=False)
        except NoDaemon:
            return True
        except Refused as error:
            return error.kind != "not-found"
        self._told = status
        return True

    def _write(self) -> None:
        """Leave what is known in the sandbox's directory."""
        write_whole(os.path.join(self._sandbox["directory"], "health"), json.dumps(self._tracker.record()))

    def _probe(self) -> Result:
        """Return what one probe finds, by a process that enters the sandbox."""
        began = time.time()  # noqa: TID251 (this is where the clock is read)
        reading, writing = os.pipe2(os.O_CLOEXEC)
        checker = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            _end_with_parent(checker)
            self._be_probe(writing)
        os.close(writing)
        told = b""
        end = time.monotonic() + self._check["timeout"] + _GRACE
        while select.select([reading], [], [], max(end - time.monotonic(), 0.0))[0]:
            octets = os.read(reading, 65_536)
            told += octets
            if not octets:
                break
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        enter.wait(pid)
        code, output = json.loads(told) if told.endswith(b"]") else (-1, self._timeout_text())
        return Result(began, time.time(), code, output)  # noqa: TID251 (this is where the clock is read)

    def _timeout_text(self) -> str:
        return f"Health check exceeded timeout ({self._check['timeout']:g}s)"

    def _be_probe(self, report: int) -> NoReturn:
        """Be the process of one probe: enter the sandbox, look, and write exit code and output to *report*."""
        try:
            kind, *words = self._check["test"]
            _load(kind)
            enter.enter_sandbox(self._sandbox)
            match kind:
                case "CMD":
                    found = self._command(words)
                case "CMD-SHELL":
                    found = self._command(["/bin/sh", "-c", *words])
                case "TCP":
                    found = _connect(words[0], self._check["timeout"])
                case _:
                    found = _get(words[0], self._check["timeout"])
        except TimeoutError:
            found = (-1, self._timeout_text())
        except (EnterFailed, OSError, ValueError) as error:
            found = (1, entering.failure(str(error))[1])
        with contextlib.suppress(OSError):
            os.write(report, json.dumps(found).encode())
        os._exit(0)

    def _command(self, words: list[str]) -> tuple[int, str]:
        """Return exit code and output of a command; TimeoutError if it takes too long, and it is killed with its process group."""
        reading, writing = os.pipe2(os.O_CLOEXEC)
        failing, failed = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            os.setsid()
            end_with_parent()
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
                signal.signal(number, signal.SIG_DFL)
            rights.take_or_report(self._rights, failed, entering.FAILED)
            enter.execute(words, self._environment, self._directory, failed)
        os.close(writing)
        os.close(failed)
        ended, output, end = os.pidfd_open(pid), b"", time.monotonic() + self._check["timeout"]
        watched = [ended, reading]
        while ended in watched:
            ready, _, _ = select.select(watched, [], [], max(end - time.monotonic(), 0.0))
            if not ready or time.monotonic() > end:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                # It may not have made its group yet.
                os.kill(pid, signal.SIGKILL)
                raise TimeoutError
            if reading in ready:
                octets = os.read(reading, 65_536)
                output = (output + octets)[:OUTPUT]
                watched = watched if octets else [ended]
            elif ended in ready:
                watched = []
        code = enter.wait(pid)
        text = os.read(failing, OUTPUT)
        if text:
            code, message = entering.failure(text.decode(errors="replace"))
            return code, message
        return code, output.decode(errors="replace")


def _load(kind: str) -> None:
    """Load what a probe needs before the sandbox is entered: later that would be what the sandbox has at its place."""
    import warnings  # noqa: F401

    if kind in ("TCP", "HTTP"):
        import socket  # noqa: F401
    if kind == "HTTP":
        import http.client  # noqa: F401


def _connect(target: str, timeout: float) -> tuple[int, str]:
    import socket

    host, port = target_of(target)
    with socket.create_connection((host, port), timeout):
        return 0, f"connected to {target}"


def _get(url: str, timeout: float) -> tuple[int, str]:
    """Return 0 for a status from 200 to 399, as Kubernetes does; other places that it names are not asked."""
    from http.client import HTTPConnection, HTTPException

    host, port, path = url_of(url)
    signal.signal(signal.SIGALRM, _time_is_up)
    signal.setitimer(signal.ITIMER_REAL, timeout)
    connection = HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"User-Agent": "berth-health"})
        status = connection.getresponse().status
    except HTTPException as error:
        return 1, f"no HTTP from {host}:{port}: {type(error).__name__}"
    return int(not 200 <= status < 400), f"HTTP {status}"


def _time_is_up(*_: object) -> NoReturn:
    raise TimeoutError
