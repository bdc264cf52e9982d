"""The admin API of a lab's daemon, asked from the process of the tests: what does thousands of requests has no time for curl."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

from tests.support.lab import Lab


class AdminClient(http.client.HTTPConnection):
    """One connection, kept open. It must not be shared by threads."""

    def __init__(self, lab: Lab, timeout: float = 120) -> None:
        super().__init__("berth", timeout=timeout)
        self._path = f"/proc/{lab.pid}/root/run/berth/berth.sock"

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Return (status, decoded body). An `OSError` or `HTTPException` means that the daemon is gone."""
        try:
            self.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"})
            response = self.getresponse()
            octets = response.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        return response.status, json.loads(octets) if octets.startswith((b"{", b"[")) else octets.decode()

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Return the decoded body of a request that succeeds."""
        status, answer = self.ask(method, path, body)
        assert status < 300, (method, path, body, status, answer)
        return answer


def resident_octets(pid: int) -> int:
    """Return the resident memory of a process."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) * 1024


def descriptors(pid: int) -> int:
    """Return how many descriptors a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
