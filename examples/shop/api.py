"""The API: JSON over HTTP, with the stock from the database, which it finds by name."""

import json
import os
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOST, PORT = os.environ["DATABASE"].split(":")


def ask(*commands):
    with socket.create_connection((HOST, int(PORT)), timeout=3) as connection, connection.makefile("rw") as stream:
        answers = []
        for command in commands:
            stream.write(command + "\n")
            stream.flush()
            answers.append(stream.readline().strip())
        return answers


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        names = ask("KEYS")[0].split()
        stock = dict(zip(names, map(int, ask(*(f"GET {name}" for name in names)))))
        body = json.dumps({"stock": stock, "database": socket.gethostbyname(HOST)}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, text, *arguments):
        print(f"{self.client_address[0]} {text % arguments}", flush=True)


print(f"api listens on port 8000, database is {HOST}", flush=True)
ThreadingHTTPServer(("", 8000), Handler).serve_forever()
