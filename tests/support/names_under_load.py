"""Run in a lab with a daemon, a network `net` and a sandbox `asker`: change names under full load, check every reply.

One thread of changes: sandboxes are renamed, and disconnected and connected again. Askers in the sandbox ask as fast as
they can, and note when each question went out, when its reply came and what it said. A reply is wrong if no state of the
name between those two times would give it. Prints JSON.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import struct
import subprocess
import sys
import time
from itertools import pairwise

SECONDS, ASKERS = 10.0, 2
NAMES = ("moving0", "moving1", "renamed0", "renamed1")


class Connection(http.client.HTTPConnection):
    def __init__(self) -> None:
        super().__init__("localhost")

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/run/berth/berth.sock")

    def call(self, method: str, path: str, body: object = None):
        self.request(method, path, json.dumps(body) if body is not None else None)
        response = self.getresponse()
        octets = response.read()
        assert response.status in (200, 201), octets
        return json.loads(octets)


def ask() -> None:
    """Ask for the names in turn until the time is over, 16 questions at a time; write (name, sent, received, address or "")."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(("127.0.0.11", 53))
    sock.settimeout(3)
    noted, end, number = [], time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        open_questions = {}
        for _ in range(16):
            number = (number + 1) & 0xFFFF
            name = NAMES[number % len(NAMES)]
            open_questions[number] = (name, time.monotonic())
            question = bytes([len(name)]) + name.encode() + b"\0\0\1\0\1"
            sock.send(struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + question)
        while open_questions:
            octets = sock.recv(512)
            received = time.monotonic()
            name, sent = open_questions.pop(octets[0] << 8 | octets[1])
            found = socket.inet_ntoa(octets[-4:]) if octets[7] else ""
            noted.append((name, sent, received, found))
    json.dump(noted, sys.stdout)


States = dict[str, list[tuple[float, float, str]]]
"""Of each name its states in order: (when it may have begun, when it must have, address or "")."""


def change(connection: Connection) -> tuple[States, list, dict[str, int]]:
    """Change names while askers run; return the states, what the askers noted, and how much was changed."""
    states: States = {name: [] for name in NAMES}

    def note(name: str, begun: float, address: str) -> None:
        states[name].append((begun, time.monotonic(), address))

    def add(name: str) -> str:
        begun = time.monotonic()
        made = connection.call("POST", "/v1/sandboxes", {"name": name, "networks": [{"network": "net"}]})
        note(name, begun, made["addresses"][0])
        return made["addresses"][0]

    for name in ("moving0", "moving1"):
        add(name)
    address, current = add("renamed0"), "renamed0"
    note("renamed1", 0.0, "")
    askers = [
        subprocess.Popen(["ip", "netns", "exec", "berth-asker", sys.executable, __file__, "ask"], stdout=subprocess.PIPE, text=True)
        for _ in range(ASKERS)
    ]
    changes = moved = 0
    end = time.monotonic() + SECONDS + 1
    while time.monotonic() < end:
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
    replies = []
    for asker in askers:
        replies += json.loads(asker.communicate()[0])
    return states, replies, {"changes": changes, "moved": moved}


def wrong_replies(states: States, replies: list) -> list:
    """Return the replies that no state of their name explains."""
    wrong = []
    for name, sent, received, found in replies:
        # A state may be seen from when its change may have begun until the next one must have.
        spans = [(a[0], b[1], a[2]) for a, b in pairwise([*states[name], (1e18, 1e18, "")])]
        if not any(begun <= received and sent <= end and found == address for begun, end, address in spans):
            wrong.append((name, sent, received, found))
    return wrong


def main() -> None:
    if sys.argv[1:] == ["ask"]:
        ask()
        return
    os.environ.pop("PYTHONPATH", None)
    connection = Connection()
    states, replies, counts = change(connection)
    json.dump({"replies": len(replies), **counts, "wrong": wrong_replies(states, replies)[:10]}, sys.stdout)
    for item in connection.call("GET", "/v1/sandboxes"):
        if item["name"].startswith(("moving", "renamed")):
            connection.call("DELETE", f"/v1/sandboxes/{item['id']}")


if __name__ == "__main__":
    main()
