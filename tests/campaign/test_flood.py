"""A sandbox that asks ten times as much as can be answered: another one's queries are all answered."""

import json
import os
import shutil
import struct
from contextlib import closing
from pathlib import Path

import dns.message
import pytest

from tests.support.admin_client import AdminClient, resident_octets
from tests.support.lab import OUTSIDE_ADDRESS, Lab

SOURCES = Path(__file__).parents[2] / "benchmarks"
NAMES = 300_000
"""So many outside names that none is cached when it is asked for again."""
QUIET_RATE = 100
TIMES = 10

pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None, reason="a C compiler is needed for the load generator: apt-get install gcc libc6-dev"
)


def message(name: str) -> bytes:
    octets = dns.message.make_query(name, "A", id=0).to_wire()
    return struct.pack("!H", len(octets)) + octets


def many_names() -> bytes:
    head, tail = message("0000000.example")[:15], message("0000000.example")[22:]
    return b"".join(head + b"%07d" % number + tail for number in range(NAMES))


class Flood:
    """A lab with a sandbox that floods, a quiet one, and a name server outside that answers everything at once."""

    def __init__(self, lab: Lab, client: AdminClient) -> None:
        self.lab = lab
        for program in ("load", "responder"):
            lab.run("cc", "-O2", "-o", f"/run/{program}", str(SOURCES / f"{program}.c"))
        lab.start("/run/responder", OUTSIDE_ADDRESS, "53", where="outside")
        client.call("POST", "/v1/networks", {"name": "net"})
        for name in ("web", "loud", "quiet"):
            client.call("POST", "/v1/sandboxes", {"name": name, "networks": [{"network": "net"}]})
            lab.write(f"/run/at-{name}", f"/run/netns/berth-{name} 127.0.0.11 53\n")
        for name, octets in (("local", message("web")), ("outside", many_names())):
            Path(f"/proc/{lab.pid}/root/run/{name}").write_bytes(octets)

    def command(self, who: str, names: str, seconds: float, *arguments: str) -> list[str]:
        # The one who is measured goes first on the core that both generators share.
        first = ("chrt", "-f", "10") if who == "quiet" else ()
        return ["taskset", "-c", str(os.cpu_count() - 1), *first, "/run/load", f"/run/at-{who}", f"/run/{names}", str(seconds), *arguments]

    def load(self, who: str, names: str, seconds: float, *arguments: str) -> dict:
        return json.loads(self.lab.out(*self.command(who, names, seconds, *arguments), timeout=seconds + 120))

    def quiet(self, seconds: float) -> dict:
        """Ask as a quiet sandbox, at a rate of its own, and return what became of it."""
        return self.load("quiet", "local", seconds, "rate", str(QUIET_RATE))

    def measure(self, names: str, seconds: float, *how: str) -> dict:
        assert self.lab.daemon is not None
        one = self.load("loud", names, min(seconds, 5), "window", "200", *how)
        sustainable = int(one["received"] / one["seconds"])
        alone = self.quiet(min(seconds, 20))
        before = resident_octets(self.lab.daemon.pid)
        # Over TCP nobody can send more than is read: a thousand are on their way all the time.
        amount = ("window", "1000") if "tcp" in how else ("flood", str(TIMES * sustainable))
        loud = self.lab.start(*self.command("loud", names, seconds + 2, *amount, *how))
        beside = self.quiet(seconds)
        flooded = json.loads(loud.communicate(timeout=seconds + 120)[0])
        grown = resident_octets(self.lab.daemon.pid) - before
        found = {
            "flood": " ".join((names, *how)), "sustainable": sustainable, "asked at": int(flooded["sent"] / flooded["seconds"]),
            "seconds": seconds, "quiet sent": beside["sent"], "quiet lost": beside["lost"], "quiet rcodes": beside["rcodes"],
            "p50 alone": alone["p50_us"], "p99 alone": alone["p99_us"], "p50": beside["p50_us"], "p99": beside["p99_us"],
            "max": beside["max_us"], "MB grown": round(grown / 1e6, 1), "load": os.getloadavg()[0],
        }  # fmt: skip
        print(json.dumps(found), flush=True)
        return found


def flood(seconds: float) -> list[dict]:
    with Lab() as lab, closing(AdminClient(lab)) as client:
        lab.start_daemon()
        world = Flood(lab, client)
        kinds = (("local",), ("local", "mixed"), ("outside",), ("local", "mixed", "tcp"))
        return [world.measure(names, seconds, *how) for names, *how in kinds]


def check(found: list[dict]) -> None:
    for one in found:
        # Whatever the flood is: each query is answered, and with the address.
        assert one["quiet lost"] == 0, one
        assert set(one["quiet rcodes"]) == {"0"}, one
        assert one["MB grown"] < 40, one


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_flood_of_a_second():
    check(flood(1))


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_a_flood_of_five_minutes():
    check(flood(float(os.environ.get("SECONDS", "300"))))
