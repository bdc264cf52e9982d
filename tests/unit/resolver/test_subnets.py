from ipaddress import ip_network

from resolver.zone.subnets import Subnets

WIDE, NARROW, IPV6 = map(ip_network, ("10.1.0.0/16", "10.2.3.0/24", "fd01::/64"))


def test_what_contains_a_network():
    subnets = Subnets([WIDE, NARROW, IPV6])
    assert subnets.containing(ip_network("10.1.2.3/32")) == WIDE
    assert subnets.containing(ip_network("10.1.0.0/16")) == WIDE
    assert subnets.containing(ip_network("10.2.3.0/25")) == NARROW
    assert subnets.containing(ip_network("fd01::5/128")) == IPV6
    for other in ("10.0.0.0/8", "10.2.4.0/24", "fd02::5/128", "0.0.0.1/32"):
        assert subnets.containing(ip_network(other)) is None


def test_one_that_two_networks_have_goes_with_the_second_of_them():
    subnets = Subnets([WIDE, WIDE, NARROW])
    subnets.discard(WIDE)
    assert subnets.containing(WIDE) == WIDE
    subnets.discard(WIDE)
    assert subnets.containing(WIDE) is None
    assert subnets.containing(NARROW) == NARROW
