"""The default gateway of each family by priority, moving while connections go on; published ports with it."""

import sys
from pathlib import Path

import pytest

from tests.support.lab import HOST_ADDRESS

ECHO = str(Path(__file__).parents[1] / "support" / "echo.py")
TALK = """
import socket, sys
s = socket.create_connection((sys.argv[1], 80), timeout=5); s.recv(100)
print("talking", flush=True)
for line in sys.stdin:
    s.sendall(b"x" * 1000); print("sent", flush=True)
s.shutdown(socket.SHUT_WR); print(s.recv(1000).split()[0].decode(), flush=True)
"""


@pytest.fixture(scope="module")
def lab(lab):
    for name, subnet in (("a", "10.90.0.0/24"), ("b", "10.91.0.0/24")):
        lab.berth("network", "create", "--ipv6", "--subnet", subnet, "--subnet", f"fd{subnet[3:5]}::/64", name)
    lab.berth("network", "create", "--ipv6", "--ipv4=false", "--subnet", "fd92::/64", "six")
    lab.berth("network", "create", "--internal", "--subnet", "10.93.0.0/24", "inside")
    return lab


@pytest.fixture
def sandbox(lab):
    def start(*options):
        lab.berth("run", "-d", "--name", "s", *options, "--", sys.executable, ECHO, "tcp", "80")

    yield start
    lab.berth("rm", "s", "peer", check=False)


def gateways(lab):
    return [
        lab.in_sandbox("s", "ip", family, "route", "show", "default").partition(" dev")[0].removeprefix("default via ")
        for family in ("-4", "-6")
    ]


def test_each_family_by_its_own_priority_also_negative(lab, sandbox):
    sandbox("--network", "a,gw-priority=-1", "--network", "b,gw-priority=-2")
    assert gateways(lab) == ["10.90.0.1", "fd90::1"]
    lab.berth("network", "connect", "six", "s")
    # IPv6 only, and priority 0: it takes over that family alone.
    assert gateways(lab) == ["10.90.0.1", "fd92::1"]
    lab.berth("network", "disconnect", "six", "s")
    lab.berth("network", "disconnect", "a", "s")
    assert gateways(lab) == ["10.91.0.1", "fd91::1"]
    lab.berth("network", "connect", "--gw-priority", "-3", "a", "s")
    assert gateways(lab) == ["10.91.0.1", "fd91::1"]
    lab.berth("network", "connect", "--gw-priority", "9", "inside", "s")
    # The first in the list, and still no gateway (GW-3).
    assert gateways(lab) == ["10.91.0.1", "fd91::1"]
    assert [item["gateway_priority"] for item in lab.inspect("s")["endpoints"]] == [-2, -3, 9]


def test_connection_over_the_network_that_stays_goes_on(lab, sandbox):
    sandbox("--network", "a", "--network", "inside")
    lab.berth("run", "-d", "--name", "peer", "--network", "a", "--", "sleep", "300")
    peer = lab.start_talking("peer", TALK, lab.inspect("s")["endpoints"][0]["addresses"][0].partition("/")[0])
    for step in (("connect", "--gw-priority", "5"), ("disconnect",)) * 4:
        lab.berth("network", *step, "b", "s")
        peer.stdin.write("go\n")
        peer.stdin.flush()
        assert peer.stdout.readline() == "sent\n"
    peer.stdin.close()
    # Every octet arrived, and the connection ended in order.
    assert peer.stdout.readline() == "8000\n"


def test_published_ports_follow_the_gateway(lab, sandbox):
    sandbox("--network", "a", "-p", "8099:80")
    lab.wait_for(
        lambda: (
            "you are" in lab.run("curl", "-s", "-m", "1", f"telnet://{HOST_ADDRESS}:8099", where="outside", stdin="", check=False).stdout
        )
    )
    for step, network in ((("connect", "--gw-priority", "5", "b", "s"), "b"), (("disconnect", "b", "s"), "a")):
        lab.berth("network", *step)
        ports = {item["network"]: item["ports"] for item in lab.inspect("s")["endpoints"]}
        assert [name for name, found in ports.items() if found] == [network]
        assert "you are" in lab.run("curl", "-s", "-m", "1", f"telnet://{HOST_ADDRESS}:8099", where="outside", stdin="", check=False).stdout
