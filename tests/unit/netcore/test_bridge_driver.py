"""The bridge driver: what a request means, and what must exist on the host."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest

from netcore import drivers
from netcore.desired.objects import HOST, Address, Bridge, Element, Hairpin, Neighbor, Sysctl, Veth
from netcore.drivers.facts import ExistingLink, Facts, HostConstraints
from netcore.drivers.protocol import AttachedLink, Hop, NewNetwork, Publishing
from netcore.errors import Conflict, InvalidRequest
from netcore.model import Endpoint, GatewayMode, PortMapping
from netcore.plan.known_networks import KnownNetworks
from tests.support.networks import bridge_network, pool

DRIVER = drivers.named("bridge")
HOST_CONSTRAINTS = HostConstraints(
    pools4=(), pools6=(), reserved=(), egress_mtu=1450, ipv6=True, now=0.0,
    links={"eth0": ExistingLink(kind="", mtu=9000), "mybr": ExistingLink(kind="bridge", mtu=1500)},
)  # fmt: skip
FACTS = Facts(uplinks=("up0",))
POOL4, POOL6 = pool("10.1.0.0/24", "10.1.0.1"), pool("fd01::/64", "fd01::1")
ENDPOINT = Endpoint(
    origin="api", network_id="a", sandbox_id="s", ifname="eth0", host_ifname="veth1", mac="02:42:00:00:00:02",
    ipv4=ip_interface("10.1.0.2/24"), ipv6=ip_interface("fd01::2/64"),
)  # fmt: skip


def configure(*existing, name="a", internal=False, ipv4=True, **given):
    new = NewNetwork(id="0123456789abcdef", name=name, labels=DRIVER.read_options(given), internal=internal, ipv4=ipv4)
    return DRIVER.configure(new, KnownNetworks(existing), HOST_CONSTRAINTS)


def of(kind, objects):
    return [thing for thing in objects if isinstance(thing, kind)]


def test_a_bridge_of_its_own_one_with_a_name_and_one_that_the_host_has():
    made = configure()
    assert (made.options.bridge_name, made.mtu, made.internal, made.options.reuse_bridge) == ("br-0123456789ab", 1450, False, False)
    assert configure(name="bridge").options.bridge_name == "berth0"
    assert configure(name="berth_gwbridge").options.bridge_name == "berth_gw"
    assert configure(name="bridge", **{"com.docker.network.bridge.name": "b0"}).options.bridge_name == "b0"
    assert configure(**{"com.docker.network.bridge.name": "mybr"}).options.reuse_bridge
    assert configure(internal=True).internal


@pytest.mark.parametrize(
    ("existing", "more", "error", "message"),
    [
        ((), {"given": {"name": "eth0"}}, Conflict, "network a: existing interface eth0 is not a bridge; choose another name with --opt name="),
        ((bridge_network("b", given={"name": "b0"}),), {"given": {"name": "b0"}}, Conflict, "bridge b0 is in use by network b; choose another name with --opt name="),
        ((), {"given": {"gateway_mode_ipv6": "isolated"}}, InvalidRequest, "invalid option gateway_mode_ipv6: gateway mode 'isolated' can only be used for an internal network; add --internal"),
        ((), {"given": {"default_bridge": "true"}}, InvalidRequest, "invalid option default_bridge: the default bridge network can't be created by hand"),
        ((), {"given": {"host_ipv4": "fd00::1"}}, InvalidRequest, "invalid option host_ipv4: 'fd00::1': must be an IPv4 address"),
        ((), {"ipv4": False}, InvalidRequest, "invalid network: IPv4 or IPv6 must be enabled; leave out --ipv4=false or add --ipv6"),
    ],
)  # fmt: skip
def test_refusals(existing, more, error, message):
    labels = {f"com.docker.network.bridge.{key}" if key == "name" else key: value for key, value in more.get("given", {}).items()}
    with pytest.raises(error) as caught:
        configure(*existing, ipv4=more.get("ipv4", True), **labels)
    assert str(caught.value) == message


def test_options_are_read():
    made = configure(
        internal=True, host_binding="127.0.0.1", trusted_interfaces="eth0:eth1", host_ipv4="192.0.2.1", host_ipv6="2001:db8::1",
        gateway_mode_ipv4="isolated", inhibit_ipv4="true", icc="false", masquerade="0",
    ).options  # fmt: skip
    assert made.host_binding == (ip_address("127.0.0.1"),)
    assert (made.trusted_interfaces, str(made.snat_ipv4), str(made.snat_ipv6)) == (("eth0", "eth1"), "192.0.2.1", "2001:db8::1")
    assert (made.gateway_mode_ipv4, made.inhibit_ipv4, made.icc, made.masquerade) == (GatewayMode.ISOLATED, True, False, False)


def test_which_pools_want_a_gateway():
    def wants(**more):
        return [DRIVER.wants_gateway(bridge_network("a", **more), family) for family in (4, 6)]

    assert wants() == [True, True]
    assert wants(given={"gateway_mode_ipv6": "isolated"}, internal=True) == [True, False]
    assert wants(given={"inhibit_ipv4": "true"}, internal=True) == [False, True]
    assert wants(given={"inhibit_ipv4": "true"}) == [True, True]


def test_a_network_is_a_bridge_with_its_gateways_and_forwarding():
    network = bridge_network("a", POOL4, POOL6)
    objects = DRIVER.network_objects(network, FACTS)
    assert [(link.name, link.tag, link.reused) for link in of(Bridge, objects)] == [("br-a", "berth:a", False)]
    assert [str(address.interface) for address in of(Address, objects)] == ["10.1.0.1/24", "fd01::1/64"]
    values = {sysctl.path.removeprefix("net/"): sysctl.value for sysctl in of(Sysctl, objects)}
    assert (
        values["ipv4/conf/br-a/forwarding"] == values["ipv4/conf/br-a/route_localnet"] == values["ipv6/conf/br-a/force_forwarding"] == "1"
    )
    # What it needs of uplinks is shared with other networks: `drivers.uplinks`.
    assert not [path for path in values if "up0" in path]
    assert values["ipv6/conf/br-a/disable_ipv6"] == "0"
    assert of(Element, objects)
    assert DRIVER.exclusive_objects(network, [network], FACTS) == objects
    older = {sysctl.path: sysctl.value for sysctl in of(Sysctl, DRIVER.network_objects(network, replace(FACTS, force_forwarding=False)))}
    assert "net/ipv6/conf/br-a/force_forwarding" not in older


def test_what_a_host_or_a_network_does_without():
    assert not of(Element, DRIVER.network_objects(bridge_network("a", POOL4), replace(FACTS, firewall=False)))
    assert not [
        sysctl
        for sysctl in of(Sysctl, DRIVER.network_objects(bridge_network("a", POOL4), replace(FACTS, ipv6=False)))
        if "ipv6" in sysctl.path
    ]
    internal = DRIVER.network_objects(bridge_network("a", POOL4, internal=True), FACTS)
    assert [sysctl.path for sysctl in of(Sysctl, internal)] == ["net/ipv6/conf/br-a/disable_ipv6"]
    elsewhere = pool("10.1.0.0/24", "10.1.0.9", auxiliary=(("DefaultGatewayIPv4", ip_address("10.1.0.9")),))
    for network in (
        bridge_network("a", POOL4, given={"inhibit_ipv4": "true"}),
        bridge_network("a", POOL4, given={"gateway_mode_ipv4": "isolated"}),
        bridge_network("a", elsewhere),
        bridge_network("a", pool("10.1.0.0/24")),
    ):
        assert DRIVER.host_addresses(network) == ()
        assert not of(Neighbor, DRIVER.endpoint_objects(network, replace(ENDPOINT, ipv6=None), FACTS))


def test_an_endpoint_is_a_veth_pair_that_knows_its_bridge():
    network = bridge_network("a", POOL4, POOL6)
    objects = DRIVER.endpoint_objects(network, ENDPOINT, FACTS)
    assert [(link.host_ifname, link.bridge, link.mac) for link in of(Veth, objects)] == [("veth1", "br-a", ENDPOINT.mac)]
    known = {(neighbor.sandbox_id, str(neighbor.address)) for neighbor in of(Neighbor, objects)}
    assert known == {(HOST, "10.1.0.2"), (HOST, "fd01::2"), ("s", "10.1.0.1"), ("s", "fd01::1")}
    # The MAC of a bridge that is not ours may change.
    reused = replace(network, driver_options=replace(network.bridge, reuse_bridge=True))
    assert {neighbor.sandbox_id for neighbor in of(Neighbor, DRIVER.endpoint_objects(reused, ENDPOINT, FACTS))} == {HOST}
    assert not of(Element, DRIVER.endpoint_objects(network, ENDPOINT, replace(FACTS, firewall=False)))


def test_a_published_port_needs_hairpin_and_is_not_open_on_an_internal_network():
    published = replace(ENDPOINT, ports=(PortMapping(family=4, protocol="tcp", host_address=None, host_port=8080, sandbox_port=80),))

    def sets(network):
        objects = DRIVER.endpoint_objects(network, published, FACTS)
        assert of(Hairpin, objects) == [Hairpin(host_ifname="veth1")]
        return sum(element.fields == ("tcp", 8080) for element in of(Element, objects))

    assert sets(bridge_network("a", POOL4)) == 1
    assert sets(bridge_network("a", POOL4, internal=True)) == 0


def test_the_way_outside():
    network = bridge_network("a", POOL4, POOL6, given={"host_binding": "127.0.0.1", "gateway_mode_ipv6": "routed"})
    assert DRIVER.host_link(network) == AttachedLink(name="br-a", routed=True)
    assert DRIVER.default_hop(network, ENDPOINT, 4) == Hop(ip_address("10.1.0.1"))
    assert DRIVER.default_hop(network, replace(ENDPOINT, ipv4=None), 4) is None
    assert DRIVER.default_hop(replace(network, internal=True), ENDPOINT, 6) is None
    elsewhere = pool("10.1.0.0/24", "10.1.0.1", auxiliary=(("DefaultGatewayIPv4", ip_address("10.1.0.9")),))
    assert DRIVER.default_hop(bridge_network("a", elsewhere), ENDPOINT, 4) == Hop(ip_address("10.1.0.9"))
    assert DRIVER.default_hop(bridge_network("a", pool("10.1.0.0/24")), ENDPOINT, 4) is None
    binding = (ip_address("127.0.0.1"),)
    assert [DRIVER.publishing(network, family) for family in (4, 6)] == [
        Publishing(mode=GatewayMode.NAT, binding=binding),
        Publishing(mode=GatewayMode.ROUTED, binding=binding),
    ]


def test_a_bridge_is_full():
    from netcore import limits
    from netcore.errors import Exhausted
    from netcore.model import EndpointRequest

    DRIVER.check_endpoint(bridge_network("a"), EndpointRequest(network="a"), limits.BRIDGE_PORTS - 1)
    with pytest.raises(Exhausted, match="network a: a bridge takes at most 1023 endpoints; add a network"):
        DRIVER.check_endpoint(bridge_network("a"), EndpointRequest(network="a"), limits.BRIDGE_PORTS)
