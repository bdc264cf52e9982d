"""An admin socket with prepared responses, for tests of the command line without a daemon."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from pathlib import Path


class FakeDaemon:
    """Answers requests by `responses`: "METHOD /path" → body, or (status, body). `requests` has (method, path, body) of each."""

    def __init__(self, directory: Path) -> None:
        self.responses: dict[str, object] = {}
        self.requests: list[tuple[str, str, object]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(directory / "berth.sock"))
        self._socket.listen(16)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def __enter__(self) -> FakeDaemon:
        return self

    def __exit__(self, *_: object) -> None:
        # Wakes the thread out of its accept.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            # A client may have gone before it has asked, or before it is answered.
            with connection, contextlib.suppress(ConnectionError, ValueError):
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            method, path, _ = stream.readline().decode().split()
            length = 0
            while (line := stream.readline().strip()) != b"":
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            body = json.loads(stream.read(length)) if length else None
        self.requests.append((method, path, body))
        prepared = self.responses.get(f"{method} {path}")
        if prepared is None:
            prepared = (404, {"error": {"kind": "not-found", "object": path, "message": f"{path}: not found"}})
        if isinstance(prepared, bytes):
            connection.sendall(prepared)
            return
        status, content = prepared if isinstance(prepared, tuple) else (200, prepared)
        octets = json.dumps(content).encode()
        connection.sendall(f"HTTP/1.1 {status} x\r\nContent-Length: {len(octets)}\r\n\r\n".encode() + octets)
