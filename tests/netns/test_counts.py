"""What each operation costs in sockets, netlink requests, namespace entries and commits: the same among others as alone."""

import json
import sys

import pytest

from tests.support.lab import Lab


@pytest.fixture(scope="module")
def counted():
    with Lab() as lab:
        yield json.loads(lab.out(sys.executable, "-m", "tests.support.count_operations", "5", timeout=60))


_CONNECT = {"commits": 2, "hops": 1, "requests": 15, "transactions": 1, "entries": 1, "sockets": 1, "diffs": 1, "ways out": 1}
COSTS = {
    "create network": {"commits": 2, "hops": 1, "requests": 15, "transactions": 2, "links asked": 5, "diffs": 1},
    # One visit, while it is made. A socket for its loopback. Files and namespace are one hop, its hosts file the other.
    "create sandbox": {"commits": 2, "hops": 2, "requests": 1, "entries": 1, "sockets": 1, "diffs": 1, "ways out": 1},
    # It is as it was made, which nobody has to be asked or visited for.
    "create sandbox from a spare": {"commits": 2, "hops": 2, "diffs": 1, "ways out": 1},
    # Intent and result. One visit, with a socket: nobody looks at the names of its links, and its address, which nobody had
    # before, is announced to nobody.
    "connect": _CONNECT,
    # One dump of links, and one for each IP version of addresses, routes and neighbours that there must be.
    "compare sandbox": {"hops": 1, "requests": 4, "entries": 1, "namespaces": 1, "sockets": 2, "dumps": 4},
    "compare network": {"hops": 1, "requests": 1, "sockets": 1, "dumps": 2},
    # The link is down, off its bridge and unnamed, with one visit; the kernel's wait for its deletion comes later. That there is no
    # way back is recorded; that nothing is left of it, and that the address rests, is written with what is written next.
    "disconnect": {"commits": 1, "hops": 1, "requests": 12, "transactions": 1, "entries": 1, "sockets": 1, "diffs": 1, "ways out": 1},
    # On a network with others, of whom none is looked at.
    "connect to others": _CONNECT,
    # One that somebody had before is announced by a socket from the same visit.
    "connect with another's address": _CONNECT,
    # Its namespace takes the link along.
    "remove sandbox": {"commits": 1, "hops": 2, "requests": 9, "transactions": 1, "diffs": 1},
    # As much as both together, but for the commits and the second hop of a connect.
    "create connected sandbox": {
        "commits": 2,
        "hops": 2,
        "requests": 16,
        "transactions": 1,
        "entries": 2,
        "sockets": 2,
        "diffs": 1,
        "ways out": 1,
    },
    "remove connected sandbox": {"commits": 1, "hops": 2, "requests": 9, "transactions": 1, "diffs": 1},
    # Two dumps of the addresses of its bridge alone.
    "remove network": {"commits": 1, "hops": 1, "requests": 14, "dumps": 2, "transactions": 2, "links asked": 1},
}
"""Whoever makes an operation cheaper writes the new number here. No operation looks at the host, nor at other networks."""


@pytest.mark.parametrize("operation", COSTS)
@pytest.mark.parametrize("where", ["alone", "among others"])
def test_operations_cost_what_they_did(counted, where, operation):
    assert counted[where][operation] == COSTS[operation]


@pytest.mark.parametrize(
    ("what", "fixed", "for_each"),
    [
        # All are looked into on one thread, and their files are looked at in one go.
        ("entries", 1, 0),
        ("hops", 10, 0),
        ("looks", 1, 0),
        ("namespaces", 0, 1),
        # The host is read twice, whatever it has. Each sandbox: its links, addresses, routes and neighbours.
        ("dumps", 16, 4),
        # The guard's table of bridges before the networks, those of ports before the sandboxes, and the firewall's.
        ("transactions", 4, 0),
        ("guard tables written", 3, 0),
        # Before names are published; nothing that they follow from is another by the time the kernel is brought to them.
        ("objects worked out", 0, 1),
    ],
)
def test_a_start_costs_little_for_each_sandbox(counted, what, fixed, for_each):
    starts = counted["starts"]
    assert [start["sandboxes"] for start in starts] == [5, 10]
    assert [start.get(what, 0) for start in starts] == [fixed + for_each * start["sandboxes"] for start in starts]


def test_both_ends_of_a_pair_have_one_queue_of_each_kind(counted):
    assert counted["veths"] >= 2
    assert counted["queues"] == 2 * counted["veths"]
