"""The overlay driver: a bridge of the bridge driver, a tunnel, and what other hosts say."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest

from netcore import drivers, limits
from netcore.desired.objects import Bridge, Element, Forwarding, Neighbor, VxlanLink
from netcore.drivers.facts import Facts, HostConstraints
from netcore.drivers.protocol import NewNetwork
from netcore.errors import Conflict, Exhausted, InvalidRequest
from netcore.model import Endpoint, EndpointRequest, GatewayMode, Network, RemoteEndpoint
from netcore.parse.options import parse_common
from netcore.plan.known_networks import KnownNetworks
from tests.support.networks import bridge_network, pool

DRIVER, BRIDGE = drivers.named("overlay"), drivers.named("bridge")
HOST = HostConstraints(pools4=(), pools6=(), reserved=(), egress_mtu=1500, links={}, ipv6=True, now=0.0)
FACTS = Facts(uplinks=(), vtep=ip_address("10.99.0.1"))
POOL = pool("10.40.0.0/24", "10.40.0.1")
ENDPOINT = Endpoint(
    origin="api", network_id="far", sandbox_id="s", ifname="eth0", host_ifname="veth1", mac="02:42:00:00:00:02",
    ipv4=ip_interface("10.40.0.2/24"), ipv6=None,
)  # fmt: skip
REMOTE = RemoteEndpoint(
    id="e", network_id="far", node="b", vtep=ip_address("10.99.0.2"), mac="02:42:00:00:00:09", addresses=(ip_address("10.40.0.9"),), names=("web",)
)  # fmt: skip


def configure(*existing, host=HOST, **given):
    return DRIVER.configure(NewNetwork(id="f" * 12, name="far", labels=DRIVER.read_options(given)), KnownNetworks(existing), host)


def network(name="far", *existing, **given):
    configured = configure(*existing, **given)
    options = replace(configured.options, bridge_name=f"br-{name}")
    return Network(id=name, name=name, driver="overlay", common=parse_common({}, mtu=configured.mtu), driver_options=options, pools=(POOL,))


def test_the_tunnel_has_a_vni_a_port_and_room_for_its_headers():
    clear, secret = configure(), configure(encrypted="")
    assert (clear.options.vxlan.vni, clear.options.vxlan.port, clear.mtu) == (4096, 4789, 1450)
    assert (secret.options.vxlan.encrypted, secret.options.vxlan.port, secret.mtu) == (True, 4790, 1410)
    assert configure(host=replace(HOST, tunnel_overhead=70)).mtu == 1430
    assert configure(network()).options.vxlan.vni == 4097
    given = configure(vni="9", vxlan_port="5000", icc="false").options
    assert (given.vxlan.vni, given.vxlan.port, given.icc) == (9, 5000, False)
    assert not configure(encrypted="false").options.vxlan.encrypted


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"vni": "4096"}, Conflict, "vni 4096 is in use by another overlay network"),
        ({"vni": "x"}, InvalidRequest, "invalid option vni: 'x': must be 1 to 16777215"),
        ({"encrypted": "true", "vxlan_port": "4789"}, Conflict, "vxlan_port 4789 is the port of network old, which is not encrypted; choose another"),
    ],
)  # fmt: skip
def test_refusals(given, error, message):
    with pytest.raises(error) as caught:
        configure(network("old"), bridge_network("b"), **given)
    assert str(caught.value) == message
    with pytest.raises(Conflict, match="which is encrypted"):
        configure(network("old", encrypted="true"), vxlan_port="4790")


def test_what_exists_is_a_bridge_a_tunnel_and_who_is_elsewhere():
    far = network()
    objects = DRIVER.network_objects(far, FACTS, [REMOTE])
    assert [thing.name for thing in objects if isinstance(thing, Bridge | VxlanLink)] == ["br-far", "vx-4096"]
    told = DRIVER.remote_objects(far, [REMOTE])
    assert told == (
        Forwarding(ifname="vx-4096", mac=REMOTE.mac, vtep=REMOTE.vtep),
        Neighbor(sandbox_id=None, ifname="br-far", address=REMOTE.addresses[0], mac=REMOTE.mac),
    )
    assert set(told) <= set(objects)
    alone = DRIVER.network_objects(far, replace(FACTS, vtep=None), [REMOTE])
    assert not [thing for thing in alone if isinstance(thing, VxlanLink | Forwarding)]
    assert DRIVER.link_kinds(far) == ("vxlan",)


def test_a_port_stays_closed_to_sandboxes_until_its_last_network_goes():
    far, other = network(), network("other", network())

    def closed(*others):
        return [thing for thing in DRIVER.exclusive_objects(far, others, FACTS) if isinstance(thing, Element) and thing.fields == (4789,)]

    assert (len(closed(far)), len(closed(far, other))) == (1, 0)


def test_the_rest_is_as_on_a_bridge():
    far = network()
    assert DRIVER.scope(far) == "global"
    assert DRIVER.host_link(far) == BRIDGE.host_link(far)
    assert DRIVER.host_addresses(far) == BRIDGE.host_addresses(far) == (ip_interface("10.40.0.1/24"),)
    assert DRIVER.endpoint_objects(far, ENDPOINT, FACTS, forwards=True) == BRIDGE.endpoint_objects(far, ENDPOINT, FACTS, forwards=True)
    assert DRIVER.default_hop(far, ENDPOINT, 4).address == ip_address("10.40.0.1")
    assert DRIVER.publishing(far, 4).mode is GatewayMode.NAT
    assert DRIVER.wants_gateway(far, 4)
    with pytest.raises(Exhausted):
        DRIVER.check_endpoint(far, EndpointRequest(network="far"), limits.BRIDGE_PORTS)
