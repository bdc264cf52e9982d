"""Run in a lab with a daemon, a network `net` and a sandbox `asker`: change names under full load, check every reply.

One thread of changes: sandboxes are renamed, and disconnected and connected again. Askers in the sandbox ask as fast as
they can, and note when each query went out, when its response came and what it said. A response is wrong if no state of the
name between those two times would give it. Goes on until enough was asked and changed, however slow the machine is.
Prints JSON.
"""

from __future__ import annotations

import http.client
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from itertools import pairwise
from typing import Any

SECONDS, ASKERS = 10.0, 2
"""At least so long, by so many."""
RESPONSES, CHANGES, MOVES = 12_000, 120, 30
"""At least so many responses to each asker, changes of a name, and changes of an address."""
NAMES = ("moving0", "moving1", "renamed0", "renamed1")


class Connection(http.client.HTTPConnection):
    def __init__(self) -> None:
        super().__init__("localhost")

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/run/berth/berth.sock")

    def call(self, method: str, path: str, body: object = None) -> Any:
        self.request(method, path, json.dumps(body) if body is not None else None)
        response = self.getresponse()
        octets = response.read()
        assert response.status in (200, 201), octets
        return json.loads(octets)


Noted = list[tuple[str, float, float, str]]
"""(name, when the query was sent, when the response was received, address or "")."""


def ask() -> None:
    """Ask for the names in turn until standard input ends, 16 queries at a time; write what was noted."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(("127.0.0.11", 53))
    sock.settimeout(20)
    noted: Noted = []
    number = 0
    while len(noted) < RESPONSES or not select.select([sys.stdin], [], [], 0)[0]:
        queries: dict[int, tuple[str, float]] = {}
        for _ in range(16):
            number = (number + 1) & 0xFFFF
            name = NAMES[number % len(NAMES)]
            queries[number] = (name, time.monotonic())
            question = bytes([len(name)]) + name.encode() + b"\0\0\1\0\1"
            sock.send(struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + question)
        while queries:
            octets = sock.recv(512)
            received = time.monotonic()
            name, sent = queries.pop(octets[0] << 8 | octets[1])
            noted.append((name, sent, received, socket.inet_ntoa(octets[-4:]) if octets[7] else ""))
    json.dump(noted, sys.stdout)


States = dict[str, list[tuple[float, float, str]]]
"""Of each name its states in order: (when it may have begun, when it must have, address or "")."""


def change(connection: Connection) -> tuple[States, Noted, dict[str, int]]:
    """Change names while askers run; return the states, what the askers noted, and how much was changed."""
    states: States = {name: [] for name in NAMES}

    def note(name: str, begun: float, address: str) -> None:
        states[name].append((begun, time.monotonic(), address))

    def add(name: str) -> str:
        begun = time.monotonic()
        made = connection.call("POST", "/v1/sandboxes", {"name": name, "networks": [{"network": "net"}]})
        address: str = made["addresses"][0]
        note(name, begun, address)
        return address

    for name in ("moving0", "moving1"):
        add(name)
    address, current = add("renamed0"), "renamed0"
    note("renamed1", 0.0, "")
    askers = [
        subprocess.Popen(
            ["ip", "netns", "exec", "berth-asker", sys.executable, __file__, "ask"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(ASKERS)
    ]
    changes = moved = 0
    end = time.monotonic() + SECONDS
    while time.monotonic() < end or changes < CHANGES or moved < MOVES:
        other = "renamed1" if current == "renamed0" else "renamed0"
        begun = time.monotonic()
        connection.call("PATCH", f"/v1/sandboxes/{current}", {"name": other})
        note(other, begun, address)
        note(current, begun, "")
        current = other
        changes += 1
        if changes % 4 == 0:
            name = f"moving{changes // 4 % 2}"
            begun = time.monotonic()
            connection.call("POST", "/v1/networks/net/disconnect", {"sandbox": name})
            note(name, begun, "")
            begun = time.monotonic()
            made = connection.call("POST", "/v1/networks/net/connect", {"sandbox": name})
            note(name, begun, made["addresses"][0])
            moved += 1
    noted: Noted = []
    for asker in askers:
        noted += json.loads(asker.communicate()[0])
    return states, noted, {"changes": changes, "moved": moved}


def wrong_responses(states: States, noted: Noted) -> Noted:
    """Return the responses that no state of their name explains."""
    wrong = []
    for name, sent, received, told in noted:
        # A state may be seen from when its change may have begun until the next one must have.
        spans = [(a[0], b[1], a[2]) for a, b in pairwise([*states[name], (1e18, 1e18, "")])]
        if not any(begun <= received and sent <= end and told == address for begun, end, address in spans):
            wrong.append((name, sent, received, told))
    return wrong


def main() -> None:
    if sys.argv[1:] == ["ask"]:
        ask()
        return
    os.environ.pop("PYTHONPATH", None)
    connection = Connection()
    states, noted, counts = change(connection)
    json.dump({"replies": len(noted), **counts, "wrong": wrong_responses(states, noted)[:10]}, sys.stdout)
    for sandbox in connection.call("GET", "/v1/sandboxes"):
        if sandbox["name"].startswith(("moving", "renamed")):
            connection.call("DELETE", f"/v1/sandboxes/{sandbox['id']}")


if __name__ == "__main__":
    main()
