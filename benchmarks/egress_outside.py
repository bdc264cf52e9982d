"""What stands outside for `benchmarks.egress`: a name server, and servers that answer, send and take octets."""

from __future__ import annotations

import socket
import struct
import threading

from tests.support.lab import OUTSIDE_ADDRESS

ADDRESS = "192.0.2.1"
_BLOCK = bytes(1 << 20)


def names() -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((OUTSIDE_ADDRESS, 53))
    while True:
        query, peer = sock.recvfrom(4096)
        end = query.index(b"\0", 12) + 5
        is_a = query[end - 4 : end - 2] == b"\0\1"
        answer = b"\xc0\x0c\0\1\0\1" + struct.pack("!IH", 300, 4) + socket.inet_aton(ADDRESS) if is_a else b""
        sock.sendto(query[:2] + b"\x85\x80\0\1" + struct.pack("!HHH", is_a, 0, 0) + query[12:end] + answer, peer)


def serve(sock: socket.socket) -> None:
    """Answer the first data; then do what eight more octets say: send so many, or take so many and say so."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with sock:
        first = sock.recv(65_536)
        if not first:
            return
        if first.startswith(b"GET /"):
            count = int(first.split(b" ")[1][1:])
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % count)
            send(sock, count)
            return
        sock.sendall(b"x")
        order = sock.recv(9)
        if len(order) < 9:
            return
        count = int.from_bytes(order[1:], "big")
        if order[:1] == b"d":
            send(sock, count)
            return
        room = bytearray(1 << 20)
        while count > 0:
            came = sock.recv_into(room)
            if not came:
                return
            count -= came
        sock.sendall(b"x")


def send(sock: socket.socket, count: int) -> None:
    while count > 0:
        sock.sendall(_BLOCK[: min(count, len(_BLOCK))])
        count -= len(_BLOCK)


def listen(port: int) -> None:
    server = socket.create_server((ADDRESS, port), backlog=1024)
    while True:
        sock, _ = server.accept()
        threading.Thread(target=serve, args=(sock,), daemon=True).start()


def main() -> None:
    sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sink.bind((ADDRESS, 9999))
    threading.Thread(target=names, daemon=True).start()
    for port in (80, 443, 9000):
        threading.Thread(target=listen, args=(port,), daemon=True).start()
    print("listening", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
