"""One process of a service: its start in a sandbox, its output, its end."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resolver.cli import enter, monitor
from resolver.cli.client import Refused
from resolver.cli.compose.project import Service
from resolver.cli.sandbox_calls import Call, register
from resolver.cli.system_calls import EnterFailed
from resolver.cli.up.plan import environment


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

    def read(self) -> list[str] | None:
        """Return the lines that were printed since, or None at the end of the output."""
        octets = os.read(self.output, 65_536)
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

    def poll(self) -> bool:
        """Return whether the process ended since the last call; *code* then has its exit code."""
        if self.code is not None:
            return False
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if not pid:
            return False
        self.code = enter.exit_code(status)
        return True

    def wait(self) -> bool:
        """Wait for the end; return as `poll` does."""
        if self.code is not None:
            return False
        self.code = enter.wait(self._pid)
        return True

    def stop(self) -> None:
        """Send the service's own stop signal, if it still runs."""
        self._signal(stop_signal(self.service))

    def kill(self) -> None:
        """Send SIGKILL, if it still runs."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
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
        "stop_signal": stop_signal(service).name.removeprefix("SIG"),
        "stop_timeout": service.stop_grace,
        "restart": "no",
        "remove": False,
    }


def _working_directory(service: Service, directory: Path) -> enter.WorkingDirectory:
    return enter.WorkingDirectory(str(directory / (service.working_dir or "")), required=True)


def _not_started(service: Service, error: EnterFailed) -> Refused:
    code, reason = enter.failure(str(error))
    kind = NotExecutable if code == enter.NOT_EXECUTABLE else Refused
    return kind(f"service {service.name}: {reason}")


def stop_signal(service: Service) -> signal.Signals:
    """Return the signal that ends *service*: its own if the system has it, SIGTERM otherwise."""
    name = "SIG" + service.stop_signal.removeprefix("SIG")
    return signal.Signals[name] if name in signal.Signals.__members__ else signal.SIGTERM
