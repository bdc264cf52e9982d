"""Real etcd members on loopback ports of their own, for tests."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path


def why_no_etcd() -> str:
    """Return why there is no etcd here, "" if there is one."""
    return "" if shutil.which("etcd") else "etcd is not installed (apt-get install etcd-server)"


def free_port() -> int:
    """Return a port that is free, and that no other test is given meanwhile: it is below those that the kernel chooses from."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = first // 2 + secrets.randbelow(first // 2)
        with contextlib.suppress(OSError), socket.socket() as sock:
            sock.bind(("127.0.0.1", port))
            return port


class Member:
    """One member of a cluster."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.client, self.peer = free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.more: tuple[str, ...] = ()
        self.scheme = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.client}"

    def start(self, cluster: str) -> None:
        command = [
            "etcd", "--name", self.name, "--data-dir", str(self.directory / self.name), "--listen-client-urls", self.url,
            "--advertise-client-urls", self.url, "--listen-peer-urls", f"http://127.0.0.1:{self.peer}",
            "--initial-advertise-peer-urls", f"http://127.0.0.1:{self.peer}", "--initial-cluster", cluster,
            "--initial-cluster-state", "new", "--heartbeat-interval", "50", "--election-timeout", "300", *self.more,
        ]  # fmt: skip
        with (self.directory / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def post(self, path: str, body: object) -> dict:
        """Return the answer of the JSON gateway."""
        request = urllib.request.Request(f"{self.url}/v3/{path}", json.dumps(body).encode())
        return json.loads(urllib.request.urlopen(request, timeout=30).read())

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def has_ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def is_healthy(self) -> bool:
        if self.scheme == "https":
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.client), timeout=1):
                return True
            return False
        with contextlib.suppress(OSError):
            return b'"true"' in urllib.request.urlopen(f"{self.url}/health", timeout=1).read()
        return False


@contextlib.contextmanager
def cluster(directory: Path, size: int = 1, *more: str, scheme: str = "http") -> Iterator[list[Member]]:
    """Yield the members of a cluster that has a leader."""
    members: list[Member] = []
    try:
        # Somebody else may have taken a port since it was free: who was to have it ends at once.
        while not members or any(member.has_ended() for member in members):
            for member in members:
                member.kill()
                shutil.rmtree(directory / member.name, ignore_errors=True)
            members = [Member(f"m{number}", directory) for number in range(size)]
            text = ",".join(f"{member.name}=http://127.0.0.1:{member.peer}" for member in members)
            for member in members:
                member.more, member.scheme = more, scheme
                member.start(text)
            wait_until_healthy(members)
        yield members
    finally:
        for member in members:
            member.kill()


def wait_until_healthy(members: list[Member]) -> None:
    """Wait until all answer, or one has ended."""
    end = time.monotonic() + 60
    while not all(member.is_healthy() for member in members) and not any(member.has_ended() for member in members):
        assert time.monotonic() < end, (members[0].directory / f"{members[0].name}.log").read_text()[-2000:]
        time.sleep(0.05)
