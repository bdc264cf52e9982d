"""A sandbox that forwards between its networks, and static routes: a small lab of routers, by hand and as a file."""

import json

import pytest

from tests.support.lab import Lab

COMPOSE = """
networks:
  left:
    ipam: {config: [{subnet: 10.71.0.0/24}]}
    internal: true
    x-routes: {10.72.0.0/24: 10.71.0.9, 10.73.0.0/24: 10.71.0.9}
  middle:
    enable_ipv6: true
    ipam: {config: [{subnet: 10.72.0.0/24}, {subnet: "fd72::/64"}]}
    internal: true
    x-routes: ["10.71.0.0/24=10.72.0.9"]
  right:
    ipam: {config: [{subnet: 10.73.0.0/24}]}
    internal: true
services:
  one: {command: sleep 1000, networks: {left: {ipv4_address: 10.71.0.50}}}
  first:
    command: sleep 1000
    x-forward: true
    networks:
      left: {ipv4_address: 10.71.0.9}
      middle: {ipv4_address: 10.72.0.9, x-routes: {10.73.0.0/24: 10.72.0.10}}
  second:
    command: sleep 1000
    x-forward: true
    networks:
      middle: {ipv4_address: 10.72.0.10}
      right: {ipv4_address: 10.73.0.9}
  two:
    command: python3 -m http.server 80
    networks: {right: {ipv4_address: 10.73.0.50, x-routes: {10.71.0.0/24: 10.73.0.9, 10.72.0.0/24: 10.73.0.9}}}
"""


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        made.start_daemon()
        yield made


@pytest.fixture(scope="module", params=["0", pytest.param("1", marks=pytest.mark.slow)], ids=["bridge-nf-call 0", "bridge-nf-call 1"])
def net(lab, request):
    """The lab of the file, up, with frames on bridges seen by the routing firewall or not."""
    switch = lab.run("sysctl", "-qw", f"net.bridge.bridge-nf-call-iptables={request.param}", check=False)
    if switch.returncode and request.param == "1":
        pytest.skip("br_netfilter is not there")
    lab.run("mkdir", "-p", "/run/routers")
    lab.write("/run/routers/compose.yaml", COMPOSE)
    lab.berth("up", "-d", "-f", "/run/routers/compose.yaml")
    yield lab
    lab.berth("down", "-f", "/run/routers/compose.yaml")


def test_packets_go_over_both_routers_with_their_senders_address(net):
    said = net.in_sandbox("one", "ping", "-c1", "-W2", "10.73.0.50")
    assert "ttl=62" in said
    net.wait_for(lambda: net.listens("two", 80))
    assert "Directory" in net.in_sandbox("one", "curl", "-s", "-m", "15", "http://10.73.0.50/")
    assert "ttl=62" in net.in_sandbox("two", "ping", "-c1", "-W2", "10.71.0.50")
    assert "10.73.0.0/24 via 10.71.0.9" in net.in_sandbox("one", "ip", "route")


def test_routers_have_no_route_over_themselves(net):
    routes = net.in_sandbox("first", "ip", "route")
    assert "via 10.71.0.9" not in routes
    assert "10.73.0.0/24 via 10.72.0.10" in routes


def test_who_is_no_router_forwards_nothing_and_keeps_its_address(net):
    assert net.in_sandbox("one", "cat", "/proc/sys/net/ipv4/ip_forward") == "0"
    # A packet with somebody else's address does not leave the bridge port of a sandbox that is no router.
    spoof = (
        "import socket,struct;s=socket.socket(socket.AF_INET,socket.SOCK_RAW,socket.IPPROTO_RAW);"
        "h=struct.pack('!BBHHHBBH4s4s',0x45,0,28,1,0,64,1,0,socket.inet_aton('10.71.0.77'),socket.inet_aton('10.71.0.9'));"
        "s.sendto(h+bytes([8,0,0xf7,0xff,0,0,0,0]),('10.71.0.9',0))"
    )
    before = counted(net)
    net.in_sandbox("one", "python3", "-c", spoof)
    assert counted(net) == before
    net.in_sandbox("one", "python3", "-c", spoof.replace("10.71.0.77", "10.71.0.50"))
    net.wait_for(lambda: counted(net) > before)


def counted(lab: Lab) -> int:
    """Return how many echo requests the first router has received."""
    text = lab.in_sandbox("first", "cat", "/proc/net/snmp")
    names, values = [line.split() for line in text.splitlines() if line.startswith("Icmp:")]
    return int(values[names.index("InEchos")])


@pytest.mark.slow
def test_by_hand_and_while_it_runs(lab):
    lab.berth("network", "create", "--subnet", "10.81.0.0/24", "--route", "10.82.0.0/24=10.81.0.9", "a")
    lab.berth("network", "create", "--subnet", "10.82.0.0/24", "b")
    lab.berth(
        "run", "-d", "--name", "router", "--forward", "--network", "a,ip=10.81.0.9", "--network", "b,ip=10.82.0.9", "--", "sleep", "300"
    )
    lab.berth("run", "-d", "--name", "far", "--network", "b,ip=10.82.0.50,route=10.81.0.0/24=10.82.0.9", "--", "sleep", "300")
    lab.berth("run", "-d", "--name", "near", "--", "sleep", "300")
    lab.berth("network", "connect", "--ip", "10.81.0.50", "--route", "10.90.0.0/16=10.81.0.9", "a", "near")
    assert "ttl=63" in lab.in_sandbox("near", "ping", "-c1", "-W2", "10.82.0.50")
    shown = lab.inspect("near")
    assert next(item for item in shown["endpoints"] if item["network"] == "a")["routes"] == ["10.90.0.0/16=10.81.0.9"]
    assert lab.inspect("router")["forward"]
    assert json.loads(lab.berth("network", "inspect", "a").stdout)[0]["routes"] == ["10.82.0.0/24=10.81.0.9"]
    # A restart and a flushed firewall change nothing.
    lab.stop_daemon()
    lab.start_daemon()
    assert "ttl=63" in lab.in_sandbox("near", "ping", "-c1", "-W2", "10.82.0.50")
    lab.berth("network", "disconnect", "a", "near")
    assert "10.90" not in lab.in_sandbox("near", "ip", "route")
    for refused in (("--network", "a,route=x"), ("--network", "a,route=10.0.0.0/8=10.99.0.1"), ("--network", "host", "--forward")):
        assert lab.berth("run", *refused, "--", "true", check=False).returncode == 125
    lab.berth("rm", "router", "far", "near")
    lab.berth("network", "rm", "a", "b")
