"""One process of a service: its start in a sandbox, its output, its end."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resolver.cli import enter, monitor
from resolver.cli.client import Refused
from resolver.cli.compose.project import RestartWhen, Service
from resolver.cli.restart_policy import Restarts, policy_of
from resolver.cli.sandbox_calls import Call, register
from resolver.cli.system_calls import EnterFailed, unread
from resolver.cli.up.plan import environment
from resolver.signal_names import WHAT_IS_ONE, signal_number


class NotExecutable(Refused):
    """The command of a service exists and can't be executed, or not in its working directory."""


class ServiceProcess:
    """A running process of a service. *pid*: of its init; *output*: descriptor of what it prints. *code*: None while it runs."""

    def __init__(self, service: Service, name: str, pid: int, output: int) -> None:
        self.service = service
        self.name = name
        self.output = output
        self.code: int | None = None
        self._pid = pid
        self._unfinished = b""
        self.restarts = Restarts(policy_of(restart_text(service)))
        self._began = time.monotonic()
        self._killed_at = math.inf
        # How much may still be read: without end while it runs.
        self._left: float = math.inf

    @property
    def ran(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self._began

    def read(self) -> list[str] | None:
        """Return the lines that were printed since, or None at the end of the output: all has ended that could print."""
        octets = os.read(self.output, int(min(self._left, 65_536))) if self._left > 0 else b""
        self._left -= len(octets)
        if not octets and not self._unfinished:
            return None
        *lines, self._unfinished = (self._unfinished + octets).split(b"\n")
        if not octets:
            # The last line had no end; the next call finds the end of the output again.
            lines, self._unfinished = [self._unfinished], b""
        return [line.decode(errors="replace") for line in lines]

    def close(self) -> None:
        """Close the output."""
        os.close(self.output)
        self._left = 0

    def poll(self) -> bool:
        """Return whether the process ended since the last call; *code* then has its exit code."""
        if self.code is not None:
            return False
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if not pid:
            return False
        self._note_end(enter.exit_code(status))
        return True

    def wait(self) -> bool:
        """Wait for the end; return as `poll` does."""
        if self.code is not None:
            return False
        self._note_end(enter.wait(self._pid))
        return True

    def _note_end(self, code: int) -> None:
        """Note its end. What another process goes on to write to its output is not read."""
        self.code = code
        if self._left:
            self._left = unread(self.output)

    def stop(self, grace: float | None = None) -> None:
        """Send the service's own stop signal, if it still runs.

        *grace*: seconds until it is overdue, None: the service's own; below 0: never.
        """
        seconds = self.service.stop_grace if grace is None else grace
        self._killed_at = math.inf if seconds < 0 else time.monotonic() + seconds
        self._signal(stop_signal(self.service))

    def is_overdue(self) -> bool:
        """Return whether it still runs although it was to end by now."""
        return self.code is None and time.monotonic() > self._killed_at

    def kill(self) -> None:
        """Send SIGKILL, if it still runs."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.code is None:
            try:
                os.kill(self._pid, number)
            except ProcessLookupError:
                return


def start(service: Service, sandbox: dict[str, Any], directory: Path, call: Call) -> ServiceProcess:
    """Start the command of *service*; it ends with this process. *directory*: of the Compose file."""
    reading, writing = os.pipe2(os.O_CLOEXEC)

    def prepare() -> None:
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        # The terminal's Ctrl-C is for us, who then stop the services in order.
        os.setpgid(0, 0)

    try:
        pid = enter.start(
            sandbox,
            service.command,
            environment={**os.environ, **sandbox["environment"], **environment(service)},
            directory=_working_directory(service, directory),
            register=lambda pid: register(sandbox, pid, call),
            prepare=prepare,
        )
    except EnterFailed as error:
        os.close(reading)
        raise _not_started(service, error) from error
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    return ServiceProcess(service, sandbox["name"], pid, reading)


def start_detached(service: Service, sandbox: dict[str, Any], process: Mapping[str, Any]) -> None:
    """Start the command of *service*, which outlives this process. *process*: see `process_body`."""
    try:
        monitor.start(sandbox, process)
    except EnterFailed as error:
        raise _not_started(service, error) from error


def process_body(service: Service, directory: Path) -> dict[str, Any]:
    """Return the `process` of the body of `POST /v1/sandboxes` for a replica of *service* that stays when it has ended."""
    where = _working_directory(service, directory)
    return {
        "command": list(service.command),
        "environment": enter.inherited(),
        "explicit": environment(service),
        "directory": where.path,
        "directory_required": where.required,
        "stop_signal": service.stop_signal.removeprefix("SIG"),
        "stop_timeout": service.stop_grace,
        "restart": restart_text(service),
        "remove": False,
    }


def _working_directory(service: Service, directory: Path) -> enter.WorkingDirectory:
    return enter.WorkingDirectory(str(directory / (service.working_dir or "")), required=True)


def _not_started(service: Service, error: EnterFailed) -> Refused:
    code, reason = enter.failure(str(error))
    kind = NotExecutable if code == enter.NOT_EXECUTABLE else Refused
    return kind(f"service {service.name}: {reason}")


def stop_signal(service: Service) -> int:
    """Return the number of the signal that ends *service*; Refused if there is none with that name."""
    number = signal_number(service.stop_signal)
    if number is None:
        raise Refused(f"service {service.name}: invalid stop_signal: {service.stop_signal!r} is no signal; {WHAT_IS_ONE}")
    return number


def restart_text(service: Service) -> str:
    """Return the restart policy of *service* as `run --restart` has it."""
    policy = service.restart
    limited = policy.when is RestartWhen.ON_FAILURE and policy.attempts
    return f"{policy.when.value}:{policy.attempts}" if limited else policy.when.value
