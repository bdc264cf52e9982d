"""Published ports of an ordinary user: whom a server of both families sees, and what goes on while networks come and go."""

import sys
from pathlib import Path

import pytest

from tests.support.lab import HOST_ADDRESS, HOST_ADDRESS6, OUTSIDE_ADDRESS, OUTSIDE_ADDRESS6
from tests.support.user_lab import UserLab, why_no_user

WHY_NOT = why_no_user()
if WHY_NOT:
    pytest.skip(WHY_NOT, allow_module_level=True)

ASK = (sys.executable, str(Path(__file__).parents[1] / "support" / "who_are_you.py"), "ask")

_SERVER = """
import socket, socketserver, threading
class Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
class Once(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(self.client_address[0].removeprefix("::ffff:").encode())
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)
threading.Thread(target=Server(("::", 7000), Once).serve_forever).start()
Server(("::", 7001), Echo).serve_forever()
"""

_CLIENT = """
import pathlib, socket, sys, time
with socket.create_connection((sys.argv[1], 8081), 20) as sock:
    for line in ("before\\n", "after\\n"):
        sock.sendall(line.encode())
        print(sock.recv(100).decode(), end="", flush=True)
        while not pathlib.Path(sys.argv[2]).exists():
            time.sleep(0.01)
"""


@pytest.fixture(scope="module")
def lab():
    with UserLab() as made:
        made.berth("network", "create", "front")
        made.berth("network", "create", "--ipv6", "back")
        yield made


def sees(lab, address):
    """Whom the server sees when a client outside comes to *address* of the host."""
    return lab.out(*ASK, address, "8080", where="outside")


def test_a_connection_goes_on_when_a_network_brings_another_family_whose_clients_are_seen_then(lab, tmp_path):
    ports = ("-p", "8080:7000", "-p", "8081:7001")
    lab.berth("run", "-d", "--name", "web", "--network", "front,gw-priority=1", *ports, "--", sys.executable, "-c", _SERVER)
    lab.wait_for(lambda: sees(lab, HOST_ADDRESS) == OUTSIDE_ADDRESS)
    client = lab.start(sys.executable, "-c", _CLIENT, HOST_ADDRESS, str(tmp_path / "connected"), where="outside")
    assert client.stdout.readline() == "before\n"
    lab.berth("network", "connect", "back", "web")
    lab.wait_for(lambda: sees(lab, HOST_ADDRESS6) == OUTSIDE_ADDRESS6)
    assert sees(lab, HOST_ADDRESS) == OUTSIDE_ADDRESS
    (tmp_path / "connected").touch()
    assert client.communicate(timeout=60)[0] == "after\n"
