"""A daemon that is killed at random moments, while random operations run on every driver: nothing is lost, left or invented."""

import contextlib
import json
import os
import random
import re
import threading
import time

import pytest

from tests.support.admin_client import AdminClient
from tests.support.everything import Everything
from tests.support.lab import OUTSIDE_ADDRESS, Lab
from tests.support.random_operations import STANDING, Hand, found_for

HANDS = 3
CLEARED_EACH = 10
"""After so many kills all is removed, so that what is left shows in whatever is compared."""


class Kills:
    def __init__(self, lab: Lab, seed: str) -> None:
        self.lab, self.random = lab, random.Random(seed)
        lab.shell("ip link add lan0 type veth peer name lan1; ip link set lan0 up; ip link set lan1 up")
        lab.shell(f"for n in $(seq 0 {HANDS - 1}); do ip netns add guest$n; ip -n guest$n link set lo up; done")
        lab.start_plugin()
        lab.start_listening("upstream.py", OUTSIDE_ADDRESS, "ok", "quiet", where="outside")
        self.hands = [Hand(number, f"{seed}{number}") for number in range(HANDS)]
        self.kills, self.in_starts, self.unanswered = 0, 0, 0
        self.start()
        self.client = AdminClient(lab)
        for name, body in STANDING.items():
            self.client.call("POST", "/v1/networks", {"name": name, **body})
        self.everything = Everything(lab, {"outside", *(hand.guest for hand in self.hands)})
        self.empty = self.kernel()

    def kernel(self) -> str:
        """Return what the kernel has, without the MAC of the plugin's own bridge, which follows its ports."""
        return re.sub(r"(plug\w+: .*link/ether) \S+", r"\1", self.lab.kernel_state())

    def start(self) -> None:
        """Start the daemon; now and then kill it while it starts, too."""
        while self.kills and self.random.random() < 0.2:
            self.lab.start_daemon(wait=False)
            time.sleep(self.random.uniform(0.2, 2.0))
            self.kill()
            self.in_starts += 1
        self.lab.start_daemon()

    def kill(self) -> None:
        self.lab.daemon.kill()
        self.lab.daemon.wait()
        self.kills += 1

    def round(self) -> list[str]:
        """Kill the daemon once while all hands work; return what was wrong afterwards."""
        ends = threading.Event()
        threads = [threading.Thread(target=hand.work, args=(self.lab, ends)) for hand in self.hands]
        for thread in threads:
            thread.start()
        # The moment of the kill is what is random here.
        time.sleep(self.random.uniform(0.0, 2.0))
        self.kill()
        ends.set()
        for thread in threads:
            thread.join()
        unanswered = [str(hand.asked) for hand in self.hands if hand.asked is not None]
        self.unanswered += len(unanswered)
        self.client.close()
        self.start()
        wrong = [line for hand in self.hands for line in hand.refused]
        for hand in self.hands:
            hand.refused.clear()
        sandboxes, networks = self.client.call("GET", "/v1/sandboxes"), self.client.call("GET", "/v1/networks")
        wrong += [line for hand in self.hands if (line := hand.settle(found_for(hand.number, sandboxes, networks)))]
        names = {one["name"] for one in sandboxes}
        known = {name for hand in self.hands for name in hand.had.boxes}
        wrong += [f"invented sandbox {name}" for name in names - known]
        wrong += self.settled()
        return [*wrong, f"unanswered: {unanswered}"] if wrong else []

    def settled(self) -> list[str]:
        """Return what differs once the daemon has done what it does behind its start."""
        with contextlib.suppress(AssertionError):
            self.lab.wait_for(lambda: not self.everything.differences(self.client), timeout=20)
        return self.everything.differences(self.client)

    def clear(self) -> list[str]:
        """Remove all; return what is left."""
        for hand in self.hands:
            for operation in [*hand.all_away()]:
                self.client.call(operation.method, operation.path, operation.body)
                hand.had = operation.after
            hand.settle(found_for(hand.number, [], []))
        left = self.settled()
        with contextlib.suppress(AssertionError):
            self.lab.wait_for(lambda: self.kernel() == self.empty, timeout=20)
        now = self.kernel()
        left += [f"+ {line}" for line in now.splitlines() if line not in self.empty.splitlines()]
        return left + [f"- {line}" for line in self.empty.splitlines() if line not in now.splitlines()]


def campaign(seed: str, count: int) -> tuple[list[object], Kills]:
    wrong: list[object] = []
    with Lab() as lab:
        kills = Kills(lab, seed)
        number = 0
        while kills.kills < count:
            number += 1
            found = kills.round()
            if number % CLEARED_EACH == 0:
                found += kills.clear()
            if found:
                wrong.append((number, found[:20]))
            made = sum(hand.made for hand in kills.hands)
            print(json.dumps({"kills": kills.kills, "in starts": kills.in_starts, "operations": made, "unanswered": kills.unanswered}),
                  *(found[:20] and [json.dumps(found[:20], indent=1)]), flush=True)  # fmt: skip
        left = kills.clear()
        if left:
            wrong.append(("in the end", left))
        kills.client.close()
    return wrong, kills


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_five_kills():
    wrong, kills = campaign("five", 5)
    assert not wrong, json.dumps(wrong, indent=1)
    assert sum(hand.made for hand in kills.hands) >= 5


@pytest.mark.campaign
@pytest.mark.timeout(8 * 3600)
def test_five_hundred_kills():
    wrong, kills = campaign(os.environ.get("SEED", "five hundred"), int(os.environ.get("KILLS", "500")))
    assert not wrong, json.dumps(wrong, indent=1)
    assert kills.unanswered >= kills.kills // 4


@pytest.mark.slow
def test_the_comparison_finds_what_is_left():
    with Lab() as lab:
        kills = Kills(lab, "none")
        assert kills.settled() == []
        kills.client.call("POST", "/v1/sandboxes", {"name": "s", "networks": [{"network": "front"}], "publish": ["20001:80"]})
        assert kills.settled() == []
        lab.shell(
            "ip link add veth1234567 type veth peer name x1; ip netns add berth-x; mkdir /run/berth/sandboxes/x;"
            "ip neigh add 10.9.0.77 lladdr 02:00:00:00:00:01 dev up0 nud permanent; ip netns exec guest0 nft add table ip berth;"
            "for file in /run/berth/sandboxes/*/hosts; do echo 10.1.1.1 x >> $file; done; ip -n berth-s addr add 10.1.1.1/32 dev eth0"
        )
        found = kills.everything.differences(kills.client)
        for what in ("links", "pins", "directories", "neighbours", "tables in guest0", "hosts of s", "addresses in s"):
            assert [line for line in found if line.startswith(f"+ {what}: ")], (what, found)
        kills.client.close()
