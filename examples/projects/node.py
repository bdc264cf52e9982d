"""The programs of the projects beside it, each as small as can be: in place of images, which berth does not have.

node.py http PORT TEXT [URL...]   answers TEXT, then what each URL answers now
node.py store PORT                keeps lines by key: `put KEY VALUE`, `get KEY`, `push KEY VALUE`, `pop KEY`, `size KEY`
node.py call HOST:PORT WORD...    sends one line to a store and prints its answer
node.py get URL                   prints what a URL answers
node.py dns PORT NAME=ADDRESS...  answers these names, and no others
node.py work HOST:PORT            takes from the list `todo` and puts to the list `done`, for ever
"""

import socket
import socketserver
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOCK = threading.Lock()
LISTS: dict[str, list[str]] = {}


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def call(where: str, *words: str) -> str:
    host, _, port = where.rpartition(":")
    with socket.create_connection((host, int(port)), 5) as connection:
        connection.sendall(f"{' '.join(words)}\n".encode())
        return connection.makefile().readline().rstrip("\n")


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        try:
            text, status = "\n".join([sys.argv[3], *map(get, sys.argv[4:])]), 200
        except OSError as error:
            text, status = f"{type(error).__name__}: {error}", 502
        octets = f"{text}\n".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(octets)))
        self.end_headers()
        self.wfile.write(octets)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Lines(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            verb, key, *rest = [*line.decode().split(" ", 2), ""][:3]
            key, value = key.strip(), "".join(rest).strip()
            with LOCK:
                values = LISTS.setdefault(key, [])
                if verb == "put":
                    LISTS[key] = [value]
                elif verb == "push":
                    values.append(value)
                answer = {"get": values[0] if values else "", "size": str(len(values))}.get(verb.strip(), "ok")
                if verb == "pop":
                    answer = values.pop(0) if values else ""
            self.wfile.write(f"{answer}\n".encode())


class Store(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def dns(port: int, names: dict[str, str]) -> None:
    """Answer A queries (RFC 1035 section 4) for *names*; any other name does not exist."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("0.0.0.0", port))
    while True:
        query, client = server.recvfrom(512)
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += 1 + query[at]
        question = query[12 : at + 5]
        address = names.get(".".join(labels).lower())
        is_a = question[-4:-2] == b"\0\1"
        flags = b"\x85\x80" if address else b"\x85\x83"
        head = query[:2] + flags + b"\0\1" + (b"\0\1" if address and is_a else b"\0\0") + b"\0\0\0\0"
        record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(address) if address and is_a else b""
        server.sendto(head + question + record, client)


def work(where: str) -> None:
    while True:
        task = call(where, "pop", "todo")
        if task:
            call(where, "push", "done", task)
        else:
            time.sleep(0.05)


def main() -> None:
    match sys.argv[1:]:
        case ["http", port, _, *_]:
            ThreadingHTTPServer(("", int(port)), Page).serve_forever()
        case ["store", port]:
            Store(("", int(port)), Lines).serve_forever()
        case ["call", where, *words]:
            print(call(where, *words))
        case ["get", url]:
            print(get(url), end="")
        case ["dns", port, *pairs]:
            dns(int(port), dict(pair.split("=", 1) for pair in pairs))
        case ["work", where]:
            work(where)
        case _:
            sys.exit(__doc__)


main()
