"""Servers for a sandbox: `echo.py tcp PORT` or `echo.py udp PORT`.

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


def tcp(port: int) -> None:
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    while True:
        threading.Thread(target=serve_tcp, args=listener.accept(), daemon=True).start()


def udp(port: int) -> None:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", port))
    while True:
        data, peer = sock.recvfrom(65_535)
        sock.sendto(f"{peer[0]} ".encode() + data, peer)


{"tcp": tcp, "udp": udp}[sys.argv[1]](int(sys.argv[2]))
