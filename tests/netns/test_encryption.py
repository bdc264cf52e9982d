"""What is to be encrypted between hosts passes in no other way."""

import json
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[1] / "support" / "clear_text.py"


def test_nothing_passes_in_clear(lab):
    # Loopback is let out of xfrm unless it is told otherwise.
    lab.shell("ip link set lo up; echo 0 > /proc/sys/net/ipv4/conf/lo/disable_xfrm; echo 0 > /proc/sys/net/ipv4/conf/lo/disable_policy")
    seen = json.loads(lab.out(sys.executable, str(PROGRAM)))
    assert set(seen["before"].values()) == {True}
    assert seen["under"] == {
        "to a peer": False, "to a stranger": False, "from a stranger": False, "to another port": True, "between others": True,
    }  # fmt: skip
    assert seen["read back"]
    assert seen["left"] == 0
    assert set(seen["after"].values()) == {True}
