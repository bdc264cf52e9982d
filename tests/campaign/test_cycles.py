"""What comes and goes leaves nothing: memory, descriptors, elements, links and the database are flat over any number of cycles."""

import json
import os
import random
import re
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.admin_client import AdminClient, descriptors, resident_octets
from tests.support.lab import TABLES, Lab

WARM, WARM_LONG = 60, 2000
"""Cycles until pools of threads, caches and the heap have their size; and until as many addresses rest as ever will, 30 seconds' worth."""
OCTETS = 12 << 20
"""Octets by which the resident memory may differ: the heap of an interpreter is never quite the same."""


class Cycles:
    """A lab with two networks and a sandbox that stays; one sandbox after the other is made, connected, disconnected and removed."""

    def __init__(self, lab: Lab, client: AdminClient, seed: int) -> None:
        self.lab, self.client, self.random = lab, client, random.Random(seed)
        self.count = 0
        for name in ("front", "back"):
            self.client.call("POST", "/v1/networks", {"name": name, "ipv6": name == "front"})
        self.client.call("POST", "/v1/sandboxes", {"name": "stays", "networks": [{"network": "front"}], "publish": ["8080:80"]})

    def run(self, count: int) -> None:
        for _ in range(count):
            self.count += 1
            name = f"c{self.count}"
            port = 20_000 + self.random.randrange(10_000)
            self.client.call(
                "POST",
                "/v1/sandboxes",
                {"name": name, "networks": [{"network": "front", "aliases": [f"a{port}"]}], "publish": [f"{port}:80"]},
            )
            self.client.call("POST", "/v1/networks/back/connect", {"sandbox": name})
            if self.random.random() < 0.5:
                self.client.call("POST", "/v1/networks/back/disconnect", {"sandbox": name})
            self.client.call("DELETE", f"/v1/sandboxes/{name}")

    def counted(self) -> dict[str, int]:
        """Return what must be the same after any number of cycles."""
        assert self.lab.daemon is not None
        self.lab.wait_for_deletes()
        metrics = self.client.call("GET", "/metrics")
        tables = self.lab.shell(TABLES)
        return {
            "descriptors": descriptors(self.lab.daemon.pid),
            "links": self.lab.shell("ip -o link").count("\n"),
            "neighbours": self.lab.shell("ip neigh show nud permanent").count("\n"),
            "lines of tables": tables.count("\n"),
            "elements": len(re.findall(r"[,{] ", tables)),
            "sockets": self.lab.shell("ss -Hlntu").count("\n"),
            "pins": self.lab.shell("ls /run/netns").count("\n"),
            "directories": self.lab.shell("ls /run/berth/sandboxes").count("\n"),
            "metrics": metrics.count("\n"),
        }

    def sizes(self) -> dict[str, int]:
        """Return the octets of what may breathe within bounds."""
        assert self.lab.daemon is not None
        database = int(self.lab.shell("cat /var/lib/berth/berth.db* | wc -c"))
        return {"memory": resident_octets(self.lab.daemon.pid), "database": database}


def more(before: dict[str, int], after: dict[str, int]) -> dict[str, object]:
    return {key: (before[key], after[key]) for key in before if after[key] > before[key]}


def churn(count: int, warm: int = WARM) -> dict[str, object]:
    """Run *count* cycles; return what differs from what it was after *warm* ones, and print figures on the way."""
    with Lab() as lab, closing(AdminClient(lab)) as client:
        lab.start_daemon()
        cycles = Cycles(lab, client, 1)
        cycles.run(warm)
        # Some of what belonged to the last one may go a moment later, so there may be less in the end.
        before, sizes = cycles.counted(), cycles.sizes()
        for part in range(10):
            start = time.monotonic()
            cycles.run(count // 10)
            took = (time.monotonic() - start) / (count // 10)
            print(json.dumps({"cycles": (part + 1) * (count // 10), "ms": round(took * 1000, 1), **cycles.sizes()}), flush=True)
        try:
            lab.wait_for(lambda: not more(before, cycles.counted()))
        except AssertionError:
            return more(before, cycles.counted())
        now = cycles.sizes()
        print(json.dumps({"counted": before, "before": sizes, "after": now}), flush=True)
        # Two databases, each with a journal that may have its own full size.
        return {key: (sizes[key], now[key]) for key, most in (("memory", OCTETS), ("database", 4 << 20)) if now[key] > sizes[key] + most}


COUNTING = str(Path(__file__).parents[1] / "support" / "counting_daemon.py")
ASK = "import socket; sock = socket.socket(socket.AF_UNIX); sock.connect('/run/counts.sock'); print(sock.makefile().read())"
REMEMBERED = {"resolver.daemon.events.Event"}
"""Kinds of which the daemon keeps the last ones, up to a bound."""


def objects(lab: Lab) -> dict[str, int]:
    """Return how many objects of each of our types the daemon has."""
    counted: dict[str, int] = json.loads(lab.out(sys.executable, "-c", ASK))
    return {kind: number for kind, number in counted.items() if kind not in REMEMBERED}


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_no_object_of_ours_outlives_its_cycle():
    with Lab() as lab, closing(AdminClient(lab)) as client:
        lab.start_daemon(program=f"{sys.executable} {COUNTING}")
        cycles = Cycles(lab, client, 1)
        cycles.run(6)
        before = objects(lab)
        cycles.run(16)

        def left() -> dict[str, object]:
            """Return the kinds of which every other cycle has left one. Others come once: a worker's socket, what it remembers."""
            after = objects(lab)
            return {kind: (before.get(kind, 0), after[kind]) for kind in after if after[kind] >= before.get(kind, 0) + 8}

        try:
            # What belonged to the last cycles may go a moment later.
            lab.wait_for(lambda: not left())
        except AssertionError:
            assert left() == {}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sixty_cycles():
    assert churn(60) == {}


@pytest.mark.campaign
@pytest.mark.timeout(4 * 3600)
def test_ten_thousand_cycles():
    assert churn(int(os.environ.get("CYCLES", "10000")), WARM_LONG) == {}
