"""A stand-in for a database: a TCP server with one line in, one line out (GET key, SET key value, KEYS)."""

import socketserver
import threading

DATA = {"apple": "12", "pear": "7", "plum": "30"}
LOCK = threading.Lock()


class Session(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(answer(line.decode().split()).encode() + b"\n")


def answer(words):
    with LOCK:
        match words:
            case ["GET", key]:
                return DATA.get(key, "")
            case ["SET", key, value]:
                DATA[key] = value
                return "OK"
            case ["KEYS"]:
                return " ".join(sorted(DATA))
    return "ERROR"


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


print("database listens on port 5432", flush=True)
Server(("", 5432), Session).serve_forever()
