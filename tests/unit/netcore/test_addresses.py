"""IPv4-mapped addresses mean the IPv4 address, in every place that takes an address; a subnet of them is refused."""

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from netcore.desired.hostsfile import parse_extra_host
from netcore.drivers import bridge
from netcore.errors import InvalidRequest
from netcore.parse import addresses, options
from netcore.parse.ports import parse_port
from netcore.plan import ipam, routes
from netcore.plan.endpoint import parse_endpoint_address
from tests.support.networks import pool

FOUR, MAPPED = ip_address("10.1.2.3"), "::ffff:10.1.2.3"


@pytest.mark.parametrize(
    "read",
    [
        lambda: parse_port(f"[{MAPPED}]:8080:80").host_address,
        lambda: bridge.HOST_BINDING.of({bridge.HOST_BINDING.label: MAPPED}),
        lambda: bridge.HOST_IPV4.of({bridge.HOST_IPV4.label: MAPPED}),
        lambda: parse_endpoint_address(MAPPED, 4),
        lambda: options.parse_addresses("gateway", (MAPPED,))[0],
        lambda: parse_extra_host(f"x:{MAPPED}")[1],
        lambda: routes.parse((f"192.0.2.0/24={MAPPED}",), [pool("10.1.2.0/24")])[0].via,
    ],
    ids=["publish", "host_binding", "host_ipv4", "ip", "gateway", "add-host", "route"],
)
def test_mapped_address_is_the_ipv4_address(read):
    assert read() == FOUR


@pytest.mark.parametrize(
    "refused",
    [
        lambda: ipam.parse_subnet("subnet", "::ffff:10.1.2.0/120"),
        lambda: routes.parse(("::ffff:192.0.2.0/120=10.1.2.1",), [pool("10.1.2.0/24")]),
        lambda: bridge.HOST_IPV6.of({bridge.HOST_IPV6.label: MAPPED}),
    ],
    ids=["subnet", "route", "host_ipv6"],
)
def test_mapped_subnet_and_ipv6_only_places_refuse_it(refused):
    with pytest.raises(InvalidRequest, match=r"give the IPv4 subnet|must be an IPv6 address"):
        refused()


@pytest.mark.parametrize("text", ["10.1.2.3", "255.255.255.255", "0.0.0.0", "fd00::1", "::", "ffff::ffff"])
def test_what_is_made_of_an_address_is_what_its_text_would_be(text):
    address = ip_address(text)
    for length in (0, 8, address.max_prefixlen):
        made = addresses.with_prefix(address, length)
        assert (made, type(made), str(made)) == (wanted := ip_interface(f"{text}/{length}"), type(wanted), str(wanted))
    assert addresses.alone(address) == ip_network(text)
