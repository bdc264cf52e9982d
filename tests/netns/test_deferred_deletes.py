"""Links are deleted and flows forgotten behind the reply: what a caller may rely on when it is there, and what a crash in between leaves."""

import json
import signal
import sys

import pytest

from tests.support.lab import Lab

PROGRAM = "tests.support.deferred_deletes"


def part(lab, name, timeout=60):
    return json.loads(lab.out(sys.executable, "-m", PROGRAM, name, timeout=timeout))


@pytest.fixture
def lab():
    with Lab() as made:
        yield made


def test_nothing_passes_and_names_and_addresses_are_free_when_the_reply_is_there(lab):
    assert part(lab, "replied") == {
        "waiting": [["veth", False, 0]],
        "inside": 1,
        "has eth1": False,
        "routes": "",
        "bindings": "0",
        "neighbors": "",
        "names": [True],
        "flows": ["10.44.0.9"],
        "the very same again": True,
        "flows of the address again": [],
        "name again": ["eth0", "eth1"],
        "address again": True,
        "address still": True,
        "left": 0,
        "bridge": [["bridge", False], ["veth", False], ["veth", False]],
        "bridge's addresses": "0",
        "network again": True,
        "flows in the end": [],
        "network still": True,
        "left in the end": 0,
    }


def test_a_start_deletes_what_a_daemon_left_that_was_killed_between_reply_and_delete(lab):
    # The pair of the sandbox that was removed goes with its namespace, or waits.
    killed = part(lab, "killed")
    assert killed["waiting"][:2] == ["bridge", "veth"]
    assert killed["flows"] == ["10.44.0.9", "10.45.0.2", "10.45.0.3"]
    found = part(lab, "started")
    assert found == {"pairs": 0, "flows": ["10.45.0.2", "10.45.0.3"], "names": ["eth0", "eth1"], "works": True, "links": 3, "other": True}


@pytest.mark.slow
def test_the_same_pair_a_hundred_times_and_the_same_bridge_twenty_times_without_a_pause(lab):
    assert part(lab, "again", timeout=120) == {"names": ["eth0", "eth1"], "works": True, "inside": 0}


@pytest.mark.slow
def test_a_thousand_links_that_wait_keep_no_operation_from_being_done(lab):
    found = part(lab, "queued", timeout=120)
    assert found["waiting"] == 1010
    assert found["cycles"] >= 3
    assert found["works"]


@pytest.fixture(scope="module")
def served():
    with Lab() as made:
        made.start_daemon()
        for name in ("n", "m"):
            made.berth("network", "create", name)
        yield made


def test_who_waits_is_answered_when_the_links_are_gone(served):
    served.berth("run", "-d", "--name", "w", "--network", "m", "--", "sleep", "600")
    served.berth("network", "connect", "n", "w")
    before = served.out("ip", "-o", "link").count("veth")
    served.berth("network", "disconnect", "--wait", "n", "w")
    assert (served.leaving_links(), served.out("ip", "-o", "link").count("veth")) == ([], before - 1)
    served.berth("rm", "--wait", "w")
    assert served.leaving_links() == []
    served.berth("network", "rm", "--wait", "m")
    assert served.leaving_links() == []
    assert served.api("DELETE", "/v1/networks/n?wait=forever")[0] == 400
    assert served.api("DELETE", "/v1/networks/n?wait=gone")[0] == 200
    assert served.leaving_links() == []
    served.berth("network", "create", "n")
    served.berth("network", "create", "m")


def test_links_that_wait_are_neither_damage_nor_remains(served):
    served.berth("run", "-d", "--name", "d", "--network", "m", "--", "sleep", "600")
    for _ in range(3):
        served.api("POST", "/v1/networks/n/connect", {"sandbox": "d"})
        served.api("POST", "/v1/networks/n/disconnect", {"sandbox": "d"})
    served.api("POST", "/v1/networks", {"name": "brief"})
    served.api("DELETE", "/v1/networks/brief")
    served.shell("ip link add leftover type bridge; ip link set leftover alias berth:1234 group 1650786320")
    assert json.loads(served.berth("doctor", "--format", "json").stdout) == []
    served.shell("ip link set leftover alias ''")
    assert not served.has_logged("by another program")
    served.stop_daemon(signal.SIGKILL)
    served.start_daemon()
    served.wait_for(lambda: not served.leaving_links())
    assert "leftover" not in served.out("ip", "link")
    assert json.loads(served.berth("doctor", "--format", "json").stdout) == []
    served.berth("rm", "d")
