"""What networks need of the links that traffic leaves by, and when a sysctl is no longer berth's."""

from dataclasses import replace

import pytest

from netcore.desired import firewall
from netcore.desired.objects import HOST, Element, Sysctl
from netcore.drivers import uplinks
from netcore.drivers.facts import Facts
from netcore.drivers.uplinks import SwitchedSysctl
from tests.support.networks import bridge_network, pool

V4 = bridge_network("v4", pool("10.0.0.0/24", "10.0.0.1"))
V6 = replace(bridge_network("v6", pool("fd00::/64", "fd00::1")), ipv4=False)
UP4, UP6 = "net/ipv4/conf/up0/forwarding", "net/ipv6/conf/up0/force_forwarding"
OFF = {uplinks.ALL4: "0", uplinks.ALL6: "0", UP4: "0", UP6: "0"}
FACTS = Facts(uplinks=("up0",), sysctls=OFF)


def on(path, value="1", original="0", **more):
    return Sysctl(sandbox_id=HOST, path=path, value=value, original=original, **{"optional": True, **more})


def closed(family, name="up0"):
    return Element(set=firewall.CLOSED[family], fields=(name,))


@pytest.mark.parametrize(
    ("networks", "facts", "switched", "wanted"),
    [
        ((), FACTS, (), ()),
        ((V4,), FACTS, (), (closed(4), on(UP4))),
        ((V6,), FACTS, (), (closed(6), on(UP6))),
        ((V4, V6), FACTS, (), (closed(4), on(UP4), closed(6), on(UP6))),
        ((V4,), replace(FACTS, firewall=False), (), (on(UP4),)),
        ((V4, V6), replace(FACTS, of_one_family={"up0": 6}), (), (closed(6), on(UP6))),
        ((V6,), replace(FACTS, ipv6=False), (), ()),
        # On already, and not by us: nothing is put back, nobody is kept out.
        ((V4,), replace(FACTS, sysctls=OFF | {UP4: "1"}), (), (on(UP4, original=None),)),
        ((V6,), replace(FACTS, sysctls=OFF | {UP6: "1"}), (), (on(UP6, original=None),)),
        ((V6,), replace(FACTS, sysctls=OFF | {uplinks.ALL6: "1"}), (), (on(uplinks.ALL6, original=None, optional=False),)),
        # On by us.
        ((V4,), replace(FACTS, sysctls=OFF | {UP4: "1"}), (UP4,), (closed(4), on(UP4))),
    ],
)
def test_forwarding_on_uplinks(networks, facts, switched, wanted):
    records = {path: SwitchedSysctl(path=path, value="1", original="0", everywhere="0") for path in switched}
    assert uplinks.objects(networks, facts, records) == wanted


OLD = replace(FACTS, force_forwarding=False, sysctls=OFF | {"net/ipv6/conf/up0/accept_ra": "1"})


def test_before_linux_6_17_ipv6_forwards_for_all_links_and_the_guard_is_for_all():
    guard = Element(set=firewall.CLOSED_FAMILIES, fields=("ipv6",))
    ra = on("net/ipv6/conf/up0/accept_ra", value="2", original="1")
    everything = on(uplinks.ALL6, optional=False)
    assert uplinks.objects([V6], OLD, {}) == (ra, guard, everything)
    # As it is once that has been done.
    done = replace(OLD, sysctls=OFF | {"net/ipv6/conf/up0/accept_ra": "2", uplinks.ALL6: "1"})
    records = {path: SwitchedSysctl(path=path, value=value, original=original) for path, value, original in
               ((uplinks.ALL6, "1", "0"), ("net/ipv6/conf/up0/accept_ra", "2", "1"))}  # fmt: skip
    assert uplinks.objects([V6], done, records) == (ra, guard, everything)
    # Advertisements that are not listened to anyway stay so.
    assert uplinks.objects([V6], replace(OLD, sysctls=OFF, firewall=False), {}) == (everything,)
    assert uplinks.taken_over(done, records) == []


@pytest.mark.parametrize(
    ("everywhere_then", "everywhere_now", "is_taken"),
    [("0", "0", False), ("0", "1", True), ("1", "1", False), (None, "1", False)],
)
def test_sysctl_is_no_longer_ours_when_somebody_makes_the_host_a_router(everywhere_then, everywhere_now, is_taken):
    for path, whole in ((UP4, uplinks.ALL4), (UP6, uplinks.ALL6)):
        record = SwitchedSysctl(path=path, value="1", original="0", everywhere=everywhere_then)
        facts = replace(FACTS, sysctls=OFF | {whole: everywhere_now})
        assert bool(uplinks.taken_over(facts, {path: record})) is is_taken


def test_paths_that_facts_need():
    assert uplinks.sysctl_paths(["up0"], force_forwarding=True) == [uplinks.ALL4, uplinks.ALL6, UP4, UP6]
    assert uplinks.sysctl_paths(["up0"], force_forwarding=False) == [uplinks.ALL4, uplinks.ALL6, UP4, "net/ipv6/conf/up0/accept_ra"]
    assert uplinks.everywhere("net/ipv6/conf/up0/accept_ra") is None
