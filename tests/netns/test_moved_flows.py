"""Other rules take up what names have opened: each connection that was judged gets its new mark, and none that took its place."""

import json
import sys

import pytest

from netcore.desired.look_rules import FOLLOWED, HELD, LAST_HELD
from tests.support.lab import Lab

BEFORE, AFTER, OTHER = 0x8000_0007, 0x8000_0009, 0x8000_0008
ENDS = {4: ("10.50.0.2", "192.0.2.9"), 6: ("fd50::2", "2001:db8::9")}

_SCRIPT = r"""
import json, subprocess, sys
from ipaddress import ip_address
from netcore.kernel.egress_elements import EgressElements, Move

source, server, moves, flows, denied, replaced = json.loads(sys.argv[1])
family = "ipv6" if ":" in source else "ipv4"
ends = f"-p tcp -s {source} -d {server} --dport 443 --sport"

def conntrack(arguments):
    return subprocess.run(["conntrack", *arguments.split()], capture_output=True, text=True, check=True).stdout

def begin(port, mark, zone=""):
    conntrack(f"-I {ends} {port} -t 600 --state ESTABLISHED -m {mark} {zone}")

for port, mark, zone in flows:
    begin(port, mark, f"--zone {zone}" if zone else "")

def may_go_on(flow):
    # All are listed by now; the client resets some and begins anew from the same port.
    if str(flow.source_port) in replaced:
        conntrack(f"-D {ends} {flow.source_port}")
        begin(flow.source_port, replaced[str(flow.source_port)])
    return flow.source_port not in denied

EgressElements().move_flows([Move((ip_address(one),), before, after, may_go_on) for one, before, after in moves])
listed = [line.split() for line in conntrack(f"-L -f {family} -s {source}").splitlines()]
fields = [dict(word.split("=") for word in reversed(line) if "=" in word) for line in listed]
print(json.dumps({one["sport"]: int(one["mark"]) for one in fields}))
"""


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        sets = "; ".join(f"add set inet berth egress_generations{family} {{ type ipv{family}_addr . mark; }}" for family in (4, 6))
        made.run("nft", f"add table inet berth; {sets}")
        yield made


@pytest.fixture(params=[4, 6])
def moved(request, lab):
    """Runs a move of the flows (port, mark, zone), some of which other ones replace (port → mark), and returns port → mark."""
    source, server = ENDS[request.param]

    def run(flows, denied=(), replaced=None, others=()):
        lab.run("conntrack", "-F")
        given = source, server, [(source, BEFORE, AFTER), *others], flows, denied, replaced or {}
        marks = json.loads(lab.out(sys.executable, "-c", _SCRIPT, json.dumps(given)))
        return {int(port): mark for port, mark in marks.items()}

    return run


@pytest.mark.parametrize("others", [(), (("10.50.0.77", OTHER, AFTER),)], ids=["one sandbox", "two"])
def test_what_was_judged_gets_its_new_mark(moved, others):
    flows = [(1, BEFORE, 0), (2, BEFORE, 0), (3, OTHER, 0), (4, FOLLOWED + 5, 0), (5, FOLLOWED + 6, 0), (6, HELD + 7, 0), (7, BEFORE, 7)]
    assert moved(flows, denied=(2, 5), others=others) == {
        1: AFTER, 2: BEFORE, 3: OTHER, 4: FOLLOWED + 5, 5: 0, 6: HELD + 7, 7: AFTER,
    }  # fmt: skip


def test_what_begins_anew_while_other_rules_are_taken_up_is_not_allowed(moved):
    """The kernel finds it by the ends that it has in common with the one that was judged."""
    marks = moved([(1, BEFORE, 0), (2, BEFORE, 0), (3, BEFORE, 0)], replaced={1: HELD + 5, 2: 0})
    assert HELD <= marks[1] <= LAST_HELD
    assert marks[2] not in (BEFORE, AFTER)
    assert marks[3] == AFTER


def test_what_begins_anew_in_the_place_of_what_is_followed_is_judged_itself(moved):
    flows = [(1, FOLLOWED + 5, 0), (2, FOLLOWED + 6, 0), (3, FOLLOWED + 7, 0)]
    marks = moved(flows, denied=(1, 2, 3), replaced={1: HELD + 8, 2: BEFORE})
    # Neither held nor allowed by any rules: what it sends next is judged.
    assert not HELD <= marks[1] <= LAST_HELD
    assert not {marks[1], marks[2]} & {BEFORE, AFTER}
    assert marks[3] == 0
