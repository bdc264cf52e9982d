from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore import limits
from netcore.drivers.host_routes import Avoided
from netcore.errors import Conflict, Exhausted, InvalidRequest
from netcore.model import Pool
from netcore.plan import ipam
from netcore.plan.taken_subnets import TakenSubnets


def pool(subnet, **more):
    return ipam.AddressPool(Pool(subnet=ip_network(subnet), **more), "net")


def test_dynamic_allocation_is_lowest_free_and_skips_network_gateway_and_auxiliary():
    addresses = pool("10.0.0.0/29", gateway=ip_address("10.0.0.1"), auxiliary=(("router", ip_address("10.0.0.3")),))
    assert [str(addresses.allocate(0)) for _ in range(4)] == ["10.0.0.2", "10.0.0.4", "10.0.0.5", "10.0.0.6"]
    with pytest.raises(Exhausted, match="no available IPv4 addresses"):
        addresses.allocate(0)


def test_both_addresses_of_a_31_are_usable():
    addresses = pool("10.0.0.0/31")
    assert {str(addresses.allocate(0)) for _ in range(2)} == {"10.0.0.0", "10.0.0.1"}


def test_first_and_last_of_a_range_inside_the_subnet_are_usable():
    addresses = pool("172.28.0.0/16", ip_range=ip_network("172.28.30.0/30"))
    assert [str(addresses.allocate(0)) for _ in range(4)] == ["172.28.30.0", "172.28.30.1", "172.28.30.2", "172.28.30.3"]


def test_released_address_rests_unless_there_is_no_other():
    addresses = pool("10.0.0.0/29", gateway=ip_address("10.0.0.1"))
    first = addresses.allocate(0)
    addresses.release(first, 10)
    assert str(addresses.allocate(11)) == "10.0.0.3"
    assert addresses.allocate(10 + limits.ADDRESS_QUARANTINE) == first
    for _ in range(3):
        addresses.allocate(50)
    last = IPv4Address("10.0.0.6")
    addresses.release(last, 50)
    assert addresses.allocate(51) == last


def test_release_twice_is_no_error_and_gives_the_address_once():
    addresses = pool("10.0.0.0/30")
    first = addresses.allocate(0)
    addresses.release(first, 0)
    addresses.release(first, 0)
    got = [addresses.allocate(100), addresses.allocate(100)]
    assert len(set(got)) == 2


def test_address_given_back_is_free_at_once():
    addresses = pool("10.0.0.0/24")
    first = addresses.allocate(0)
    addresses.give_back(first)
    assert addresses.allocate(0) == first


def test_chosen_address_outside_range_is_allowed_outside_subnet_is_not():
    addresses = pool("10.0.0.0/24", ip_range=ip_network("10.0.0.128/25"))
    addresses.reserve(ip_address("10.0.0.5"), field="ip")
    with pytest.raises(Conflict, match="already in use"):
        addresses.reserve(ip_address("10.0.0.5"), field="ip")
    with pytest.raises(InvalidRequest, match=r"no configured subnet contains IP address 10\.1\.0\.1"):
        addresses.reserve(ip_address("10.1.0.1"), field="ip")
    with pytest.raises(InvalidRequest, match="broadcast"):
        addresses.reserve(ip_address("10.0.0.255"), field="ip")


def test_ipv6_router_anycast_address_is_never_handed_out():
    assert pool("fd00::/64").allocate(0) == IPv6Address("fd00::1")


@given(st.lists(st.sampled_from(["allocate", "release"]), max_size=60), st.integers(26, 30))
def test_no_address_is_held_twice(actions, length):
    addresses = pool(f"10.0.0.0/{length}")
    held, now = [], 0.0
    for action in actions:
        now += 7
        if action == "allocate":
            try:
                got = addresses.allocate(now)
            except Exhausted:
                assert len(held) == 2 ** (32 - length) - 2
                continue
            assert got not in held
            assert got in ip_network(f"10.0.0.0/{length}")
            held.append(got)
        elif held:
            addresses.release(held.pop(0), now)


def test_subnet_is_first_that_overlaps_nothing():
    taken = [ip_network("172.17.0.0/16"), ip_network("172.18.5.0/24")]
    assert ipam.choose_subnet(ipam.DEFAULT_POOLS4, taken) == ip_network("172.19.0.0/16")


@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(20, 32))),
    st.lists(st.tuples(st.integers(0, 255), st.integers(20, 32))),
    st.integers(24, 30),
)
def test_subnet_is_the_first_of_all_that_overlap_nothing(taken, refused, length):
    block = ip_network("10.9.0.0/24")
    taken, refused = ([ip_network(f"10.9.0.{last}/{size}", strict=False) for last, size in drawn] for drawn in (taken, refused))
    avoided = Avoided(refused=tuple(refused))
    away = [*taken, *(subnet for subnet in refused if subnet.prefixlen >= length)]
    free = [subnet for subnet in block.subnets(new_prefix=length) if not any(subnet.overlaps(other) for other in away)]
    best = [subnet for subnet in free if not any(subnet.overlaps(other) for other in refused)] or free
    if best:
        assert ipam.choose_subnet([(block, length)], taken, avoided=avoided) == best[0]
    else:
        with pytest.raises(Exhausted):
            ipam.choose_subnet([(block, length)], taken, avoided=avoided)


def test_each_subnet_that_is_taken_is_looked_at_once():
    looks = []

    class Counted(IPv4Network):
        @property
        def broadcast_address(self):
            looks.append(self)
            return super().broadcast_address

    taken = [Counted((int(subnet.network_address), 24)) for subnet in ip_network("10.9.0.0/16").subnets(new_prefix=24)]
    assert ipam.choose_subnet([(ip_network("10.0.0.0/8"), 24)], [*taken, ip_network("10.0.0.0/13")]) == ip_network("10.8.0.0/24")
    assert ipam.choose_subnet([(ip_network("10.9.0.0/16"), 24), (ip_network("10.10.0.0/16"), 24)], taken) == ip_network("10.10.0.0/24")
    assert len(looks) == 2 * len(taken)
    known = TakenSubnets()
    for number, subnet in enumerate(taken):
        known.put(str(number), [subnet])
    looks.clear()
    assert ipam.choose_subnet([(ip_network("10.8.0.0/15"), 24)], [], of_networks=known) == ip_network("10.8.0.0/24")
    assert looks == []


def test_all_pools_used_up_is_said():
    with pytest.raises(Exhausted, match="fully subnetted"):
        ipam.choose_subnet([(ip_network("10.0.0.0/24"), 25)], [ip_network("10.0.0.0/8")])


def test_any_pool_of_a_size():
    assert ipam.choose_subnet([(ip_network("10.0.0.0/16"), 24)], [], prefix_length=20) == ip_network("10.0.0.0/20")
    with pytest.raises(InvalidRequest):
        ipam.choose_subnet([(ip_network("10.0.0.0/16"), 24)], [], prefix_length=8)


def test_host_bits_are_refused_with_the_right_subnet():
    with pytest.raises(InvalidRequest, match=r"it should be 10\.0\.0\.0/8"):
        ipam.parse_subnet("subnet", "10.10.10.0/8")


def test_every_problem_of_a_pool_is_named():
    problems = ipam.validate_pool(
        ip_network("10.0.0.0/24"), ip_network("10.0.0.0/16"), ip_address("10.1.0.1"), [("x", ip_address("11.0.0.1"))]
    )
    assert len(problems) == 3
    assert "bigger than its parent" in problems[0][1]


def test_ula_pool_is_stable_and_a_48_of_64s():
    block, size = ipam.ula_pool("host")
    assert (block, size) == ipam.ula_pool("host")
    assert str(block).startswith("fd")
    assert (block.prefixlen, size) == (48, 64)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "invalid subnet: 'x' is not a subnet like 10.10.0.0/16"),
        ("10.0.0.0", "invalid subnet: '10.0.0.0' has no prefix length, as in 10.0.0.0/24"),
        ("10.10.10.0/8", "invalid subnet 10.10.10.0/8: it should be 10.0.0.0/8"),
    ],
)
def test_a_subnet_is_refused_once(text, message):
    with pytest.raises(InvalidRequest) as caught:
        ipam.parse_subnet("subnet", text)
    assert str(caught.value) == message
    assert ipam.parse_subnet("subnet", "fd00::/64") == ip_network("fd00::/64")


@pytest.mark.parametrize(
    ("subnet", "ip_range", "problem"),
    [
        ("ff00::/64", None, ("subnet ff00::/64", "multicast subnets can't be used")),
        ("fe80::/60", None, ("subnet fe80::/60", "a subnet overlapping fe80::/64 must be fe80::/64 itself")),
        ("10.0.0.0/24", "fd00::/64", ("ip-range fd00::/64", "parent subnet is an IPv4 block")),
        ("10.0.0.0/24", "10.1.0.0/25", ("ip-range 10.1.0.0/25", "parent subnet 10.0.0.0/24 doesn't contain ip-range")),
    ],
)
def test_problems_of_pools(subnet, ip_range, problem):
    assert ipam.validate_pool(ip_network(subnet), ip_network(ip_range) if ip_range else None, None, ()) == [problem]
    assert ipam.validate_pool(ip_network("fe80::/64"), None, None, ()) == []


def test_pools_on_one_subnet_share_what_is_taken_and_give_back_their_own():
    taken = set()
    gateway = ip_address("10.0.0.1")
    first = ipam.AddressPool(Pool(subnet=ip_network("10.0.0.0/29"), gateway=gateway), "a", taken)
    second = ipam.AddressPool(Pool(subnet=ip_network("10.0.0.0/29"), gateway=gateway), "b", taken)
    assert [str(first.allocate(0)), str(second.allocate(0))] == ["10.0.0.2", "10.0.0.3"]
    with pytest.raises(Conflict, match=r"^ip 10\.0\.0\.3: address already in use on network a$"):
        first.reserve(ip_address("10.0.0.3"), field="ip")
    # What the other pool has is not ours to give.
    first.release(ip_address("10.0.0.3"), 0)
    assert (first.in_use(), second.in_use()) == (2, 1)
    first.close()
    assert taken == {int(ip_address("10.0.0.3"))}


def test_quarantine_goes_on_after_a_restart():
    addresses, restored = pool("10.0.0.0/29"), pool("10.0.0.0/29")
    address = addresses.allocate(0)
    addresses.release(address, 5)
    restored.quarantine(address, 5 + limits.ADDRESS_QUARANTINE)
    restored.quarantine(ip_address("10.9.0.1"), 99)
    for made in (addresses, restored):
        assert [str(made.allocate(6)), str(made.allocate(4.9 + limits.ADDRESS_QUARANTINE))] == ["10.0.0.2", "10.0.0.3"]
        assert made.allocate(5 + limits.ADDRESS_QUARANTINE) == address


def test_an_address_that_was_asked_for_while_it_rested_rests_again_from_its_end():
    addresses = pool("10.0.0.0/29")
    address = addresses.allocate(0)
    addresses.release(address, 5)
    addresses.reserve(address, field="ip")
    addresses.release(address, 20)
    # The first rest is over, the second is not.
    assert str(addresses.allocate(6 + limits.ADDRESS_QUARANTINE)) == "10.0.0.2"
    assert addresses.allocate(20 + limits.ADDRESS_QUARANTINE) == address


def test_the_gateway_is_the_lowest_free_address():
    assert str(ipam.default_gateway(ip_network("10.0.0.0/24"), None, [("x", ip_address("10.0.0.1"))])) == "10.0.0.2"
    assert str(ipam.default_gateway(ip_network("10.0.0.0/24"), ip_network("10.0.0.128/25"), ())) == "10.0.0.128"


def test_an_address_is_fresh_if_nobody_had_it_before():
    made = ipam.AddressPool(Pool(subnet=ip_network("10.0.0.0/24"), gateway=ip_address("10.0.0.1")), "net", is_new=True)
    first = made.allocate(0)
    made.reserve(ip_address("10.0.0.9"), field="ip")
    assert made.is_fresh(first)
    assert made.is_fresh(ip_address("10.0.0.9"))
    for address in (first, ip_address("10.0.0.9")):
        made.release(address, 0)
        assert not made.is_fresh(address)
        made.reserve(address, field="ip")
        assert not made.is_fresh(address)
    given_back = made.allocate(0)
    made.give_back(given_back)
    assert made.allocate(0) == given_back
    assert not made.is_fresh(given_back)


def test_of_a_pool_of_an_earlier_daemon_nothing_is_known_to_be_fresh():
    made = pool("10.0.0.0/24")
    made.reserve(ip_address("10.0.0.9"), field="ip")
    assert not made.is_fresh(made.allocate(0))
    assert not made.is_fresh(ip_address("10.0.0.9"))
