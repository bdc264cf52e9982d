"""Tracked flows are forgotten by the kernel's own filter where it does what it should, and exactly those that must go."""

import json
import sys

import pytest

from tests.support.lab import Lab

_SCRIPT = r"""
import json, subprocess, sys
from ipaddress import ip_address
from netcore.desired.flows import Flows, PortMove
from netcore.kernel import conntrack, flow_filter
from netcore.kernel.netlink import NETFILTER, ROUTE, NetlinkSocket

def flow(number, protocol, source, destination, port, *more):
    state = {"tcp": "--state ESTABLISHED", "sctp": "--state ESTABLISHED --orig-vtag 1 --reply-vtag 2", "udp": ""}[protocol]
    return f"-I -p {protocol} -s {source} -d {destination} --sport {number} --dport {port} -t 600 {state} {' '.join(more)}"

def left():
    listed = [subprocess.run(["conntrack", "-L", "-f", family], capture_output=True, text=True, check=True).stdout for family in ("ipv4", "ipv6")]
    return sorted(int(line.split("sport=")[1].split()[0]) for line in "".join(listed).splitlines())

lines = []
for number, four, six in ((1, "10.3.0.2", "fd03::2"), (2, "10.3.0.3", "fd03::3")):
    for base, mine, other, host in ((0, four, "192.0.2.1", "192.0.2.9"), (100, six, "2001:db8::1", "2001:db8::9")):
        behind = f"-r {mine} -q {other} --reply-port-src 53 --reply-port-dst {base + number + 20}"
        lines += [
            flow(base + number, "udp", mine, other, 53),
            flow(base + number + 10, "tcp", other, mine, 80),
            flow(base + number + 20, "udp", other, host, 53, behind),
            flow(base + number + 30, "udp", mine, other, 54, "--zone 7"),
            flow(base + number + 40, "sctp", other, host, 3868 + number),
            # To the host itself, to another address of the host, and to a server of somebody's.
            flow(base + number + 50, "udp", other, host, 53),
            flow(base + number + 60, "tcp", other, other, 80),
            flow(base + number + 70, "tcp", mine, other[:-1] + "77", 80),
        ]
subprocess.run("ip link set lo up; ip address replace 192.0.2.9/32 dev lo; ip address replace 2001:db8::9/128 dev lo nodad", shell=True, check=True)
subprocess.run("ip address replace 192.0.2.1/32 dev lo; ip address replace 2001:db8::1/128 dev lo nodad", shell=True, check=True)

def fill():
    subprocess.run(["conntrack", "-F"], check=True, capture_output=True)
    subprocess.run(["conntrack", "-R", "-"], input="\n".join(lines) + "\n", text=True, check=True, capture_output=True)

dumps, requests = [], []
dump, run = NetlinkSocket.dump, NetlinkSocket.run
NetlinkSocket.dump = lambda self, request: dumps.append(request.body[0]) or dump(self, request)
NetlinkSocket.run = lambda self, batch: requests.extend(batch) or run(self, batch)

addresses = frozenset(map(ip_address, sys.argv[1].split())) if sys.argv[1] else frozenset()


def target(text):
    address, _, port = text.rpartition("#")
    return (ip_address(address), int(port)) if address else None

moves = [text.split("/") for text in sys.argv[2].split()]
ports = frozenset(PortMove(int(f), p, ip_address(a) if a else None, int(n), target(b), target(t)) for f, p, a, n, b, t in moves)
honoured = flow_filter.honoured()
result = {"honoured": sorted([family, part.value] for family, part in honoured)}
for name, choices in (("filter", honoured), ("look", frozenset())):
    fill()
    dumps.clear(), requests.clear()
    before = left()
    with NetlinkSocket(NETFILTER) as netlink, NetlinkSocket(ROUTE) as routes:
        conntrack.flush(netlink, routes, Flows(addresses=addresses, ports=ports), choices)
    result[name] = {"gone": sorted(set(before) - set(left())), "dumps": dumps[:], "requests": len(requests)}
print(json.dumps(result))
"""


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        yield made


def forgotten(lab, addresses="", ports=""):
    return json.loads(lab.out(sys.executable, "-c", _SCRIPT, addresses, ports))


@pytest.mark.parametrize(
    ("addresses", "ports", "gone", "dumps", "requests"),
    [
        ("10.3.0.2", "", [1, 11, 21, 31, 71], [], 2),
        ("10.3.0.9", "", [], [], 2),
        ("fd03::2", "", [101, 111, 121, 131, 171], [10], 5),
        # Published: what goes to any address of the host. Not what leads there by translation, nor to servers of others.
        ("", "4/udp//53//10.9.9.9#53 6/tcp//80//fd09::9#80", [1, 2, 51, 52, 161, 162], [2, 10], 6),
        ("", "4/tcp/192.0.2.9/80//10.9.9.9#80", [], [2], 0),
        ("", "4/tcp/192.0.2.1/80//10.9.9.9#80", [61, 62], [2], 2),
        # Unpublished, and moved.
        ("", "4/udp//53/10.3.0.2#53/", [21], [2], 1),
        ("", "6/udp//53/fd03::3#53/fd03::2#53", [101, 102, 122, 151, 152], [10], 5),
        ("", "4/udp//53//10.3.0.2#53", [1, 2, 51, 52], [2], 4),
        ("", "4/sctp//3869//10.9.9.9#1", [41], [2], 1),
        ("10.3.0.3", "6/sctp//3870//fd09::9#1", [2, 12, 22, 32, 72, 142], [10], 3),
    ],
)
def test_exactly_what_was_asked_for_goes(lab, addresses, ports, gone, dumps, requests):
    done = forgotten(lab, addresses, ports)
    assert done["filter"]["gone"] == done["look"]["gone"] == gone
    if [4, "address"] in done["honoured"] and [6, "address"] not in done["honoured"]:
        # As Linux 6.18 has it. Each flow that is found by looking is deleted by one request.
        assert (done["filter"]["dumps"], done["filter"]["requests"]) == (dumps, requests)


def test_each_kind_of_request_is_tried_once_and_leaves_no_trace(lab):
    script = (
        "from netcore.kernel import flow_filter, netns\n"
        "entered, make = [], netns.run_in_temporary\n"
        "netns.run_in_temporary = lambda body: entered.append(1) or make(body)\n"
        "print(flow_filter.honoured() == flow_filter.honoured(), len(entered))\n"
    )
    before = lab.out("conntrack", "-C")
    assert lab.out(sys.executable, "-c", script).split() == ["True", "1"]
    assert lab.out("conntrack", "-C") == before
