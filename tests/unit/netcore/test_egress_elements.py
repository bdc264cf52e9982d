"""Which kernels give an element that is added again its new time; which marks of connections other rules have exchanged."""

import struct
from ipaddress import ip_address

import pytest

from netcore.desired.look_rules import FOLLOWED
from netcore.kernel.egress_elements import EgressElements, Move, _kernel_renews
from netcore.kernel.netlink import attr, find, nested

SOURCE, SERVER = ip_address("10.50.0.2"), ip_address("192.0.2.9")
BEFORE, AFTER = 0x8000_0007, 0x8000_0009
ZONE = 18


@pytest.mark.parametrize(
    ("release", "renews"),
    [("6.18.44-fc", True), ("6.12", True), ("6.12-rc1", True), ("6.11.9", False), ("5.15.0-91-generic", False), ("7", True), ("7.0", True),
     ("6", False), ("", False), ("custom", False), ("6.x", False)],
)  # fmt: skip
def test_kernels_that_renew(release, renews):
    assert _kernel_renews(release) is renews


def ends(source, source_port, target, target_port):
    ports = attr(1, b"\6") + attr(2, struct.pack("!H", source_port)) + attr(3, struct.pack("!H", target_port))
    return nested(1, attr(1, source.packed), attr(2, target.packed)) + nested(2, ports)


def listed(port, mark, zone=b""):
    """Return what a walk tells of a connection."""
    there, back = nested(1, ends(SOURCE, port, SERVER, 443)), nested(2, ends(SERVER, 443, SOURCE, port))
    return bytes(20) + there + back + attr(8, struct.pack("!I", mark)) + (attr(ZONE, zone) if zone else b"")


class Netlink:
    """Has connections, and notes which marks it is to change."""

    port = 0

    def __init__(self, *flows):
        self.flows, self.changes = flows, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def run_transaction(self, _begin, requests, _end):
        return [None] * len(requests)

    def dump(self, request):
        mark, mask = (int.from_bytes(find(request.body[4:], kind), "big") for kind in (8, 21))
        return [flow for flow in self.flows if int.from_bytes(find(flow[20:], 8), "big") & mask == mark]

    def run(self, requests):
        for request in requests:
            body = request.body[4:]
            port = int.from_bytes(find(body, 1, 2, 2), "big")
            self.changes.append((port, int.from_bytes(find(body, 8), "big"), find(body, 21), find(body, ZONE)))
        return [None] * len(requests)


def changed(*flows, may_go_on=True):
    netlink = Netlink(*flows)
    EgressElements(lambda: netlink).move_flows([Move((SOURCE,), BEFORE, AFTER, lambda _: may_go_on)])
    return netlink.changes


def test_a_mark_is_exchanged_for_the_one_that_was_listed():
    flows = listed(1, BEFORE), listed(2, FOLLOWED + 5), listed(3, BEFORE + 1), listed(4, BEFORE, b"\0\7")
    assert changed(*flows) == [(1, BEFORE ^ AFTER, bytes(4), None), (4, BEFORE ^ AFTER, bytes(4), b"\0\7")]
    assert changed(*flows, may_go_on=False) == [(2, FOLLOWED + 5, bytes(4), None)]


def test_what_a_walk_tells_of_twice_is_exchanged_once():
    """The kernel begins a row of its table anew where it had stopped at a connection that is gone."""
    flows = listed(1, BEFORE), listed(2, BEFORE), listed(1, BEFORE), listed(1, BEFORE, b"\0\7")
    assert [(port, zone) for port, _, _, zone in changed(*flows)] == [(1, None), (2, None), (1, b"\0\7")]
