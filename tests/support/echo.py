"""Servers for a sandbox, by argument: `tcp PORT` answers who asked and, at the end of what it got, its digest; `udp PORT` echoes."""

import hashlib
import socket
import sys
import threading


def serve_tcp(connection, peer):
    digest, size = hashlib.sha256(), 0
    connection.sendall(f"you are {peer[0]}\n".encode())
    while data := connection.recv(65_536):
        digest.update(data)
        size += len(data)
    connection.sendall(f"{size} {digest.hexdigest()}\n".encode() + bytes(1_000_000) * (size > 0))
    connection.close()


def tcp(port):
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    while True:
        threading.Thread(target=serve_tcp, args=listener.accept(), daemon=True).start()


def udp(port):
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", port))
    while True:
        data, peer = sock.recvfrom(65_535)
        sock.sendto(f"{peer[0]} ".encode() + data, peer)


{"tcp": tcp, "udp": udp}[sys.argv[1]](int(sys.argv[2]))
