"""Run in a sandbox: ask for names without a pause until standard input ends, one query at a time; print as JSON what came of it.

Arguments: `udp` or `tcp`, then NAME=ADDRESS of each name to ask for in turn; a `*` in a name is another label each time. A query is sent once: one that is lost is waited
for in vain. By TCP a connection is kept, and made again when it has ended; that is no error, an answer that never comes is one.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time
from typing import Any

PATIENCE = 30.0
"""Seconds that an answer may take before it counts as lost."""
SERVER = ("127.0.0.11", 53)


def question(number: int, name: str) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def exchange_udp(sock: socket.socket, octets: bytes) -> bytes:
    sock.send(octets)
    end = time.monotonic() + PATIENCE
    while True:
        sock.settimeout(max(end - time.monotonic(), 0.001))
        answer = sock.recv(512)
        # An earlier query that was answered twice is of no interest to anybody.
        if answer[:2] == octets[:2]:
            return answer


class Stream:
    """A TCP connection that is made again when it has ended."""

    def __init__(self) -> None:
        self.sock: socket.socket | None = None
        self.ended = 0

    def exchange(self, octets: bytes) -> bytes:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                if self.sock is None:
                    self.sock = socket.create_connection(SERVER, timeout=PATIENCE)
                self.sock.sendall(len(octets).to_bytes(2, "big") + octets)
                head = self._read(2)
                return self._read(int.from_bytes(head, "big"))
            except TimeoutError:
                raise
            except OSError:
                if self.sock is not None:
                    self.sock.close()
                self.sock = None
                self.ended += 1
        raise TimeoutError

    def _read(self, count: int) -> bytes:
        assert self.sock is not None
        octets = b""
        while len(octets) < count:
            part = self.sock.recv(count - len(octets))
            if not part:
                raise ConnectionResetError
            octets += part
        return octets


def main() -> None:
    transport, *given = sys.argv[1:]
    names = [tuple(pair.split("=")) for pair in given]
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(SERVER)
    stream = Stream()
    told: dict[str, Any] = {"asked": 0, "errors": [], "wrong": [], "waits": []}
    print("asking", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        number = told["asked"] & 0xFFFF
        pattern, address = names[told["asked"] % len(names)]
        name = pattern.replace("*", f"n{told['asked']}")
        told["asked"] += 1
        begun = time.monotonic()
        try:
            octets = question(number, name)
            answer = exchange_udp(sock, octets) if transport == "udp" else stream.exchange(octets)
        except OSError as error:
            told["errors"].append(f"{name}: {error or type(error).__name__}")
        else:
            if answer[3] & 0xF or not answer[7] or socket.inet_ntoa(answer[-4:]) != address:
                told["wrong"].append(f"{name}: rcode {answer[3] & 0xF}, {answer[7]} records")
        waited = time.monotonic() - begun
        if waited > 0.05:
            told["waits"].append(round(waited, 3))
    told["ended"] = stream.ended
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
