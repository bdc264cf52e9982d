"""A server that says what it was sent. As a program: `looked_at_server.py CERTIFICATE KEY LOG ADDRESS..` serves on ports 80, 443, 8080 and 8443.

TLS and HTTP are told apart by the first octet. Each connection that ends is a line of JSON in LOG: port, peer, octets received, the
server name of TLS, the first octets as hexadecimal digits. An answer says the server name or the Host; `GET /N` is answered with N octets,
the rest of a connection is answered with "N octets" once the client has ended it.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import sys
import threading
from typing import Any

PORTS = (80, 443, 8080, 8443)
_PATH = re.compile(rb"GET /(\d+) ")
_HOST = re.compile(rb"\r?\nhost:\s*(\S+)", re.IGNORECASE)


class Connection:
    """One accepted connection."""

    def __init__(self, sock: socket.socket, port: int, context: ssl.SSLContext) -> None:
        self.sock = sock
        self.port = port
        self.context = context
        self.received = bytearray()
        self.count = 0
        self.name: str | None = None
        self.tls: ssl.SSLObject | None = None
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()

    def receive(self) -> bytes:
        octets = self.sock.recv(1 << 16)
        self.count += len(octets)
        self.received += octets[: 4096 - len(self.received)]
        return octets

    def read(self) -> bytes:
        """Return some octets of the client, without TLS; none at its end."""
        if self.tls is None:
            octets = self.receive()
            if octets[:1] != b"\x16" or self.count > len(octets):
                return octets
            self.tls = self.context.wrap_bio(self.incoming, self.outgoing, server_side=True)
            self.incoming.write(octets)
            self._step(self.tls.do_handshake)
            self.name = getattr(self.tls, "asked_for", None)
        return self._step(lambda: self.tls.read(1 << 16) if self.tls else b"") or b""

    def write(self, octets: bytes) -> None:
        if self.tls is None:
            self.sock.sendall(octets)
            return
        for at in range(0, len(octets), 1 << 16):
            part = octets[at : at + (1 << 16)]
            self._step(lambda part=part: self.tls.write(part) if self.tls else 0)

    def _step(self, call: Any) -> Any:
        while True:
            try:
                made = call()
            except ssl.SSLWantReadError:
                self._flush()
                octets = self.receive()
                if not octets:
                    return b""
                self.incoming.write(octets)
                continue
            except ssl.SSLError:
                self._flush()
                return b""
            self._flush()
            return made

    def _flush(self) -> None:
        if self.outgoing.pending:
            self.sock.sendall(self.outgoing.read())

    def serve(self) -> None:
        request = b""
        while octets := self.read():
            request += octets
            if b"\r\n\r\n" not in request and b"\n\n" not in request:
                continue
            path, host = _PATH.match(request), _HOST.search(request)
            said = f"{self.name or '-'} {host[1].decode() if host else '-'}\n".encode()
            body = b"x" * int(path[1]) if path else said
            self.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            request = b""
        if request:
            self.write(b"%d octets\n" % self.count)


def accept(listener: socket.socket, port: int, context: ssl.SSLContext, log: Any) -> None:
    while True:
        sock, peer = listener.accept()

        def run(sock: socket.socket = sock, peer: Any = peer) -> None:
            connection = Connection(sock, port, context)
            with contextlib.suppress(OSError):
                connection.serve()
            sock.close()
            line = {"port": port, "peer": peer[0], "source": peer[1], "octets": connection.count, "name": connection.name}
            log.write(json.dumps({**line, "start": connection.received.hex()}) + "\n")

        threading.Thread(target=run, daemon=True).start()


def main(certificate: str, key: str, log_path: str, *addresses: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.sni_callback = lambda tls, name, _: setattr(tls, "asked_for", name)
    with open(log_path, "a", buffering=1) as log:  # noqa: PTH123
        for address in addresses:
            for port in PORTS:
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                listener = socket.create_server((address, port), family=family, backlog=512)
                threading.Thread(target=accept, args=(listener, port, context, log), daemon=True).start()
        print("listening", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
