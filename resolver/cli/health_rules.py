"""What a health check makes of what its probes found: Docker's rules. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
LOGGED = 5
"""How many results are kept, as with Docker."""
OUTPUT = 4096
"""Octets of what a probe printed that are kept, as with Docker."""


class Result(NamedTuple):
    """What one probe found. *start*, *end*: seconds since the epoch; *exit_code*: 0 if all is well, -1 after the timeout."""

    start: float
    end: float
    exit_code: int
    output: str


class Tracker:
    """The health of one command. *check*: as `health_check` of the admin API. Times are in seconds since the command started."""

    def __init__(self, check: dict[str, Any]) -> None:
        self._check = check
        self._log: list[Result] = []
        self.status = STARTING
        self.failing_streak = 0

    def pause(self, since_start: float) -> float:
        """Return the seconds until the next probe."""
        starts = self.status == STARTING and since_start < self._check["start_period"]
        pause: float = self._check["start_interval" if starts else "interval"]
        return pause

    def note(self, result: Result, since_start: float) -> None:
        """Take notice of the result of a probe, which began *since_start*."""
        self._log = [*self._log, result][-LOGGED:]
        if result.exit_code == 0:
            self.status, self.failing_streak = HEALTHY, 0
            return
        if self.status == STARTING and since_start < self._check["start_period"]:
            return
        self.failing_streak += 1
        if self.failing_streak >= self._check["retries"]:
            self.status = UNHEALTHY

    def record(self) -> dict[str, Any]:
        """Return what is known, for the file `health` in the sandbox's directory."""
        return {"status": self.status, "failing_streak": self.failing_streak, "log": [result._asdict() for result in self._log]}


def target_of(text: str) -> tuple[str, int]:
    """Return host and port of `PORT` or `HOST:PORT`, the host `localhost` if there is none; ValueError if it is neither."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65_536):
        raise ValueError(f"{text!r:.80} should be like 5432, db:5432 or [::1]:5432")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"{text!r:.80}: an IPv6 address is written in brackets, [::1]:5432")
    return host.strip("[]") or "localhost", int(port)


def url_of(text: str) -> tuple[str, int, str]:
    """Return host, port and path of `http://HOST[:PORT]/PATH`, `[HOST]:PORT/PATH`, `PORT/PATH` or `/PATH`; ValueError otherwise."""
    if text.startswith("https://"):
        raise ValueError(f"{text!r:.80}: only http is asked; for https use --health-cmd, with curl for example")
    if any(character <= " " or character == "\x7f" for character in text) or not text.isascii():
        raise ValueError(f"{text!r:.80} should have neither spaces nor other than ASCII characters")
    where, slash, path = text.removeprefix("http://").partition("/")
    has_port = where.rpartition(":")[2].isdigit() if "http://" not in text else where.rpartition("]")[2].rpartition(":")[1] == ":"
    if not where:
        host, port = "localhost", 80
    elif has_port:
        host, port = target_of(where)
    elif text.startswith("http://"):
        host, port = where.strip("[]"), 80
    else:
        raise ValueError(f"{text!r:.80} should be like http://localhost:8080/health, 8080/health or /health")
    return host, port, f"{slash or '/'}{path}"
