"""Attempts to reach the internet of `laptop`, with real clients: `python laptop_probe.py probe LOG PAUSE`; `… echo` answers `flow`.

Each attempt is a line of LOG; an attempt does not wait for the one before it. Kinds: `name` (getent, a new name each time),
`fetch` (curl, by name), `fetch6` (curl, an IPv6 address), `flow` and `flow6` (a datagram and its echo, always from the same
socket).
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

WEB, WEB6, ECHO_PORT = "192.0.2.80", "2001:db8:80::80", 7
_PATIENCE = 2.5

_lock = threading.Lock()


def note(log: str, kind: str, start: float, error: str) -> None:
    line = {"kind": kind, "start": start, "took": time.monotonic() - start, "ok": not error, "error": error}
    with _lock, Path(log).open("a") as file:
        file.write(json.dumps(line) + "\n")


def attempt(log: str, kind: str, *command: str) -> None:
    start = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=2 * _PATIENCE, check=False)
        error = "" if done.returncode == 0 else f"{done.returncode} {done.stderr.strip()}"
    except subprocess.TimeoutExpired:
        error = "timeout"
    note(log, kind, start, error)


def flow(log: str, kind: str, family: socket.AddressFamily, address: str, pause: float) -> None:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    number = 0
    while True:
        number += 1
        start, error = time.monotonic(), "no echo"
        try:
            sock.sendto(str(number).encode(), (address, ECHO_PORT))
            while (left := start + pause - time.monotonic()) > 0 and select.select([sock], [], [], left)[0]:
                if sock.recv(100) == str(number).encode():
                    error = ""
                    break
        except OSError as failure:
            error = str(failure)
        note(log, kind, start, error)
        time.sleep(max(0.0, start + pause - time.monotonic()))


def probe(log: str, pause: float) -> None:
    for kind, family, address in (("flow", socket.AF_INET, WEB), ("flow6", socket.AF_INET6, WEB6)):
        threading.Thread(target=flow, args=(log, kind, family, address, pause), daemon=True).start()
    number = 0
    while True:
        number += 1
        start = time.monotonic()
        curl = ("curl", "-sSf", "-m", str(_PATIENCE), "-o", "/dev/null")
        for kind, command in {
            "name": ("getent", "ahostsv4", f"n{number}-{time.monotonic_ns()}.example.test"),
            "fetch": (*curl, "-4", "http://www.example.test/there"),
            "fetch6": (*curl, f"http://[{WEB6}]/there"),
        }.items():
            threading.Thread(target=attempt, args=(log, kind, *command), daemon=True).start()
        time.sleep(max(0.0, start + pause - time.monotonic()))


def echo() -> None:
    sockets = []
    for family, address in ((socket.AF_INET, WEB), (socket.AF_INET6, WEB6)):
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.bind((address, ECHO_PORT))
        sockets.append(sock)
    while True:
        for sock in select.select(sockets, [], [])[0]:
            octets, peer = sock.recvfrom(100)
            sock.sendto(octets, peer)


if sys.argv[1] == "echo":
    echo()
else:
    probe(sys.argv[2], float(sys.argv[3]))
