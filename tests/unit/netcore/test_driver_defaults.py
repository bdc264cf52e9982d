"""What a driver answers that says nothing itself."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface

from netcore.desired.objects import DummyLink
from netcore.drivers.defaults import DriverDefaults
from netcore.drivers.facts import Facts
from netcore.drivers.protocol import Hop, MacSource
from netcore.model import Endpoint, EndpointRequest
from tests.support.networks import bridge_network, pool

FACTS = Facts(uplinks=())
NETWORK = bridge_network("a", pool("10.1.0.0/24", "10.1.0.1"), pool("fd01::/64"))
ENDPOINT = Endpoint(
    origin="api", network_id="a", sandbox_id="s", ifname="eth0", host_ifname="", mac="02:42:00:00:00:02",
    ipv4=ip_interface("10.1.0.2/24"), ipv6=ip_interface("fd01::2/64"),
)  # fmt: skip


class Plain(DriverDefaults):
    name = "plain"


class Sharing(Plain):
    shares_objects = True

    def network_objects(self, network, facts, remotes=()):
        return (DummyLink(name="shared", mtu=1500, tag="x"), DummyLink(name=network.name, mtu=1500, tag="x"))


def test_nothing_exists_and_nothing_is_published():
    driver = Plain()
    assert driver.link_kinds(NETWORK) == driver.host_addresses(NETWORK) == ()
    assert (
        driver.network_objects(NETWORK, FACTS) == driver.exclusive_objects(NETWORK, [], FACTS) == driver.remote_objects(NETWORK, []) == ()
    )
    assert driver.host_link(NETWORK) is driver.publishing(NETWORK, 4) is driver.plugin(NETWORK) is None
    assert driver.check_endpoint(NETWORK, EndpointRequest(network="a"), 0) is None
    assert (driver.scope(NETWORK), driver.mac_source(NETWORK), driver.wants_gateway(NETWORK, 4)) == ("local", MacSource.ENDPOINT, True)
    assert (driver.several_subnets, driver.shares_subnets, driver.has_host_veth) == (False, False, False)


def test_the_default_route_leads_to_the_gateway_of_the_pool():
    driver = Plain()
    assert driver.default_hop(NETWORK, ENDPOINT, 4) == Hop(ip_address("10.1.0.1"))
    assert driver.default_hop(NETWORK, ENDPOINT, 6) is None
    assert driver.default_hop(NETWORK, replace(ENDPOINT, ipv4=None), 4) is None
    assert driver.default_hop(replace(NETWORK, internal=True), ENDPOINT, 4) is None
    assert [driver.may_lead_outside(NETWORK, ENDPOINT, family) for family in (4, 6)] == [True, False]


def test_what_networks_share_goes_with_the_last_of_them():
    a, b = replace(NETWORK, driver="sharing"), replace(NETWORK, id="b", name="b", driver="sharing")
    assert [link.name for link in Sharing().exclusive_objects(a, [a, b], FACTS)] == ["a"]
    assert [link.name for link in Sharing().exclusive_objects(a, [a, replace(b, driver="other")], FACTS)] == ["shared", "a"]
