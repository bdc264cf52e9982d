"""Which pools a network has: by request, by driver, and beside those that exist."""

from ipaddress import collapse_addresses, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore import drivers
from netcore.drivers.facts import HostConstraints
from netcore.errors import Conflict, InvalidRequest
from netcore.model import NetworkRequest
from netcore.plan import pools
from netcore.plan.known_networks import KnownNetworks
from netcore.plan.taken_subnets import TakenSubnets, ranges
from tests.support.networks import bridge_network, parent_network, pool

HOST = HostConstraints(
    pools4=((ip_network("10.0.0.0/16"), 24),), pools6=((ip_network("fd00::/48"), 64),), reserved=(ip_network("10.0.0.0/24"),),
    egress_mtu=1500, links={}, ipv6=True, now=0.0,
)  # fmt: skip
EXISTING = KnownNetworks([bridge_network("old", pool("10.0.1.0/24", "10.0.1.1"))])
BRIDGE, PARENT = bridge_network("new"), parent_network("lan", "macvlan", given={"parent": "eth0"})


def request(**more):
    return NetworkRequest(name="new", **more)


def plan(network=BRIDGE, **more):
    asked = pools.pool_requests(request(**more), network)
    return pools.plan_pools(asked, network, EXISTING, HOST)


def test_a_free_subnet_with_a_gateway_where_nothing_is_said():
    (made,) = plan()
    assert (str(made.subnet), str(made.gateway)) == ("10.0.2.0/24", "10.0.2.1")
    assert plan(PARENT)[0].gateway is None
    (any_of_size,) = pools.pool_requests(request(subnets=("0.0.0.0/20",)), BRIDGE)
    assert (any_of_size.prefix_length, any_of_size.exact_pool()) == (20, None)
    assert plan(subnets=("0.0.0.0/28",))[0].subnet.prefixlen == 28


def test_what_is_said_of_a_pool():
    (asked,) = pools.pool_requests(
        request(subnets=("10.9.0.0/24",), gateways=("10.9.0.254",), ip_ranges=("10.9.0.0/25",), auxiliary=(("router", "10.9.0.9"),)), BRIDGE
    )
    exact = asked.exact_pool()
    assert (str(exact.subnet), str(exact.gateway), str(exact.ip_range)) == ("10.9.0.0/24", "10.9.0.254", "10.9.0.0/25")
    assert exact.auxiliary == (("router", exact.subnet[9]),)
    made = plan(PARENT, subnets=("10.8.0.0/24", "10.9.0.0/24"), gateways=("10.9.0.1",))
    assert [made_pool.gateway and str(made_pool.gateway) for made_pool in made] == [None, "10.9.0.1"]


def test_a_small_internal_subnet_has_no_gateway():
    internal = bridge_network("new", internal=True)
    assert plan(internal, subnets=("10.9.0.0/31",))[0].gateway is None
    assert str(plan(internal, subnets=("10.9.0.0/30",))[0].gateway) == "10.9.0.1"


@pytest.mark.parametrize(
    ("network", "more", "message"),
    [
        (BRIDGE, {"subnets": ("fd09::/64",)}, "invalid subnet: fd09::/64 needs IPv6, which is off for this network; add --ipv6"),
        (BRIDGE, {"subnets": ("10.8.0.0/24", "10.9.0.0/24")}, "invalid subnet: 10.9.0.0/24: bridge driver doesn't support multiple subnets of one family"),
        (BRIDGE, {"gateways": ("x",)}, "invalid gateway: 'x': must be an IP address"),
        (BRIDGE, {"gateways": ("10.9.0.1",)}, "invalid gateway: 10.9.0.1 needs a --subnet of its family that contains it"),
        (BRIDGE, {"subnets": ("10.9.0.0/24",), "gateways": ("10.9.0.1", "10.9.0.2")}, "invalid gateway: 10.9.0.2: subnet 10.9.0.0/24 has 10.9.0.1 already"),
        (BRIDGE, {"subnets": ("10.9.0.0/24",), "ip_ranges": ("10.9.0.0/25", "10.9.0.128/25")}, "invalid ip-range: 10.9.0.128/25: subnet 10.9.0.0/24 has 10.9.0.0/25 already"),
        (BRIDGE, {"subnets": ("10.9.0.0/24",), "gateways": ("10.8.0.1",)}, "invalid gateway 10.8.0.1: parent subnet 10.9.0.0/24 doesn't contain this address"),
        (PARENT, {"subnets": ("10.8.0.0/24", "10.9.0.0/24"), "gateways": ("10.7.0.1",)}, "invalid network config: no matching subnet for gateway 10.7.0.1; there are 10.8.0.0/24, 10.9.0.0/24"),
        (BRIDGE, {"subnets": ("10.9.0.1/24",)}, "invalid subnet 10.9.0.1/24: it should be 10.9.0.0/24"),
    ],
)  # fmt: skip
def test_refusals(network, more, message):
    with pytest.raises(InvalidRequest) as caught:
        pools.pool_requests(request(**more), network)
    assert str(caught.value) == message


def test_overlaps():
    with pytest.raises(Conflict) as caught:
        plan(subnets=("10.0.0.0/16",))
    assert (
        str(caught.value) == "subnet 10.0.0.0/16: Pool overlaps with other one on this address space (10.0.1.0/24); choose another subnet"
    )
    shared = parent_network("old", "ipvlan", pool("10.9.0.0/24", ip_range=ip_network("10.9.0.0/25")), given={"parent": "eth1"})
    subnet, upper = ip_network("10.9.0.0/24"), ip_network("10.9.0.128/25")
    pools.check_overlap(subnet, upper, drivers.of(PARENT), KnownNetworks([shared]), ())
    for network, ip_range in ((PARENT, shared.pools[0].ip_range), (BRIDGE, upper)):
        with pytest.raises(Conflict, match="Pool overlaps"):
            pools.check_overlap(subnet, ip_range, drivers.of(network), KnownNetworks([shared]), ())
    # Two pools of one network never share a subnet.
    with pytest.raises(Conflict, match="Pool overlaps"):
        pools.check_overlap(subnet, upper, drivers.of(PARENT), KnownNetworks(), shared.pools)


SUBNETS = ["10.0.0.0/8", "10.0.0.0/16", "10.1.0.0/16", "10.1.0.0/24", "11.0.0.0/8", "fd00::/64", "fd00:0:0:1::/64"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sets(st.sampled_from(SUBNETS)), st.booleans())))
def test_taken_subnets_are_known_whatever_came_and_went(actions):
    taken, known = TakenSubnets(), {}
    for name, texts, goes in actions:
        subnets = [ip_network(text) for text in texts]
        if goes:
            taken.drop(name)
            known.pop(name, None)
        else:
            taken.put(name, subnets)
            known[name] = subnets
        everything = [subnet for subnets in known.values() for subnet in subnets]
        for version in (4, 6):
            one_family = [subnet for subnet in everything if subnet.version == version]
            collapsed = []
            for first, last in ranges(collapse_addresses(one_family)):
                # What follows without a gap is one, also where no single subnet is both.
                begun = collapsed.pop()[0] if collapsed and collapsed[-1][1] + 1 == first else first
                collapsed.append((begun, last))
            assert [*taken.runs(version)] == collapsed
        for text in SUBNETS:
            asked = ip_network(text)
            overlapping = {
                name for name, subnets in known.items() for one in subnets if one.version == asked.version and one.overlaps(asked)
            }
            assert sorted(taken.overlapping(asked)) == sorted(overlapping)
