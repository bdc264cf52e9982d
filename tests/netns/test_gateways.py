"""The default gateway of each family by priority, moving while connections go on; published ports with it."""

import sys
from pathlib import Path

import pytest

from netcore import limits
from tests.support.lab import HOST_ADDRESS, HOST_ADDRESS6

ECHO = str(Path(__file__).parents[1] / "support" / "echo.py")
TALK = """
import socket, sys
s = socket.create_connection((sys.argv[1], 80), timeout=20); s.recv(100)
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
    routed = ("-o", "gateway_mode_ipv4=routed", "-o", "gateway_mode_ipv6=routed")
    lab.berth("network", "create", "--ipv6", "--subnet", "10.94.0.0/24", "--subnet", "fd94::/64", *routed, "routed")
    lab.berth("network", "create", "--internal", "--subnet", "10.93.0.0/24", "inside")
    return lab


@pytest.fixture
def sandbox(lab):
    def start(*options):
        lab.berth("run", "-d", "--name", "s", *options, "--", sys.executable, ECHO, "tcp", "80")
        lab.wait_for(lambda: lab.listens("s", 80))

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


@pytest.mark.slow
def test_published_ports_follow_the_gateway(lab, sandbox):
    sandbox("--network", "a", "-p", "8099:80")
    lab.wait_for(lambda: answers(lab, f"{HOST_ADDRESS}:8099"))
    for step, network in ((("connect", "--gw-priority", "5", "b", "s"), "b"), (("disconnect", "b", "s"), "a")):
        lab.berth("network", *step)
        ports = {item["network"]: item["ports"] for item in lab.inspect("s")["endpoints"]}
        assert [name for name, found in ports.items() if found] == [network]
        lab.wait_for(lambda: answers(lab, f"{HOST_ADDRESS}:8099"))


@pytest.mark.slow
def test_published_ports_follow_the_addresses_that_the_gateway_network_binds(lab, sandbox):
    lab.berth("network", "create", "--ipv6", "-o", "host_binding=127.0.0.1", "loopback")
    lab.berth("network", "create", "--ipv6", "-o", f"host_binding={HOST_ADDRESS}", "address")
    sandbox("--network", "loopback", "-p", "8098:80")

    everywhere = {("0.0.0.0", 8098), ("::", 8098)}
    steps = [
        (("connect", "--gw-priority", "1", "a", "s"), everywhere, True),
        (("connect", "--gw-priority", "2", "address", "s"), {(HOST_ADDRESS, 8098)}, True),
        (("connect", "--gw-priority", "3", "b", "s"), everywhere, True),
        (("disconnect", "b", "s"), {(HOST_ADDRESS, 8098)}, True),
        (("disconnect", "address", "s"), everywhere, True),
        (("disconnect", "a", "s"), {("127.0.0.1", 8098)}, False),
    ]
    lab.wait_for(lambda: answers(lab, "127.0.0.1:8098", where="host"))
    for step, bound, outside in steps:
        assert "warning" not in lab.berth("network", *step).stderr
        assert {(address, port) for _, address, port, _ in published(lab)} == bound
        for address, is_there in ((HOST_ADDRESS, outside), (f"[{HOST_ADDRESS6}]", bound == everywhere)):
            if is_there:
                lab.wait_for(lambda at=address: answers(lab, f"{at}:8098"))
            else:
                assert not answers(lab, f"{address}:8098")
        # No program of the host gets the port where it is published, and one does where it is not.
        bind = "import socket, sys; socket.socket().bind((sys.argv[1], 8098))"
        free = [item for item in ("127.0.0.1", HOST_ADDRESS) if not lab.run(sys.executable, "-c", bind, item, check=False).returncode]
        assert free == [item for item in ("127.0.0.1", HOST_ADDRESS) if bound != everywhere and (item, 8098) not in bound]
    lab.berth("rm", "s")
    lab.berth("network", "rm", "loopback", "address")


def published(lab):
    return {
        (item["network"], port["host_address"], port["host_port"], port["sandbox_port"])
        for item in lab.inspect("s")["endpoints"]
        for port in item["ports"]
    }


def answers(lab, address, where="outside"):
    return "you are" in lab.run("curl", "-s", "-m", "1", f"telnet://{address}", where=where, stdin="", check=False).stdout


@pytest.mark.slow
def test_ports_when_the_gateway_moves_to_a_routed_network_and_back(lab, sandbox):
    lab.run("ip", "route", "replace", "10.94.0.0/24", "via", HOST_ADDRESS, where="outside")
    lab.run("ip", "-6", "route", "replace", "fd94::/64", "via", HOST_ADDRESS6, where="outside")
    sandbox("--network", "a", "-p", "8098:80")
    nat = {("a", "0.0.0.0", 8098, 80), ("a", "::", 8098, 80)}
    assert published(lab) == nat
    by_host = (f"{HOST_ADDRESS}:8098", f"[{HOST_ADDRESS6}]:8098")
    for _ in range(2):
        for address in by_host:
            lab.wait_for(lambda address=address: answers(lab, address))
        said = lab.berth("network", "connect", "--gw-priority", "5", "routed", "s").stderr
        assert "publish 8098:80: the host part is not used for IPv4" in said
        assert published(lab) == {("routed", "0.0.0.0", 0, 80), ("routed", "::", 0, 80)}
        own = [address.partition("/")[0] for address in lab.inspect("s")["endpoints"][-1]["addresses"]]
        for address in (f"{own[0]}:80", f"[{own[1]}]:80"):
            lab.wait_for(lambda address=address: answers(lab, address))
        assert not any(answers(lab, address) for address in by_host)
        # Nobody holds it meanwhile.
        assert ":8098 " not in lab.shell("ss -Hlnt")
        lab.berth("network", "disconnect", "routed", "s")
        assert published(lab) == nat


@pytest.mark.slow
def test_sandbox_without_a_network_gives_its_ports_free_and_takes_them_back(lab, sandbox):
    sandbox("--network", "a", "-p", "8097:80", "-p", "127.0.0.1:8096:80")
    said = lab.berth("network", "disconnect", "a", "s").stderr
    assert "its published ports are free for others" in said
    assert ":8097 " not in lab.shell("ss -Hlnt")
    lab.berth("run", "-d", "--name", "thief", "--network", "b", "-p", "8097:80", "--", "sleep", "300")
    refused = lab.berth("network", "connect", "a", "s", check=False)
    assert refused.returncode == 1
    assert "8097/tcp" in refused.stderr
    assert "allocated by thief" in refused.stderr
    assert lab.inspect("s")["endpoints"] == []
    lab.berth("rm", "thief")
    lab.berth("network", "connect", "a", "s")
    assert published(lab) == {("a", "0.0.0.0", 8097, 80), ("a", "::", 8097, 80), ("a", "127.0.0.1", 8096, 80)}
    for address in (f"{HOST_ADDRESS}:8097", f"[{HOST_ADDRESS6}]:8097"):
        lab.wait_for(lambda address=address: answers(lab, address))
    lab.wait_for(lambda: answers(lab, "127.0.0.1:8096", where="host"))


def test_port_that_is_taken_when_a_translated_network_becomes_the_gateway_again(lab, sandbox):
    sandbox("--network", "a", "-p", "8095:80", "-p", "8094:80")
    lab.berth("network", "connect", "--gw-priority", "5", "routed", "s")
    lab.berth("run", "-d", "--name", "thief", "--network", "b", "-p", "8095:80", "--", "sleep", "300")
    # The sandbox leaves all the same, and does without the port.
    said = lab.berth("network", "disconnect", "routed", "s").stderr
    assert "8095/tcp: port is already allocated by thief" in said
    assert {port for _, _, port, _ in published(lab)} == {8094}
    lab.berth("rm", "thief")
    lab.berth("network", "connect", "inside", "s")
    assert {port for _, _, port, _ in published(lab)} == {8094, 8095}


@pytest.mark.slow
@pytest.mark.parametrize(("address", "length"), [("198.51.100.7", 32), ("2001:db8:7::7", 128)])
def test_port_on_an_address_that_the_host_does_not_have_yet(lab, sandbox, address, length):
    bracketed = f"[{address}]" if ":" in address else address
    lab.run("ip", "route", "replace", f"{address}/{length}", "via", HOST_ADDRESS6 if ":" in address else HOST_ADDRESS, where="outside")
    warning = f"s publishes ports on {address}, which is no address of this host"
    said = lab.berth("run", "-d", "--name", "s", "--network", "a", "-p", f"{bracketed}:8093:80", "--", sys.executable, ECHO, "tcp", "80")
    assert warning in said.stderr
    assert warning in lab.berth("status").stdout
    assert not answers(lab, f"{bracketed}:8093")
    lab.run("ip", "addr", "add", f"{address}/{length}", "dev", "up0", *(("nodad",) if ":" in address else ()))
    lab.wait_for(lambda: warning not in lab.berth("status").stdout)
    lab.wait_for(lambda: answers(lab, f"{bracketed}:8093"))
    lab.run("ip", "addr", "del", f"{address}/{length}", "dev", "up0")
    lab.wait_for(lambda: warning in lab.berth("status").stdout)


def test_ipv4_mapped_host_address_is_the_ipv4_address(lab, sandbox):
    lab.berth("network", "create", "-o", "host_binding=::ffff:127.0.0.1", "--subnet", "10.95.0.0/24", "bound")
    for network, option, host_port in (("a", "[::ffff:127.0.0.1]:8092:80", 8092), ("bound", "8092:80", 8092)):
        sandbox("--network", network, "-p", option)
        assert published(lab) == {(network, "127.0.0.1", host_port, 80)}
        lab.wait_for(lambda: answers(lab, "127.0.0.1:8092", where="host"))
        lab.berth("rm", "s")
    lab.berth("network", "rm", "bound")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_gateway_network_is_left_while_the_link_of_the_other_is_down(lab, sandbox):
    sandbox("--network", "a", "--network", "b,gw-priority=5")
    for restart in (False, True):
        assert gateways(lab) == ["10.91.0.1", "fd91::1"]
        if not restart:
            # A link that is down is repaired once; from then on it is left.
            lab.berth("exec", "--privileged", "s", "ip", "link", "set", "eth0", "down")
            lab.wait_for(lambda: ",UP" in lab.in_sandbox("s", "ip", "link", "show", "eth0"))
        lab.berth("exec", "--privileged", "s", "ip", "link", "set", "eth0", "down")
        lab.wait_for(lambda: lab.is_left_alone("link eth0 up"))
        said = lab.berth("network", "disconnect", "b", "s").stderr
        assert "set once its link is up: route 0.0.0.0/0 via 10.90.0.1 dev eth0" in said
        assert "set once its link is up: route ::/0 via fd90::1 dev eth0" in said
        assert gateways(lab) == ["", ""]
        assert lab.inspect("s")["networks"] == ["a"]
        if restart:
            lab.stop_daemon()
            lab.start_daemon()
        lab.berth("exec", "--privileged", "s", "ip", "link", "set", "eth0", "up")
        lab.wait_for(lambda: gateways(lab) == ["10.90.0.1", "fd90::1"])
        # What only comes back contradicts nothing: it may be a round that finds it, and a new daemon's first begins after one's time.
        lab.wait_for(lambda: not lab.is_left_alone("link eth0 up"), 3 * limits.DRIFT_INTERVAL)
        for address in ("10.90.0.1", "fd90::1"):
            assert " 0% packet loss" in lab.in_sandbox("s", "ping", "-c", "1", "-W", "3", address)
        lab.berth("network", "connect", "--gw-priority", "5", "b", "s")
