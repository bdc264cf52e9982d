"""Published ports that NAT can't carry: [::1], and from one family to the other."""

import hashlib
import sys
from pathlib import Path

import pytest

from tests.support.lab import HOST_ADDRESS, HOST_ADDRESS6, OUTSIDE_ADDRESS, OUTSIDE_ADDRESS6

ECHO = str(Path(__file__).parents[1] / "support" / "echo.py")

ASK = """
import socket, sys
host, port, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
s = socket.create_connection((host, port), timeout=20)
s.sendall(bytes(range(256)) * (size // 256)); s.shutdown(socket.SHUT_WR)
got = b""
while data := s.recv(65536): got += data
print(got[:200].decode().strip("\\0"), len(got))
"""
ASK_UDP = """
import socket, sys
host, port = sys.argv[1], int(sys.argv[2])
s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(20)
s.connect((host, port))
for n in range(3):
    s.send(b"hello %d" % n); print(s.recv(1000).decode())
"""


@pytest.fixture(scope="module")
def lab(lab):
    lab.berth("network", "create", "--subnet", "10.70.0.0/24", "four")
    lab.berth("network", "create", "--ipv6", "--ipv4=false", "--subnet", "fd70::/64", "six")
    lab.berth("network", "create", "--ipv6", "--subnet", "10.71.0.0/24", "--subnet", "fd71::/64", "both")
    lab.run("ip", "-6", "addr", "add", "fd09::22/64", "dev", "up0", "nodad")
    return lab


@pytest.fixture
def server(lab):
    made = []

    def start(name, network, *options, kind="tcp", port=80, only=""):
        only_one = [only] if only else []
        lab.berth("run", "-d", "--name", name, "--network", network, *options, "--", sys.executable, ECHO, kind, str(port), *only_one)
        lab.wait_for(lambda: f":{port} " in lab.in_sandbox(name, "ss", "-Hln" + kind[0]))
        made.append(name)

    yield start
    for name in made:
        lab.berth("rm", name, check=False)


def ask(lab, host, port=8080, size=0, where="host", *, check=True):
    return lab.run(sys.executable, "-c", ASK, host, str(port), str(size), where=where, check=check).stdout


def ask_udp(lab, host, port=8080, where="host"):
    return lab.run(sys.executable, "-c", ASK_UDP, host, str(port), where=where).stdout.split()


def test_sandbox_without_ipv6_is_reached_by_ipv6(lab, server):
    server("web", "four", "-p", "8080:80")
    for host, where in (("::1", "host"), (HOST_ADDRESS6, "host"), (HOST_ADDRESS6, "outside"), ("fd09::22", "outside")):
        assert ask(lab, host, where=where).startswith("you are ::ffff:10.70.0.1"), host
    # NAT carries the rest, and keeps the client's address.
    assert ask(lab, HOST_ADDRESS, where="outside").startswith(f"you are ::ffff:{OUTSIDE_ADDRESS}")
    assert ask(lab, "127.0.0.1").startswith("you are")
    assert ask(lab, "localhost").startswith("you are")


def test_sandbox_without_ipv4_is_reached_by_ipv4(lab, server):
    server("web", "six", "-p", "8080:80")
    for host, where in (("127.0.0.1", "host"), (HOST_ADDRESS, "outside"), ("::1", "host")):
        assert ask(lab, host, where=where).startswith("you are fd70::1"), host
    assert ask(lab, HOST_ADDRESS6, where="outside").startswith(f"you are {OUTSIDE_ADDRESS6}")


def test_with_both_families_every_client_but_loopback_is_kept(lab, server):
    server("web", "both", "-p", "8080:80")
    assert ask(lab, HOST_ADDRESS6, where="outside").startswith(f"you are {OUTSIDE_ADDRESS6}")
    assert ask(lab, HOST_ADDRESS, where="outside").startswith(f"you are ::ffff:{OUTSIDE_ADDRESS}")
    assert ask(lab, "::1").startswith("you are fd71::1")


@pytest.mark.parametrize("only", ["4", "6"])
def test_server_that_listens_on_one_family_only(lab, server, only):
    server("web", "both", "-p", "8080:80", only=only)
    server("echo", "both", "-p", "8081:81/udp", kind="udp", port=81, only=only)
    assert ask(lab, "::1").startswith("you are")
    # The first datagrams are not lost: they are sent again to the family that takes them.
    assert ask_udp(lab, "::1", 8081)[1::3] == ["hello"] * 3
    # NAT carries what comes to the addresses of one family to the same family of the sandbox, whose refusal it is.
    refused = lab.run(sys.executable, "-c", ASK, "127.0.0.1", "8080", "0", check=False)
    assert ("you are" in refused.stdout) if only == "4" else ("ConnectionRefusedError" in refused.stderr)


def test_loopback_only(lab, server):
    server("web", "both", "-p", "[::1]:8080:80", "-p", "127.0.0.1:8080:80")
    assert ask(lab, "::1").startswith("you are")
    assert ask(lab, "127.0.0.1").startswith("you are")
    assert [mapping["host_address"] for mapping in lab.inspect("web")["endpoints"][0]["ports"]] == ["::1", "127.0.0.1"]
    for host in (HOST_ADDRESS, HOST_ADDRESS6):
        assert ask(lab, host, where="outside", check=False) == ""


@pytest.mark.parametrize("size", [256, 5_000_000])
def test_what_is_sent_arrives_whole_and_each_way_ends_by_itself(lab, server, size):
    server("web", "four", "-p", "8080:80")
    answer = ask(lab, "::1", size=size)
    sent = bytes(range(256)) * (size // 256)
    assert f"{len(sent)} {hashlib.sha256(sent).hexdigest()}" in answer
    # The server's own million octets came behind that.
    assert int(answer.split()[-1]) > 1_000_000


def test_nobody_listening_is_a_reset_not_a_wait(lab):
    lab.berth("run", "-d", "--name", "deaf", "--network", "four", "-p", "8080:80", "--", "sleep", "100")
    done = lab.run(sys.executable, "-c", ASK, "::1", "8080", "0", check=False)
    assert "ConnectionResetError" in done.stderr
    lab.berth("rm", "deaf")


@pytest.mark.parametrize(
    ("network", "host", "where"),
    [("four", "::1", "host"), ("four", "fd09::22", "outside"), ("six", HOST_ADDRESS, "outside"), ("both", "::1", "host")],
)
def test_datagrams(lab, server, network, host, where):
    server("echo", network, "-p", "8080:80/udp", kind="udp")
    # A connected socket takes answers from the address it asked only.
    assert ask_udp(lab, host, where=where)[1::3] == ["hello"] * 3


def test_port_follows_the_networks_while_it_runs(lab, server):
    server("web", "four", "-p", "8080:80")
    lab.berth("network", "connect", "six", "web")
    assert ask(lab, HOST_ADDRESS6, where="outside").startswith(f"you are {OUTSIDE_ADDRESS6}")
    assert ask(lab, "::1").startswith("you are fd70::1")
    lab.berth("network", "disconnect", "six", "web")
    assert ask(lab, HOST_ADDRESS6, where="outside").startswith("you are ::ffff:10.70.0.1")
    lab.berth("network", "connect", "six", "web")
    lab.berth("network", "disconnect", "four", "web")
    assert ask(lab, HOST_ADDRESS, where="outside").startswith("you are fd70::1")


def test_internal_networks_have_no_way_by_it(lab, server):
    lab.berth("network", "create", "--internal", "--ipv6", "inside")
    server("web", "four", "-p", "8080:80")
    own = lab.shell(
        "ip -o addr show dev $(berth network inspect inside | python3 -c 'import json,sys; print(json.load(sys.stdin)[0][\"link\"])') | awk '{print $4}'"
    )
    addresses = [interface.split("/")[0] for interface in own.split()]
    assert len(addresses) >= 2
    lab.berth("run", "-d", "--name", "internal", "--network", "inside", "--", "sleep", "100")
    for address in addresses:
        if not address.startswith("fe80"):
            done = lab.berth("exec", "internal", "timeout", "1", sys.executable, "-c", ASK, address, "8080", "0", check=False)
            assert done.stdout == "", address
    lab.berth("rm", "internal")
    lab.berth("network", "rm", "inside")


def test_ports_are_held_conflict_and_are_given_back(lab, server):
    server("web", "four", "-p", "8080:80")
    refused = lab.berth("run", "--network", "four", "-p", "[::1]:8080:80", "--", "true", check=False)
    assert "8080" in refused.stderr
    assert "allocated by web" in refused.stderr
    lab.stop_daemon()
    lab.start_daemon()
    assert ask(lab, "::1").startswith("you are")
    lab.berth("rm", "web")
    assert lab.shell("ss -Hlntu | grep ':8080 ' || true") == ""
    # A program of the host that has the port for IPv6 only is found too.
    lab.start(sys.executable, "-c", "import socket,time; s=socket.create_server(('::1', 8080), family=socket.AF_INET6); time.sleep(100)")
    lab.wait_for(lambda: ":8080 " in lab.shell("ss -Hlnt"))
    refused = lab.berth("run", "--network", "four", "-p", "8080:80", "--", "true", check=False)
    assert "in use by a program of the host" in refused.stderr
    assert lab.berth("run", "--network", "four", "-p", "0.0.0.0:8080:80", "--", "true").returncode == 0


def test_held_port_answers_nobody_until_it_is_opened(lab):
    """A client that comes between the holding of a port and its rules is neither accepted nor refused: it tries again."""
    script = """
import socket
from netcore.keeper.kept_sockets import KeptSockets
from netcore.relay.host_ports import HostPorts
from netcore.model import PortMapping
ports = HostPorts(KeptSockets("", 0))
mapping = PortMapping(family=4, protocol="tcp", host_address=None, host_port=7272, sandbox_port=1)
ports.claim([mapping])

def ask(seconds):
    try:
        socket.create_connection(("127.0.0.1", 7272), timeout=seconds)
    except OSError as error:
        return type(error).__name__
    return "connected"

told = [ask(0.3)]
ports.opened(mapping)
told.append(ask(20))
ports.release([mapping])
print(*told, ask(20))
"""
    assert lab.out(sys.executable, "-c", script) == "TimeoutError connected ConnectionRefusedError"
