"""Servers for a sandbox: `echo.py tcp PORT [4|6]` or `echo.py udp PORT [4|6]`, on both families or on one only.

tcp says to a client who it is and, once the client has sent everything, how much that was and its digest. udp echoes.
"""

import hashlib
import socket
import sys
import threading


def serve_tcp(connection: socket.socket, peer: tuple[str, int]) -> None:
    digest, size = hashlib.sha256(), 0
    connection.sendall(f"you are {peer[0]}\n".encode())
    while data := connection.recv(65_536):
        digest.update(data)
        size += len(data)
    connection.sendall(f"{size} {digest.hexdigest()}\n".encode() + bytes(1_000_000) * (size > 0))
    connection.close()


def bound(kind: socket.SocketKind, port: int, only: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET if only == "4" else socket.AF_INET6, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if only != "4":
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only == "6")
    sock.bind(("0.0.0.0" if only == "4" else "::", port))
    return sock


def tcp(port: int, only: str = "") -> None:
    listener = bound(socket.SOCK_STREAM, port, only)
    listener.listen()
    while True:
        threading.Thread(target=serve_tcp, args=listener.accept(), daemon=True).start()


def udp(port: int, only: str = "") -> None:
    sock = bound(socket.SOCK_DGRAM, port, only)
    while True:
        data, peer = sock.recvfrom(65_535)
        sock.sendto(f"{peer[0]} ".encode() + data, peer)


{"tcp": tcp, "udp": udp}[sys.argv[1]](int(sys.argv[2]), *sys.argv[3:])
