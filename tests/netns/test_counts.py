"""What each operation costs in sockets, netlink requests, namespace entries and commits: the same among others as alone."""

import json
import sys

import pytest

from tests.support.lab import Lab


@pytest.fixture(scope="module")
def counted():
    with Lab() as lab:
        yield json.loads(lab.out(sys.executable, "-m", "tests.support.count_operations", "5", timeout=60))


def test_sockets_are_opened_inside_sandboxes_only(counted):
    sockets = {name: costs.get("sockets", 0) for name, costs in counted["among others"].items() if name != "queues"}
    assert sockets == {
        "create network": 0,
        # Its loopback is brought up.
        "create sandbox": 1,
        # One look at the names of its links, one for the steps inside.
        "connect": 2,
        "disconnect": 0,
        "remove sandbox": 0,
        "remove network": 0,
    }


def test_both_ends_of_a_pair_have_one_queue_of_each_kind(counted):
    for costs in counted.values():
        assert costs["queues"]["veths"] >= 2
        assert costs["queues"]["queues"] == 2 * costs["queues"]["veths"]
