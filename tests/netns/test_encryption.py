"""What is to be encrypted between hosts passes in no other way."""

import json
import sys
from pathlib import Path

import pytest

SUPPORT = Path(__file__).parents[1] / "support"


def test_nothing_passes_in_clear(lab):
    # Loopback is let out of xfrm unless it is told otherwise.
    lab.shell("ip link set lo up; echo 0 > /proc/sys/net/ipv4/conf/lo/disable_xfrm; echo 0 > /proc/sys/net/ipv4/conf/lo/disable_policy")
    seen = json.loads(lab.out(sys.executable, str(SUPPORT / "clear_text.py")))
    assert set(seen["before"].values()) == {True}
    assert seen["under"] == {
        "to a peer": False, "to a stranger": False, "from a stranger": False, "to another port": True, "between others": True,
    }  # fmt: skip
    assert seen["read back"]
    assert seen["left"] == 0
    assert set(seen["after"].values()) == {True}


@pytest.mark.slow
def test_policies_that_somebody_changes_are_noticed_and_put_back(lab):
    seen = json.loads(lab.run("unshare", "--net", sys.executable, str(SUPPORT / "encryption_drift.py")).stdout)
    one = "repair esp policy out 127.0.0.1 to 127.0.0.2 udp dport 4790"
    assert seen["wanted"] == len(seen["told"]["flushed"]) == 4
    assert (seen["told"]["deleted"], seen["told"]["without ESP"]) == ([one], [one])
    assert seen["left"] == []
