"""The web front end: a page made from what the API says, which it finds by name."""

import json
import os
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

API = os.environ["API"]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            with urllib.request.urlopen(API, timeout=5) as response:
                content = json.load(response)
        except (OSError, urllib.error.URLError) as error:
            self.reply(502, f"the API does not answer: {error}\n")
            return
        lines = [f"{name}: {count}" for name, count in content["stock"].items()]
        self.reply(200, "Berth shop\n" + "\n".join(lines) + f"\n(database at {content['database']})\n")

    def reply(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, text, *arguments):
        print(f"{self.client_address[0]} {text % arguments}", flush=True)


print(f"web listens on port 80, API is {API}", flush=True)
ThreadingHTTPServer(("", 80), Handler).serve_forever()
