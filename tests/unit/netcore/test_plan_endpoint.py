"""Which endpoint a connect means: addresses, MAC, names of links, room; and every refusal."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from netcore import drivers, limits
from netcore.errors import Conflict, Exhausted, InvalidRequest
from netcore.model import EndpointRequest, Network, PluginIpam, PluginOptions, Sandbox
from netcore.plan import endpoint as plan
from tests.support.networks import bridge_network, parent_network, pool

BOTH = bridge_network("both", pool("10.5.0.0/24", "10.5.0.1"), pool("fd05::/64", "fd05::1"))
V4 = bridge_network("four", pool("10.4.0.0/24", "10.4.0.1"))
V6 = replace(bridge_network("six", pool("fd06::/64", "fd06::1")), ipv4=False)
DEFAULT = bridge_network("bridge", pool("172.17.0.0/16", "172.17.0.1"))
LAN = parent_network("lan", "macvlan", pool("10.8.0.0/24"), given={"parent": "eth0"})
WHOLE = parent_network("whole", "macvlan", pool("10.9.0.0/24"), given={"parent": "eth1", "macvlan_mode": "passthru"})
FLAT = parent_network("flat", "ipvlan", pool("10.10.0.0/24"), given={"parent": "eth2"})
PLUGGED = Network(
    id="p", name="plugged", driver="weave", common=V4.common, driver_options=PluginOptions(plugin="weave"), pools=(pool("10.11.0.0/24"),)
)
SANDBOX = Sandbox(id="s", name="web", hostname="web", netns_path="/x", boot_id="")
MAC = "02:42:00:00:00:01"


def request(**more):
    return EndpointRequest(network="n", **more)


def check(network, **more):
    return plan.check_endpoint_request(request(**more), network)


def test_a_request_is_brought_to_one_form():
    made = check(
        BOTH, mac="02-42-00-00-00-AA", driver_options=(("ifname", "lan0"),), aliases=("a",), services=("s",), links=(("web", "w"),),
        ipv4=ip_address("10.5.0.9"), ipv6=ip_address("fd05::9"), link_local=(ip_address("fe80::9"),),
    )  # fmt: skip
    assert (made.mac, made.ifname) == ("02:42:00:00:00:aa", "lan0")
    assert made.driver_options == (("com.docker.network.endpoint.ifname", "lan0"),)
    assert check(BOTH) == request()


@pytest.mark.parametrize(
    ("network", "more", "message"),
    [
        (BOTH, {"ipv4": "0.0.0.0"}, "invalid IPv4 address: 0.0.0.0"),
        (BOTH, {"ipv6": "::"}, "invalid IPv6 address: ::"),
        (BOTH, {"ipv6": "::ffff:10.0.0.1"}, "invalid IPv6 address: ::ffff:a00:1"),
        (BOTH, {"ipv6": "fe80::1%eth0"}, "invalid IPv6 address: fe80::1%eth0"),
        (V6, {"ipv4": "10.0.0.1"}, "invalid ip 10.0.0.1: network six has no IPv4"),
        (V4, {"ipv6": "fd00::1"}, "invalid ip6 fd00::1: network four has no IPv6; create it with --ipv6"),
        (V4, {"ipv4": "0.0.0.0", "ipv6": "fd00::1"}, "invalid IPv4 address: 0.0.0.0; ip6 fd00::1: network four has no IPv6; create it with --ipv6"),
        (V4, {"link_local": "10.0.0.1"}, "invalid link-local IP address: 10.0.0.1"),
        (DEFAULT, {"ipv4": "172.17.0.9"}, "invalid endpoint settings: user-specified IP address is supported on user-defined networks only"),
    ],
)  # fmt: skip
def test_wrong_addresses_are_said_once_and_all_together(network, more, message):
    given = {key: ip_address(text) if key != "link_local" else (ip_address(text),) for key, text in more.items()}
    with pytest.raises(InvalidRequest) as caught:
        check(network, **given)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("network", "more", "reason"),
    [
        (DEFAULT, {"aliases": ("a",)}, "network-scoped aliases are only supported"),
        (DEFAULT, {"links": (("web", "w"),)}, "links on the default network bridge are deprecated"),
        (BOTH, {"aliases": ("a b",)}, "network-alias"),
        (BOTH, {"services": ("a b",)}, "service"),
        (BOTH, {"links": (("web", "a b"),)}, "link alias"),
        (BOTH, {"routes": ("x",)}, "DESTINATION=VIA"),
        (BOTH, {"ifname": "a", "driver_options": (("ifname", "b"),)}, "contradict each other"),
        (BOTH, {"ifname": "a/b"}, "a link name has 1 to 15 octets"),
        (BOTH, {"mac": "x"}, "is not of the form"),
        (BOTH, {"driver_options": (("x", "1"),)}, "an endpoint has no such option"),
        (BOTH, {"ipv6": ip_address("fd05::9"), "driver_options": (("sysctls", "net.ipv6.conf.IFNAME.disable_ipv6=1"),)}, "switches IPv6 off"),
    ],
)  # fmt: skip
def test_other_refusals(network, more, reason):
    with pytest.raises(InvalidRequest, match=reason):
        check(network, **more)


def test_a_plugin_gets_the_options_that_are_not_ours():
    made = check(PLUGGED, driver_options=(("x", "1"), ("sysctls", "net.ipv4.conf.IFNAME.log_martians=1")))
    assert plan.plugin_options(made) == {"x": "1"}


def test_families_without_ipv6_where_a_sysctl_turns_it_off():
    off = request(driver_options=(("sysctls", "net.ipv6.conf.IFNAME.disable_ipv6=1"),))
    off = check(BOTH, driver_options=off.driver_options)
    found = [plan.families_for(asked, network, ifname="eth0") for asked, network in ((request(), BOTH), (off, BOTH), (request(), V6))]
    assert found == [(4, 6), (4,), (6,)]
    for_all = (("net/ipv6/conf/all/disable_ipv6", "1"),)
    assert plan.families_for(request(), BOTH, ifname="eth0", sysctls=for_all) == (4,)
    for more in ({"ipv6": ip_address("fd05::7")}, {"link_local": (ip_address("fe80::7"),)}):
        with pytest.raises(InvalidRequest, match="while a sysctl switches IPv6 off"):
            plan.check_endpoint_request(request(**more), BOTH, free_ifname="eth0", sysctls=for_all)


def make(asked, network=BOTH, used=()):
    addresses = {4: ip_address("10.5.0.9"), 6: ip_address("fd05::9")} if network is BOTH else {4: network.pools[0].subnet[9]}
    return plan.plan_endpoint(
        asked, network, SANDBOX, addresses=addresses, mac=MAC, used_ifnames=used, random_hex=lambda octets: "ab" * octets
    )


def test_an_endpoint_has_prefix_lengths_and_names_of_links():
    made = make(
        request(link_local=(ip_address("169.254.1.1"), ip_address("fe80::9")), aliases=("a", "a"), routes=("10.99.0.0/16=10.5.0.7",))
    )
    assert (str(made.ipv4), str(made.ipv6)) == ("10.5.0.9/24", "fd05::9/64")
    assert [str(interface) for interface in made.link_local] == ["169.254.1.1/16", "fe80::9/64"]
    assert (made.ifname, made.host_ifname, made.aliases, len(made.routes)) == ("eth0", "vethabababa", ("a",), 1)
    # A link that is a sub-interface has no end on the host.
    assert make(request(), LAN).host_ifname == ""


def test_names_of_links():
    assert make(request(), used={"eth0", "eth1"}).ifname == "eth2"
    assert make(request(ifname="lan0")).ifname == "lan0"
    with pytest.raises(Conflict, match="link lan0 exists in sandbox web already"):
        make(request(ifname="lan0"), used={"lan0"})


def test_where_the_mac_comes_from():
    fixed = {"random_hex": lambda octets: "ff" * octets}
    assert plan.choose_mac(request(), BOTH, None, **fixed) == "fe:ff:ff:ff:ff:ff"
    assert plan.choose_mac(request(mac=MAC), BOTH, None) == MAC
    assert plan.choose_mac(request(), FLAT, "02:42:00:00:00:99") == "02:42:00:00:00:99"
    assert plan.choose_mac(request(), PLUGGED, None) is None
    wants_mac = replace(PLUGGED, ipam=PluginIpam(plugin="weave", space="s", needs_mac=True))
    assert plan.choose_mac(request(), wants_mac, None, **fixed) == "fe:ff:ff:ff:ff:ff"
    assert [plan.parent_of(network) for network in (BOTH, LAN, WHOLE, FLAT)] == [None, None, "eth1", "eth2"]


def test_room():
    drivers.of(BOTH).check_endpoint(BOTH, request(mac=MAC), limits.BRIDGE_PORTS - 1)
    drivers.of(WHOLE).check_endpoint(WHOLE, request(), 0)
    drivers.of(LAN).check_endpoint(LAN, request(mac=MAC), 0)
    with pytest.raises(Exhausted, match="a bridge takes at most 1023 endpoints"):
        drivers.of(BOTH).check_endpoint(BOTH, request(), limits.BRIDGE_PORTS)
    with pytest.raises(Exhausted, match="passthru mode takes one endpoint"):
        drivers.of(WHOLE).check_endpoint(WHOLE, request(), 1)
    for network, reason in ((WHOLE, "a link in passthru mode has its parent's"), (FLAT, "ipvlan interfaces do not support custom mac")):
        with pytest.raises(InvalidRequest, match=reason):
            drivers.of(network).check_endpoint(network, request(mac=MAC), 0)


def test_an_address_of_a_family():
    assert str(plan.parse_endpoint_address("10.0.0.1", 4)) == "10.0.0.1"
    for text in ("fd00::1", "x"):
        with pytest.raises(InvalidRequest) as caught:
            plan.parse_endpoint_address(text, 4)
        assert str(caught.value) == f"invalid IPv4 address: {text}"
