from dataclasses import replace
from ipaddress import ip_interface

import pytest

from netcore.errors import InvalidRequest
from netcore.model import Endpoint, Sandbox
from netcore.plan import routes
from tests.support.networks import bridge_network, pool

POOLS = (pool("10.1.0.0/24", "10.1.0.1"), pool("fd01::/64"))


def test_routes_are_read():
    first, second = routes.parse(["10.2.0.0/16=10.1.0.9", "fd02::/64 = fd01::9"], POOLS)
    assert (str(first.destination), str(first.via)) == ("10.2.0.0/16", "10.1.0.9")
    assert (str(second.destination), str(second.via)) == ("fd02::/64", "fd01::9")


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (["10.2.0.0/16"], "it should be DESTINATION=VIA"),
        (["10.2.0.1/16=10.1.0.9"], "has host bits set"),
        (["x=10.1.0.9"], "it should be"),
        (["10.2.0.0/16=fd01::9"], "different families"),
        (["0.0.0.0/0=10.1.0.9"], "default route"),
        (["10.2.0.0/16=10.9.0.9"], "is not on the network"),
        (["10.1.0.128/25=10.1.0.9"], "on the network itself"),
        (["10.2.0.0/16=10.1.0.9", "10.2.0.0/16=10.1.0.8"], "given twice"),
    ],
)
def test_wrong_routes_are_named(texts, reason):
    with pytest.raises(InvalidRequest, match=reason):
        routes.parse(texts, POOLS)


def network(name, third, *texts):
    only = pool(f"10.{third}.0.0/24", f"10.{third}.0.1")
    return bridge_network(name, only, routes=routes.parse(texts, [only]))


NETWORKS = {"a": network("a", 1, "10.50.0.0/16=10.1.0.9", "10.60.0.0/16=10.1.0.9"), "b": network("b", 2, "10.50.0.0/16=10.2.0.9")}
SANDBOX = Sandbox(id="s", name="s", hostname="s", netns_path="/x", boot_id="")


def endpoint(name, third, last=2, priority=0, *texts):
    return Endpoint(
        origin="api", network_id=name, sandbox_id="s", ifname=f"eth{third}", host_ifname="v", mac="02:42:00:00:00:02", ipv6=None,
        ipv4=ip_interface(f"10.{third}.0.{last}/24"), gateway_priority=priority, routes=routes.parse(texts, NETWORKS[name].pools),
    )  # fmt: skip


def told(*endpoints):
    return [(str(item.destination), str(item.gateway), item.ifname) for item in routes.of_sandbox(SANDBOX, endpoints, NETWORKS)]


def test_each_destination_has_one_way_in_gateway_order():
    assert told(endpoint("a", 1), endpoint("b", 2)) == [("10.50.0.0/16", "10.1.0.9", "eth1"), ("10.60.0.0/16", "10.1.0.9", "eth1")]
    assert told(endpoint("a", 1), endpoint("b", 2, 2, 5))[0] == ("10.50.0.0/16", "10.2.0.9", "eth2")


def test_an_endpoints_own_route_comes_before_its_networks():
    own = endpoint("a", 1, 2, 0, "10.50.0.0/16=10.1.0.7")
    assert told(own) == [("10.50.0.0/16", "10.1.0.7", "eth1"), ("10.60.0.0/16", "10.1.0.9", "eth1")]


def test_the_next_hop_has_no_route_over_itself():
    assert told(endpoint("a", 1, 9)) == []
    assert told(replace(endpoint("a", 1, 9), network_id="a"), endpoint("b", 2)) == [("10.50.0.0/16", "10.2.0.9", "eth2")]
