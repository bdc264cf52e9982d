"""Several hosts: a lab each, with its own daemon, joined by a wire that can be cut and slowed, and etcd beside them on the wire."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.support.etcd import Member
from tests.support.lab import Lab

_WIRE = """set -e; ip link set lo up; ip link add sw type bridge; echo 0 > /proc/sys/net/ipv6/conf/sw/accept_dad
for n in 0 1 2; do ip addr add 10.99.0.10$n/24 dev sw; ip addr add fd99::10$n/64 dev sw nodad; done
ip link set sw up; echo ready; exec sleep infinity"""
ETCD = ("10.99.0.100", "10.99.0.101", "10.99.0.102")
ETCD6 = "[fd99::100]"


class Stored(NamedTuple):
    """A record of etcd. *lease*: its number as the gateway says it, "0" for none."""

    value: str
    lease: str


def _below(prefix: str) -> dict[str, str]:
    """Return the range of all keys that begin with *prefix*."""
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    return {"key": base64.b64encode(prefix.encode()).decode(), "range_end": base64.b64encode(end.encode()).decode()}


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode()


class Hosts:
    """*labs*: one for each host, at 10.99.0.1 and fd99::1 and on; *members*: etcd."""

    def __init__(self, size: int, directory: Path, members: int = 1, grace: int = 30, ttl: int = 2) -> None:
        self._grace, self._ttl = grace, ttl
        self._wire = subprocess.Popen(["unshare", "--net", "sh", "-c", _WIRE], stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self._wire.stdout is not None
        assert self._wire.stdout.readline() == "ready\n"
        self.members = [Member(f"m{number}", directory) for number in range(members)]
        self.labs = [Lab() for _ in range(size)]
        for number, lab in enumerate(self.labs):
            lab.run("ip", "link", "add", "wire0", "type", "veth", "peer", "name", f"w{number}", "netns", str(self._wire.pid))
            lab.shell(
                f"ip addr add {self.address(number)}/24 dev wire0; ip addr add fd99::{number + 1}/64 dev wire0 nodad; ip link set wire0 up"
            )
            self.on_wire("ip", "link", "set", f"w{number}", "master", "sw", "up")
        for number in range(members):
            self.start_etcd(number)
        for number in range(members):
            self.labs[0].wait_for(partial(self.is_healthy, number), 60)

    @staticmethod
    def address(number: int) -> str:
        return f"10.99.0.{number + 1}"

    def on_wire(self, *command: str) -> str:
        done = subprocess.run(["nsenter", "--target", str(self._wire.pid), "--net", *command], capture_output=True, text=True, check=True)
        return done.stdout

    @staticmethod
    def _url(number: int) -> str:
        return f"http://{ETCD[number]}:2379"

    def start_etcd(self, number: int = 0) -> None:
        member, url = self.members[number], self._url(number)
        command = [
            "nsenter", "--target", str(self._wire.pid), "--net", "etcd", "--name", member.name, "--data-dir", str(member.directory / member.name),
            "--listen-client-urls", f"{url},http://{ETCD6}:2379" if number == 0 else url, "--advertise-client-urls", url,
            "--listen-peer-urls", f"http://{ETCD[number]}:2380", "--initial-advertise-peer-urls", f"http://{ETCD[number]}:2380",
            "--initial-cluster", ",".join(f"m{other}=http://{ETCD[other]}:2380" for other in range(len(self.members))),
        ]  # fmt: skip
        with (member.directory / f"{member.name}.log").open("ab") as log:
            member.process = subprocess.Popen(command, stdout=log, stderr=log)

    def post(self, path: str, body: object, number: int = 0) -> dict:
        """Return the answer of the JSON gateway of one member."""
        return json.loads(self.labs[1].out("curl", "-s", "-d", json.dumps(body), f"{self._url(number)}/v3/{path}"))

    def stored(self, prefix: str) -> dict[str, Stored]:
        """Return all that etcd has below *prefix*, by its keys."""
        found = self.post("kv/range", _below(prefix)).get("kvs", [])
        return {_text(one["key"]): Stored(_text(one.get("value", "")), one.get("lease", "0")) for one in found}

    def delete_stored(self, prefix: str) -> None:
        """Delete all that etcd has below *prefix*."""
        self.post("kv/deleterange", _below(prefix))

    def is_healthy(self, number: int) -> bool:
        return self.labs[0].run("curl", "-sf", f"{self._url(number)}/health", check=False).returncode == 0

    def leader(self) -> int:
        """Return which member leads."""
        statuses = [self.post("maintenance/status", {}, number) for number in range(len(self.members))]
        return next(number for number, status in enumerate(statuses) if status["header"]["member_id"] == status["leader"])

    def start_daemon(self, number: int, *more: str) -> None:
        self.labs[number].start_daemon(*self.arguments(number, *more))

    def arguments(self, number: int, *more: str) -> tuple[str, ...]:
        """Return what the daemon of a host is started with; its configuration is written."""
        self.labs[number].write("/etc/berth.toml", f"store_ttl = {self._ttl}\nstore_grace = {self._grace}\n")
        if "--store" not in more:
            more = ("--store", "etcd://" + ",".join(f"{address}:2379" for address in ETCD[: len(self.members)]), *more)
        return ("--config", "/etc/berth.toml", *more)

    def cut(self, number: int) -> None:
        """Cut a host off the wire."""
        self.on_wire("ip", "link", "set", f"w{number}", "down")

    def restore(self, number: int) -> None:
        self.on_wire("ip", "link", "set", f"w{number}", "up")

    def slow(self, number: int, bits: int) -> None:
        """Slow what goes to a host down to *bits* a second; what it sends goes as before."""
        self.on_wire("tc", "qdisc", "replace", "dev", f"w{number}", "root", "tbf", "rate", str(bits), "burst", "2000", "limit", "30000")

    def quicken(self, number: int) -> None:
        self.on_wire("tc", "qdisc", "del", "dev", f"w{number}", "root")

    def close(self) -> None:
        for lab in self.labs:
            lab.close()
        for member in self.members:
            member.kill()
        self._wire.kill()
        self._wire.wait()
        assert self._wire.stdout is not None
        self._wire.stdout.close()


@contextlib.contextmanager
def hosts(size: int, directory: Path, *more: str, members: int = 1, grace: int = 30, ttl: int = 2) -> Iterator[Hosts]:
    """Yield *size* hosts with daemons, which are given the arguments *more*. *grace*: `store_grace`; *ttl*: `store_ttl`."""
    made = Hosts(size, directory, members, grace, ttl)
    try:
        for number in range(size):
            made.start_daemon(number, *more)
        yield made
    finally:
        made.close()
