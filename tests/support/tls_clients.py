"""TLS and plain clients for a sandbox, on the kernel's own TCP. As a program: `tls_clients.py CLIENT ADDRESS PORT NAME CA [NUMBER]`.

It prints what the server said, or the error.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
from collections import Counter
from contextlib import suppress


def _context(ca: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca)


def _say(connection: socket.socket | ssl.SSLSocket, name: str) -> str:
    connection.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
    return connection.recv(1 << 16).decode().rpartition("\r\n\r\n")[2].strip()


def plain(sock: socket.socket, name: str, ca: str, number: int) -> str:
    with _context(ca).wrap_socket(sock, server_hostname=name) as connection:
        return _say(connection, name)


def large(sock: socket.socket, name: str, ca: str, number: int) -> str:
    """A ClientHello of about *number* octets."""
    context = _context(ca)
    context.set_alpn_protocols([f"protocol-{item:03}" + "x" * 87 for item in range(number // 100)])
    with context.wrap_socket(sock, server_hostname=name) as connection:
        return _say(connection, name)


def single_octets(sock: socket.socket, name: str, ca: str, number: int) -> str:
    """Each octet of the ClientHello is written by itself, in records of *number* octets."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = _context(ca).wrap_bio(incoming, outgoing, server_hostname=name)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    first = True
    while True:
        try:
            connection.do_handshake()
        except ssl.SSLWantReadError:
            octets = outgoing.read()
            if first:
                message, first = octets[5:], False
                parts = [message[at : at + number] for at in range(0, len(message), number)]
                octets = b"".join(b"\x16\3\1" + len(part).to_bytes(2, "big") + part for part in parts)
                for at in range(len(octets)):
                    sock.send(octets[at : at + 1])
            elif octets:
                sock.sendall(octets)
            incoming.write(sock.recv(1 << 16))
        else:
            return f"{name} {connection.version()}"


def line_by_line(sock: socket.socket, name: str, ca: str, number: int) -> str:
    """A request in several writes: the kernel keeps the later ones back until the first is acknowledged (Nagle's algorithm)."""
    for line in ("GET / HTTP/1.1", f"Host: {name}", "Accept: */*", ""):
        sock.sendall(f"{line}\r\n".encode())
    return sock.recv(1 << 16).decode().splitlines()[0]


def twice(sock: socket.socket, name: str, ca: str, number: int) -> str:
    """Say what the server says, wait for a line of input, and then ask for *number* octets on the same connection."""
    with _context(ca).wrap_socket(sock, server_hostname=name) as connection:
        print(_say(connection, name), flush=True)
        sys.stdin.readline()
        connection.sendall(f"GET /{number} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
        read = 0
        while read < number:
            octets = connection.recv(1 << 16)
            if not octets:
                break
            read += len(octets)
        return str(read >= number)


def ended(sock: socket.socket, name: str, ca: str, number: int) -> str:
    """Octets that are neither TLS nor HTTP, and the end of them at once."""
    sock.sendall(b"\0" * number)
    with suppress(OSError):
        # It may have been reset by now: then reading says so.
        sock.shutdown(socket.SHUT_WR)
    return sock.recv(100).decode().strip()


def datagram(address: str, port: int) -> str:
    """A datagram, as QUIC begins."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(20)
        sock.connect((address, port))
        sock.send(b"\xc0" + bytes(1199))
        with suppress(TimeoutError):
            sock.recv(100)
            return "answered"
    return "silence"


def many(address: str, port: int, names: list[str], ca: str, number: int) -> str:
    """Connect *number* times, eight at a time, to *names* in turn; say how often which outcome came."""
    outcomes: Counter[str] = Counter()
    work, lock = iter(range(number)), threading.Lock()

    def run() -> None:
        while True:
            with lock:
                item = next(work, None)
            if item is None:
                return
            name = names[item % len(names)]
            try:
                with socket.create_connection((address, port), 60) as sock:
                    outcome = plain(sock, name, ca, 1)
            except OSError as error:
                outcome = f"{name}: {error}"
            with lock:
                outcomes[outcome] += 1

    running = [threading.Thread(target=run) for _ in range(8)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return json.dumps(outcomes)


CLIENTS = {known.__name__: known for known in (plain, large, single_octets, line_by_line, twice, ended)}


def main(client: str, address: str, port: str, name: str, ca: str, number: str = "1") -> None:
    try:
        if client == "datagram":
            print(datagram(address, int(port)))
            return
        if client == "many":
            print(many(address, int(port), name.split(","), ca, int(number)))
            return
        with socket.create_connection((address, int(port)), 30) as sock:
            print(CLIENTS[client](sock, name, ca, int(number)))
    except OSError as error:
        print(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
