"""Several hosts: a lab each, with its own daemon, joined by a wire that can be cut, and etcd beside them on the wire."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.etcd import Member
from tests.support.lab import Lab

_WIRE = "set -e; ip link set lo up; ip link add sw type bridge; ip addr add 10.99.0.100/24 dev sw; ip link set sw up; echo ready; exec sleep infinity"
ETCD = "10.99.0.100"


class Hosts:
    """*labs*: one for each host, at 10.99.0.1 and on; *member*: etcd."""

    def __init__(self, size: int, directory: Path) -> None:
        self._wire = subprocess.Popen(["unshare", "--net", "sh", "-c", _WIRE], stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self._wire.stdout is not None
        assert self._wire.stdout.readline() == "ready\n"
        self.member = Member("m0", directory)
        self.labs = [Lab() for _ in range(size)]
        for number, lab in enumerate(self.labs):
            lab.run("ip", "link", "add", "wire0", "type", "veth", "peer", "name", f"w{number}", "netns", str(self._wire.pid))
            lab.shell(f"ip addr add {self.address(number)}/24 dev wire0; ip link set wire0 up")
            self.on_wire("ip", "link", "set", f"w{number}", "master", "sw", "up")
        self.start_etcd()

    @staticmethod
    def address(number: int) -> str:
        return f"10.99.0.{number + 1}"

    def on_wire(self, *command: str) -> str:
        done = subprocess.run(["nsenter", "--target", str(self._wire.pid), "--net", *command], capture_output=True, text=True, check=True)
        return done.stdout

    def start_etcd(self) -> None:
        url = f"http://{ETCD}:2379"
        command = [
            "nsenter", "--target", str(self._wire.pid), "--net", "etcd", "--name", "m0", "--data-dir", str(self.member.directory / "m0"),
            "--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", "http://127.0.0.1:2380",
        ]  # fmt: skip
        with open(self.member.directory / "m0.log", "ab") as log:
            self.member.process = subprocess.Popen(command, stdout=log, stderr=log)
        self.labs[0].wait_for(lambda: self.labs[0].run("curl", "-sf", f"{url}/health", check=False).returncode == 0, timeout=20)

    def post(self, path: str, body: object) -> dict:
        """Return the answer of etcd's JSON gateway."""
        return json.loads(self.labs[1].out("curl", "-s", "-d", json.dumps(body), f"http://{ETCD}:2379/v3/{path}"))

    def start_daemon(self, number: int, *more: str) -> None:
        self.labs[number].write("/etc/berth.toml", "store_ttl = 2\nstore_grace = 30\n")
        self.labs[number].start_daemon("--config", "/etc/berth.toml", "--store", f"etcd://{ETCD}:2379", *more)

    def cut(self, number: int) -> None:
        """Cut a host off the wire."""
        self.on_wire("ip", "link", "set", f"w{number}", "down")

    def restore(self, number: int) -> None:
        self.on_wire("ip", "link", "set", f"w{number}", "up")

    def close(self) -> None:
        for lab in self.labs:
            lab.close()
        self.member.kill()
        self._wire.kill()
        self._wire.wait()
        assert self._wire.stdout is not None
        self._wire.stdout.close()


@contextlib.contextmanager
def hosts(size: int, directory: Path) -> Iterator[Hosts]:
    """Give *size* hosts with daemons."""
    made = Hosts(size, directory)
    try:
        for number in range(size):
            made.start_daemon(number)
        yield made
    finally:
        made.close()
