"""Which services of the host a network reaches, who reaches those on a gateway's address, and how much one sandbox may fill."""

from __future__ import annotations

import json
import sys

import pytest

from netcore import limits
from netcore.desired import firewall
from tests.netns.conftest import upstream
from tests.support.lab import HOST_ADDRESS, HOST_ADDRESS6, OUTSIDE_ADDRESS, Lab

SERVER = """
import selectors, socket, sys
selector = selectors.DefaultSelector()
for port in map(int, sys.argv[1:]):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        sock = socket.socket(socket.AF_INET6, kind)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("::", port))
        if kind == socket.SOCK_STREAM:
            sock.listen(64)
        selector.register(sock, selectors.EVENT_READ, kind)
print("serving", flush=True)
while True:
    for key, _ in selector.select():
        if key.data == socket.SOCK_STREAM:
            accepted = key.fileobj.accept()[0]
            accepted.sendall(b"here")
            accepted.close()
        else:
            key.fileobj.sendto(b"here", key.fileobj.recvfrom(100)[1])
"""
ASK = """
import selectors, socket, sys, time
wanted, *asked = sys.argv[1:]
answered, selector = set(), selectors.DefaultSelector()
for text in asked:
    protocol, address, port = text.split(",")
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    sock.setblocking(False)
    try:
        # Not connected: the host answers from the address that is nearest.
        sock.connect((address, int(port))) if protocol == "tcp" else sock.sendto(bytes.fromhex("00070100000100000000000001780000010001"), (address, int(port)))
    except BlockingIOError:
        pass
    except OSError:
        continue
    selector.register(sock, selectors.EVENT_READ, text)
end = time.monotonic() + 20
while len(answered) < int(wanted) and time.monotonic() < end:
    for key, _ in selector.select(0.1):
        selector.unregister(key.fileobj)
        try:
            if key.fileobj.recv(100):
                answered.add(key.data)
        except OSError:
            pass
for key, _ in selector.select(0.3 if len(answered) < len(asked) else 0):
    try:
        key.fileobj.recv(100) and answered.add(key.data)
    except OSError:
        pass
print(*sorted(answered))
"""
NETWORKS = {
    "all": (),
    "shut": ("-o", "host_access=none"),
    "some": ("-o", "host_access=ports=7000,tcp/7003,7001-7002/udp"),
    "inside": ("--internal",),
    "inside-all": ("--internal", "-o", "host_access=all"),
}


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        made.run("ip", "link", "add", "lan", "type", "bridge")
        made.run("ip", "link", "set", "lan", "up")
        made.run("ip", "netns", "add", "machine")
        made.run("ip", "link", "add", "lan-port", "type", "veth", "peer", "name", "eth0", "netns", "machine")
        made.run("ip", "link", "set", "lan-port", "master", "lan", "up")
        made.run("ip", "-n", "machine", "link", "set", "eth0", "up")
        upstream(made, OUTSIDE_ADDRESS, where="outside")
        serving = made.start(sys.executable, "-c", SERVER, "7000", "7001", "7002", "7003", "7004")
        assert serving.stdout.readline() == "serving\n"
        made.start_daemon()
        for name, options in NETWORKS.items():
            made.berth("network", "create", "--ipv6", "-o", f"name=br-{name}", *options, name)
            made.berth("run", "-d", "--name", f"in-{name}", "--network", name, "--", "sleep", "infinity")
        yield made


def gateway(lab: Lab, bridge: str, family: int = 4) -> str:
    (link,) = json.loads(lab.out("ip", "-j", "addr", "show", bridge))
    kind = "inet" if family == 4 else "inet6"
    return next(one["local"] for one in link["addr_info"] if one["family"] == kind and one["scope"] == "global")


def answers(lab: Lab, who: str, asked: list[str], wanted: int) -> list[str]:
    """Return which of *asked* (protocol,address,port) answer; *wanted* of them are waited for."""
    command = (sys.executable, "-c", ASK, str(wanted), *asked)
    done = lab.run(*command, where=who) if who in ("host", "outside", "machine") else lab.berth("exec", who, *command)
    return done.stdout.split()


def check(lab: Lab, who: str, addresses: list[str], opened: list[str], closed: list[str]) -> None:
    """Fail unless *who* reaches exactly the ports *opened* (protocol/number) at each of *addresses*."""
    asked = [f"{port.replace('/', f',{address},')}" for address in addresses for port in (*closed, *opened)]
    expected = [text for text in asked if "/".join((text.split(",")[0], text.split(",")[2])) in opened]
    assert answers(lab, who, asked, len(expected)) == sorted(expected)


EVERYTHING = ["tcp/7000", "udp/7000", "udp/7001", "udp/7002", "tcp/7003", "tcp/7004"]


@pytest.mark.parametrize(
    ("name", "opened"),
    [
        ("all", EVERYTHING),
        ("shut", []),
        ("some", ["tcp/7000", "udp/7001", "udp/7002", "tcp/7003"]),
        ("inside", []),
        ("inside-all", EVERYTHING),
    ],
)
def test_services_of_the_host(lab, name, opened):
    addresses = [gateway(lab, f"br-{name}"), gateway(lab, f"br-{name}", 6)]
    if not name.startswith("inside"):
        # An internal network has no route to the host's other addresses.
        addresses += [HOST_ADDRESS, HOST_ADDRESS6]
    check(lab, f"in-{name}", addresses, opened, [port for port in EVERYTHING if port not in opened])


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_left_of_the_host(lab, name):
    for family in (4, 6):
        address = gateway(lab, f"br-{name}", family)
        assert lab.in_sandbox(f"in-{name}", "ping", "-c1", "-W2", address)
        # Without the entry that berth made, the gateway must be found by ARP and neighbour discovery.
        lab.berth("exec", "--privileged", f"in-{name}", "ip", "neigh", "flush", "all", "nud", "permanent")
        assert lab.in_sandbox(f"in-{name}", "ping", "-c1", "-W2", address)
        answered = lab.in_sandbox(f"in-{name}", "dig", "+short", "+tries=1", "+time=15", f"@{address}", f"in-{name}")
        assert answered in lab.inspect(f"in-{name}")["addresses"]
        over_tcp = lab.in_sandbox(f"in-{name}", "dig", "+short", "+tcp", "+tries=1", "+time=15", f"@{address}", f"in-{name}")
        assert over_tcp == answered


def test_a_closed_network_still_leads_outside_and_is_reached_from_the_host(lab):
    assert lab.in_sandbox("in-shut", "ping", "-c1", "-W2", OUTSIDE_ADDRESS)
    address = lab.inspect("in-shut")["addresses"][0]
    lab.berth("exec", "in-shut", "sh", "-c", f"{sys.executable} -c '{SERVER}' 7009 >/dev/null 2>&1 &")
    lab.wait_for(lambda: answers(lab, "host", [f"tcp,{address},7009"], 0))


def test_on_a_bridge_of_the_host_only_sandboxes_are_closed_out(lab):
    lab.berth("network", "create", "-o", "name=lan", "-o", "host_access=none", "--subnet", "10.77.0.0/24", "lan")
    lab.berth("run", "-d", "--name", "in-lan", "--network", "lan", "--", "sleep", "infinity")
    lab.run("ip", "-n", "machine", "addr", "add", "10.77.0.200/24", "dev", "eth0")
    check(lab, "machine", ["10.77.0.1"], ["tcp/7000"], [])
    check(lab, "in-lan", ["10.77.0.1"], [], ["tcp/7000"])
    assert lab.in_sandbox("in-lan", "ping", "-c1", "-W2", "10.77.0.200")
    # With another sender's MAC it is no longer the sandbox; it is not let through then either.
    lab.berth("exec", "--privileged", "in-lan", "ip", "link", "set", "eth0", "address", "02:00:00:00:00:99")
    check(lab, "in-lan", ["10.77.0.1"], [], ["tcp/7000"])
    lab.berth("rm", "in-lan")
    lab.berth("network", "rm", "lan")


def test_a_gateway_is_for_its_own_network(lab):
    target, target6 = gateway(lab, "br-all"), gateway(lab, "br-all", 6)
    lab.run("ip", "route", "replace", f"{target}/32", "via", HOST_ADDRESS, where="outside")
    lab.run("ip", "-6", "route", "replace", f"{target6}/128", "via", HOST_ADDRESS6, where="outside")
    for address in (target, target6):
        check(lab, "host", [address], ["tcp/7000"], [])
        check(lab, "in-all", [address], ["tcp/7000"], [])
        check(lab, "in-some", [address], [], ["tcp/7000"])
        check(lab, "outside", [address], [], ["tcp/7000", "udp/7000"])
        assert lab.run("ping", "-c1", "-W2", address, where="outside", check=False).returncode == 0


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("host_access=some", "must be all, none or ports=PORT[-END][/PROTOCOL],.. as in ports=443,53/udp"),
        ("host_access=ports=", "must be all, none or ports="),
        ("host_access=ports=53/icmp", "'53/icmp': the protocol must be one of tcp, udp, sctp"),
        ("host_access=ports=0", "'0': ports are 1 to 65535, the lower one first"),
        ("host_access=ports=90-80/tcp", "'90-80/tcp': ports are 1 to 65535, the lower one first"),
        ("host_access=ports=1-2000", "opens 2000 ports; at most 1024, or say all"),
        ("unknown_ports=maybe", "must be one of allow, drop"),
    ],
)
def test_refusals(lab, option, message):
    refused = lab.berth("network", "create", "-o", option, "wrong", check=False)
    assert refused.returncode != 0
    assert message in refused.stderr


def test_a_name_for_the_host_where_it_is_closed_is_a_warning(lab):
    for name, wanted in (("shut", True), ("some", False), ("all", False), ("inside", True)):
        said = lab.berth("run", "--network", name, "--add-host", "gate:host-gateway", "--", "true").stderr
        assert ("host_access" in said) == wanted, said
    preview = lab.berth("run", "--dry-run", "--network", "shut", "--add-host", "gate:host-gateway", "--", "true")
    assert "host_access" in preview.stdout + preview.stderr


@pytest.mark.slow
def test_unknown_ports_of_a_bridge_of_ours_send_nothing_and_are_left_alone_where_told(lab):
    for name, options in (("guarded", ()), ("open", ("-o", "unknown_ports=allow"))):
        lab.berth("network", "create", "--ipv6", "-o", f"name=br-{name}", *options, name)
        lab.berth("run", "-d", "--name", f"in-{name}", "--network", name, "--", "sleep", "infinity")
        subnet = lab.inspect(f"in-{name}")["addresses"][0].rpartition(".")[0]
        lab.run("ip", "netns", "add", name)
        lab.run("ip", "link", "add", f"p-{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
        lab.run("ip", "link", "set", f"p-{name}", "master", f"br-{name}", "up")
        lab.run("ip", "-n", name, "addr", "add", f"{subnet}.200/24", "dev", "eth0")
        lab.run("ip", "-n", name, "link", "set", "eth0", "up")
        for target in (f"{subnet}.1", f"{subnet}.2"):
            reached = lab.run("ping", "-c1", "-W1", target, where=name, check=False).returncode == 0
            assert reached == (name == "open"), target
        lab.berth("rm", f"in-{name}")
        lab.berth("network", "rm", name)
        lab.run("ip", "link", "del", f"p-{name}", check=False)


def samples(lab: Lab) -> dict[str, float]:
    """Return berth_dropped_packets_total by reason."""
    text = lab.api("GET", "/metrics")[1]
    lines = [line for line in text.splitlines() if line.startswith("berth_dropped_packets_total{")]
    return {line.split('"')[1]: float(line.split()[-1]) for line in lines}


SCATTER = """
import socket, sys
first, count = sys.argv[1], int(sys.argv[2])
family = socket.AF_INET6 if ":" in first else socket.AF_INET
start = int.from_bytes(socket.inet_pton(family, first), "big")
size = 16 if family == socket.AF_INET6 else 4
with socket.socket(family, socket.SOCK_DGRAM) as sock:
    for number in range(count):
        sock.sendto(b"x", (socket.inet_ntop(family, (start + number).to_bytes(size, "big")), 9))
"""


def test_neighbours_that_one_sandbox_has_the_host_look_for_are_bounded(lab):
    """A sandbox that asks for every address behind the uplink, or behind its own gateway, leaves the host's table to others."""
    lab.run("ip", "addr", "add", "10.99.0.2/16", "dev", "up0")
    before = samples(lab)["neighbors"]
    (own,) = [one for one in lab.inspect("in-some")["addresses"] if ":" not in one]
    inside = own.rsplit(".", 2)[0] + ".200.0"
    # By the gateway, as if all of the network were behind it.
    lab.berth("exec", "--privileged", "in-some", "ip", "route", "add", f"{inside}/24", "via", gateway(lab, "br-some"))
    lab.berth("exec", "in-some", sys.executable, "-c", SCATTER, "10.99.1.0", "1000")
    lab.berth("exec", "in-some", sys.executable, "-c", SCATTER, inside, "200")
    lab.berth("exec", "in-some", sys.executable, "-c", SCATTER, "fd09::1:0", "500")
    looked_for = lab.shell("ip neigh show nud incomplete nud failed | grep -c -e '^10.99' -e '^172' -e '^fd09::1:' || true")
    assert int(looked_for) < 200

    def is_told() -> bool:
        """Whether metrics and status tell the same: what the sandbox still had in a queue is counted later."""
        refused = samples(lab)["neighbors"] - before
        _, report = lab.api("GET", "/v1/status")
        return report["dropped"] == {"in-some": refused} and f"dropped of in-some: {refused:.0f} packets" in lab.berth("status").stdout

    # The three together, but for those that were let through, and what was still in the sandbox's own queue.
    assert samples(lab)["neighbors"] - before > 1300
    assert lab.in_sandbox("in-all", "ping", "-c1", "-W2", OUTSIDE_ADDRESS)
    lab.wait_for(is_told)
    # What it talks to already stays open to it.
    assert lab.in_sandbox("in-some", "ping", "-c1", "-W2", OUTSIDE_ADDRESS)
    lab.run("ip", "addr", "del", "10.99.0.2/16", "dev", "up0")


def test_connections_of_one_sandbox_are_bounded():
    """The rules as they are, with a smaller number: the kernel takes half a minute to count to the real one."""
    rules = firewall.render_skeleton().replace(f"ct count over {limits.CONNECTIONS_PER_SANDBOX}", "ct count over 50")
    with Lab() as plain:
        for name, third in (("one", 1), ("two", 2)):
            plain.run("ip", "netns", "add", name)
            plain.run("ip", "link", "add", f"v-{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
            plain.run("ip", "addr", "add", f"10.3.{third}.1/24", "dev", f"v-{name}")
            plain.run("ip", "link", "set", f"v-{name}", "up")
            plain.run("ip", "-n", name, "addr", "add", f"10.3.{third}.2/24", "dev", "eth0")
            plain.run("ip", "-n", name, "link", "set", "eth0", "up")
            plain.run("ip", "-n", name, "route", "add", "default", "via", f"10.3.{third}.1")
        plain.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        plain.run("nft", "-f", "-", stdin=rules + 'add element inet berth bridges { "v-one", "v-two" }\n')
        for target in (OUTSIDE_ADDRESS, "10.3.1.1"):
            plain.run("conntrack", "-F")
            for where in ("one", "two"):
                plain.run(sys.executable, "-c", OPEN, target, "80", where=where)
            for third in (1, 2):
                assert plain.shell(f"conntrack -L -s 10.3.{third}.2 2>/dev/null | wc -l") == "50"
        counted = plain.shell("nft list counter inet berth connections")
        assert "packets 120" in counted
        assert plain.shell("nft list set inet berth exceeding").count("counter packets 60 ") == 2


OPEN = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    for number in range(int(sys.argv[2])):
        sock.sendto(b"x", (sys.argv[1], 1024 + number))
"""


@pytest.mark.slow
def test_programs_of_the_host_are_answered_at_the_gateway_unless_that_is_off(lab):
    targets = [gateway(lab, "br-all"), gateway(lab, "br-all", 6)]
    here = lab.inspect("in-all")["addresses"]

    def asked(target: str, *more: str, seconds: int = 1) -> str:
        return lab.run("dig", "+short", "+tries=1", f"+time={seconds}", *more, f"@{target}", "in-all", check=False).stdout.strip()

    assert {asked(target, *more, seconds=15) in here for target in targets for more in ((), ("+tcp",))} == {True}
    lab.stop_daemon()
    lab.run("mkdir", "-p", "/etc/berth")
    lab.write("/etc/berth/berth.toml", "gateway_resolver_for_host = false\n")
    lab.start_daemon()
    assert {asked(target, *more) in here for target in targets for more in ((), ("+tcp",), ("-b", HOST_ADDRESS))} == {False}
    for target in targets:
        assert lab.in_sandbox("in-all", "dig", "+short", "+tries=1", "+time=15", f"@{target}", "in-all") in here
    check(lab, "in-all", targets, EVERYTHING, [])
