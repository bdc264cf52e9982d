"""Servers that say whom they see: `who_are_you.py ADDRESS..`, on TCP port 7000, and UDP port 7001, which also says what it was sent.

`who_are_you.py ask ADDRESS PORT [udp]` asks one and prints the answer, or the name of the error.
"""

from __future__ import annotations

import errno
import socket
import sys
import threading


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def serve_tcp(listener: socket.socket) -> None:
    while True:
        client, peer = listener.accept()
        client.sendall(peer[0].encode())
        client.close()


def serve_udp(sock: socket.socket) -> None:
    while True:
        data, peer = sock.recvfrom(65_535)
        sock.sendto(f"{peer[0]} {len(data)}".encode(), peer)


def ask(address: str, port: int, kind: str) -> str:
    try:
        if kind == "udp":
            with socket.socket(_family(address), socket.SOCK_DGRAM) as sock:
                sock.settimeout(20)
                sock.connect((address, port))
                sock.send(b"x" * 3000)
                return sock.recv(1000).decode()
        with socket.create_connection((address, port), 20) as sock:
            return sock.makefile().read()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))


def main(addresses: list[str]) -> None:
    for address in addresses:
        listener = socket.create_server((address, 7000), family=_family(address))
        udp = socket.socket(_family(address), socket.SOCK_DGRAM)
        udp.bind((address, 7001))
        threading.Thread(target=serve_tcp, args=(listener,)).start()
        threading.Thread(target=serve_udp, args=(udp,)).start()
    print("listening", flush=True)


if sys.argv[1] == "ask":
    print(ask(sys.argv[2], int(sys.argv[3]), (sys.argv[4:] or ["tcp"])[0]))
else:
    main(sys.argv[1:])
