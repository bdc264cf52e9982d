"""Networks of third-party plugins: what the plugin says decides."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest

from netcore import drivers
from netcore.desired.objects import Announcement, MovedLink
from netcore.drivers.facts import Facts, HostConstraints
from netcore.drivers.protocol import Hop, MacSource, NewNetwork
from netcore.model import Endpoint, PluginAnswer, PluginIpam, PluginOptions
from netcore.plan.known_networks import KnownNetworks
from tests.support.networks import bridge_network, pool

SAID = PluginOptions(plugin="weave", scope="global", no_gateway6=True)
NETWORK = replace(bridge_network("a", pool("10.1.0.0/24", "10.1.0.1")), driver="weave", driver_options=SAID)
DRIVER = drivers.of(NETWORK)
ENDPOINT = Endpoint(
    origin="api", network_id="a", sandbox_id="s", ifname="eth0", host_ifname="", mac="02:42:00:00:00:02",
    ipv4=ip_interface("10.1.0.2/24"), ipv6=None, answer=PluginAnswer(link="w0", gateway4=ip_address("10.1.0.9")),
)  # fmt: skip


def test_labels_of_every_driver_are_ours_and_others_are_the_plugins():
    assert DRIVER.read_options({"com.docker.network.driver.mtu": "1400", "mtu": "1", "x": "y"}) == {"com.docker.network.driver.mtu": "1400"}


def test_what_the_plugin_says_of_itself():
    host = HostConstraints(pools4=(), pools6=(), reserved=(), egress_mtu=1450, links={}, ipv6=True, now=0.0)
    configured = DRIVER.configure(NewNetwork(id="a", name="a", labels={}, internal=True), KnownNetworks(), host)
    assert (configured.options, configured.mtu, configured.internal) == (SAID, 1450, True)
    assert [DRIVER.wants_gateway(NETWORK, family) for family in (4, 6)] == [True, False]
    assert (DRIVER.scope(NETWORK), DRIVER.plugin(NETWORK), DRIVER.name) == ("global", "weave", "weave")
    local = replace(NETWORK, driver_options=replace(SAID, scope="local"))
    assert drivers.of(local).scope(local) == "local"


def test_its_link_is_moved_once_it_has_answered():
    facts = Facts(uplinks=())
    moved, *inside = DRIVER.endpoint_objects(NETWORK, ENDPOINT, facts)
    assert moved == MovedLink(sandbox_id="s", ifname="eth0", source="w0", mac="02:42:00:00:00:02")
    assert [thing for thing in inside if isinstance(thing, Announcement)]
    for answer in (None, PluginAnswer(link=None)):
        assert DRIVER.endpoint_objects(NETWORK, replace(ENDPOINT, answer=answer), facts) == ()
    assert DRIVER.network_objects(NETWORK, facts) == ()


@pytest.mark.parametrize(
    ("network", "endpoint", "hop"),
    [
        (NETWORK, ENDPOINT, Hop(ip_address("10.1.0.9"))),
        (NETWORK, replace(ENDPOINT, answer=None), None),
        (NETWORK, replace(ENDPOINT, answer=PluginAnswer(link="w0")), None),
        (replace(NETWORK, internal=True), ENDPOINT, None),
    ],
)
def test_the_default_route_is_the_one_that_the_plugin_answered(network, endpoint, hop):
    assert DRIVER.default_hop(network, endpoint, 4) == hop
    assert DRIVER.default_hop(network, endpoint, 6) is None


def test_the_mac_is_the_plugins_unless_an_ipam_plugin_must_know_it():
    assert DRIVER.mac_source(NETWORK) is MacSource.PLUGIN
    assert DRIVER.mac_source(replace(NETWORK, ipam=PluginIpam(plugin="w", space="s"))) is MacSource.PLUGIN
    assert DRIVER.mac_source(replace(NETWORK, ipam=PluginIpam(plugin="w", space="s", needs_mac=True))) is MacSource.ENDPOINT
