"""Whether a network of the last run can be made again: links that are gone or others', subnets and names that are taken."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from netcore.drivers.facts import Facts
from netcore.drivers.host_routes import HostRoutes
from netcore.drivers.macvlan import MacvlanDriver
from netcore.model import MadeLink, Network
from netcore.plan.restorable import clashes, why_not
from tests.support.networks import bridge_network, pool

FACTS = Facts(uplinks=("eth0",))
FRONT = bridge_network("front", pool("10.5.0.0/24", "10.5.0.1"))
BRIDGE = FRONT.bridge.bridge_name


def on_parent(**options):
    parsed = replace(MacvlanDriver().parse_options("lan", {"parent": "eth1"}), **options)
    return Network(id="lan", name="lan", driver="macvlan", common=FRONT.common, driver_options=parsed, pools=())


def why(network, aliases, routes=HostRoutes()):  # noqa: B008 (frozen)
    return why_not(network, FACTS, routes, aliases)


def test_a_bridge_that_is_gone_is_made_again_and_ours_is_taken_as_it_is():
    assert why(FRONT, {}) is None
    assert why(FRONT, {BRIDGE: f"berth:{FRONT.id}"}) is None


@pytest.mark.parametrize("alias", ["", "berth:other"])
def test_a_link_of_somebody_else_with_its_name_is_left_alone(alias):
    assert f"link {BRIDGE} that is not the network's own" in why(FRONT, {BRIDGE: alias})


def test_a_subnet_that_the_host_has_now_is_left_to_it_unless_the_bridge_stands():
    routes = HostRoutes(own=((ip_address("10.5.0.77"), "eth0"),))
    assert "10.5.0.77" in why(FRONT, {}, routes)
    assert why(FRONT, {BRIDGE: f"berth:{FRONT.id}"}, routes) is None


def test_a_bridge_or_parent_of_the_host_that_is_gone_is_named():
    reused = replace(FRONT, driver_options=replace(FRONT.bridge, reuse_bridge=True))
    assert f"bridge {BRIDGE} that it uses is gone" in why(reused, {})
    assert why(reused, {BRIDGE: ""}) is None
    assert why(on_parent(), {"eth0": ""}) == "its parent link eth1 is gone"
    assert why(on_parent(), {"eth1": ""}) is None
    vlan = on_parent(parent="eth1.5", makes=MadeLink.VLAN, base="eth1", vid=5)
    assert why(vlan, {}) == "its parent link eth1 is gone"
    assert why(vlan, {"eth1": ""}) is None


def test_a_name_or_subnet_that_another_network_has_meanwhile_is_named():
    assert clashes(FRONT, []) is None
    assert "has its name now" in clashes(FRONT, [bridge_network("front", identity="other")])
    other = bridge_network("back", pool("10.5.0.0/16", "10.5.0.1"))
    assert "network back has 10.5.0.0/16 now" in clashes(FRONT, [other])
    assert clashes(on_parent(), [on_parent()]) == "network lan has its name now"
    assert ip_network("10.5.0.0/24").subnet_of(ip_network("10.5.0.0/16"))
