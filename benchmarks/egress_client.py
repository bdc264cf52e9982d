"""What runs in the sandboxes of `benchmarks.egress`; prints a list of what it measured.

ask SERVER PORT NAME COUNT              seconds of each question; %d in NAME: another name each time
hello|http ADDRESS PORT COUNT PROXY FILE   seconds of each connection until its first answer
down|up|http-down ADDRESS PORT _ PROXY FILE    Gbit/s of one connection
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import time
from pathlib import Path

_BULK = 1 << 29


def ask(server: str, port: str, name: str, count: str) -> list[float]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(5)
    sock.connect((server, int(port)))
    taken = []
    for number in range(int(count)):
        labels = (name % number if "%d" in name else name).rstrip(".").split(".")
        wire = b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0\0\1\0\1"
        query = struct.pack("!HHHHHH", number & 0xFFFF, 0x0100, 1, 0, 0, 0) + wire
        begun = time.perf_counter()
        sock.send(query)
        reply = sock.recv(4096)
        taken.append(time.perf_counter() - begun)
        assert reply[:2] == query[:2]
        assert not reply[3] & 15, f"{name}: rcode {reply[3] & 15}"
    return taken


def connected(address: str, port: str, proxy: str) -> socket.socket:
    sock = socket.create_connection((address, int(port)), 30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if proxy != "-":
        sock.sendall(f"CONNECT {proxy} HTTP/1.1\r\nHost: {proxy}\r\n\r\n".encode())
        said = b""
        while b"\r\n\r\n" not in said:
            said += sock.recv(4096)
        assert b" 200 " in said, said
    return sock


def first_data(mode: str, file: str, count: int = 1) -> bytes:
    if mode.startswith("http"):
        return b"GET /%d HTTP/1.1\r\nHost: ok.test\r\n\r\n" % count
    return bytes.fromhex(Path(file).read_text())


def begin(mode: str, address: str, port: str, count: str, proxy: str, file: str) -> list[float]:
    taken = []
    octets = first_data(mode, file)
    for _ in range(int(count)):
        begun = time.perf_counter()
        with connected(address, port, proxy) as sock:
            sock.sendall(octets)
            assert sock.recv(100)
            taken.append(time.perf_counter() - begun)
    return taken


def bulk(mode: str, address: str, port: str, _count: str, proxy: str, file: str) -> list[float]:
    with connected(address, port, proxy) as sock:
        room = bytearray(1 << 20)
        if mode == "http-down":
            begun = time.perf_counter()
            sock.sendall(first_data(mode, file, _BULK))
        else:
            sock.sendall(first_data(mode, file))
            assert sock.recv(1) == b"x"
            begun = time.perf_counter()
            sock.sendall((b"d" if mode == "down" else b"u") + _BULK.to_bytes(8, "big"))
        if mode == "up":
            for _ in range(_BULK >> 20):
                sock.sendall(room)
            assert sock.recv(1) == b"x"
        else:
            left = _BULK
            while left > 0:
                came = sock.recv_into(room)
                assert came
                left -= came
        return [_BULK * 8 / 1e9 / (time.perf_counter() - begun)]


def main() -> None:
    mode, *arguments = sys.argv[1:]
    if mode == "ask":
        print(json.dumps(ask(*arguments)))
    elif mode in ("hello", "http"):
        print(json.dumps(begin(mode, *arguments)))
    else:
        print(json.dumps(bulk(mode, *arguments)))


if __name__ == "__main__":
    main()
