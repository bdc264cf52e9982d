"""Which network a request means: drivers, parents, several subnets, and every refusal."""

from dataclasses import replace
from ipaddress import ip_network

import pytest

from netcore import limits
from netcore.drivers.facts import ExistingLink, HostConstraints
from netcore.errors import Conflict, Exhausted, InvalidRequest
from netcore.model import MadeLink, NetworkRequest, PluginIpam, PluginOptions, Pool
from netcore.plan.known_networks import KnownNetworks
from netcore.plan.network import PREDEFINED, plan_network, plugin_of, prepare
from tests.support.networks import bridge_network, pool

AROUND = HostConstraints(
    pools4=((ip_network("172.17.0.0/16"), 16), (ip_network("172.18.0.0/16"), 16)),
    pools6=((ip_network("fd12::/48"), 64),),
    reserved=(),
    egress_mtu=1450,
    links={
        "eth0": ExistingLink(kind="", mtu=9000),
        "eth1": ExistingLink(kind="", mtu=1500, master="bridge"),
        "eth2": ExistingLink(kind="", mtu=1500),
        "eth0.7": ExistingLink(kind="vlan", mtu=1500),
    },
    ipv6=True,
    now=0.0,
)


def plan(driver, *existing, name="n", options=(), **more):
    return plan_network(NetworkRequest(name=name, driver=driver, options=tuple(dict(options).items()), **more), existing, AROUND, name * 12)


def test_parent_network_takes_mtu_of_its_parent_and_no_gateway():
    made = plan("macvlan", options={"parent": "eth0"}, ipv6=True)
    assert (made.common.mtu, made.driver_options.mode, made.driver_options.makes) == (9000, "bridge", MadeLink.NOTHING)
    assert [(str(pool.subnet), pool.gateway) for pool in made.pools] == [("172.17.0.0/16", None), ("fd12::/64", None)]
    assert plan("macvlan", options={"parent": "eth0", "mtu": "1400"}).common.mtu == 1400


def test_several_subnets_with_their_ranges_gateways_and_auxiliary_addresses():
    made = plan(
        "ipvlan", options={"parent": "eth0"}, ipv6=True, subnets=("10.1.0.0/24", "10.2.0.0/24", "fd01::/64"),
        gateways=("10.2.0.254",), ip_ranges=("10.1.0.128/25",), auxiliary=(("router", "10.2.0.9"),),
    )  # fmt: skip
    first, second, third = made.pools
    assert (str(first.ip_range), first.gateway, second.ip_range, str(second.gateway)) == ("10.1.0.128/25", None, None, "10.2.0.254")
    assert [name for name, _ in second.auxiliary] == ["router"]
    assert third.subnet.version == 6


def test_parent_by_vlan_is_made_once_and_shared():
    first = plan("macvlan", options={"parent": "eth0.10"})
    assert (first.driver_options.makes, first.driver_options.base, first.driver_options.vid) == (MadeLink.VLAN, "eth0", 10)
    second = plan("macvlan", first, name="m", options={"parent": "eth0.10"})
    assert second.driver_options == first.driver_options
    # One that was there before is not ours.
    assert plan("macvlan", options={"parent": "eth0.7"}).driver_options.makes is MadeLink.NOTHING


def test_without_a_parent_it_leads_nowhere():
    made = plan("macvlan")
    assert (made.driver_options.parent, made.driver_options.makes, made.internal) == ("dm-nnnnnnnnnnnn", MadeLink.DUMMY, True)
    assert plan("ipvlan").driver_options.parent == "di-nnnnnnnnnnnn"


def test_parent_network_may_have_neither_family():
    assert plan("macvlan", options={"parent": "eth0"}, ipv4=False).pools == ()
    with pytest.raises(InvalidRequest, match="IPv4 or IPv6 must be enabled"):
        plan("bridge", ipv4=False)


def test_one_subnet_shared_out_by_ranges():
    first = plan("macvlan", options={"parent": "eth0"}, subnets=("10.1.0.0/24",), ip_ranges=("10.1.0.0/25",))
    second = plan("macvlan", first, name="m", options={"parent": "eth2"}, subnets=("10.1.0.0/24",), ip_ranges=("10.1.0.128/25",))
    assert str(second.pools[0].ip_range) == "10.1.0.128/25"
    for driver, ranges in (("macvlan", ("10.1.0.0/25",)), ("macvlan", ()), ("bridge", ("10.1.0.128/25",))):
        if ranges or driver == "bridge":
            with pytest.raises(Conflict, match="Pool overlaps"):
                plan(
                    driver,
                    first,
                    name="m",
                    options={} if driver == "bridge" else {"parent": "eth2"},
                    subnets=("10.1.0.0/24",),
                    ip_ranges=ranges,
                )
    with pytest.raises(Conflict, match="Pool overlaps"):
        plan("macvlan", options={"parent": "eth0"}, subnets=("10.1.0.0/24", "10.1.0.0/25"))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (("macvlan", {"parent": "eth0"}), ("ipvlan", {"parent": "eth0"}), "can't share"),
        (("ipvlan", {"parent": "eth0"}), ("macvlan", {"parent": "eth0"}), "can't share"),
        (("macvlan", {"parent": "eth0"}), ("macvlan", {"parent": "eth0", "macvlan_mode": "passthru"}), "for itself"),
        (("macvlan", {"parent": "eth0", "macvlan_mode": "passthru"}), ("macvlan", {"parent": "eth0"}), "for itself"),
        (("ipvlan", {"parent": "eth0"}), ("ipvlan", {"parent": "eth0", "ipvlan_mode": "l3"}), "have the same"),
        (("ipvlan", {"parent": "eth0"}), ("ipvlan", {"parent": "eth0", "ipvlan_flag": "vepa"}), "have the same"),
        (("macvlan", {"parent": "eth0"}), ("macvlan", {"parent": "eth0", "macvlan_mode": "private"}), None),
        (("macvlan", {"parent": "eth0"}), ("ipvlan", {"parent": "eth2"}), None),
    ],
)
def test_who_may_share_a_parent(old, new, reason):
    first = plan(old[0], options=old[1])
    if reason is None:
        plan(new[0], first, name="m", options=new[1])
        return
    with pytest.raises(Conflict, match=reason):
        plan(new[0], first, name="m", options=new[1])


@pytest.mark.parametrize(
    ("driver", "options", "error", "reason"),
    [
        ("macvlan", {"parent": "lo"}, InvalidRequest, "loopback"),
        ("macvlan", {"parent": "wlan9"}, InvalidRequest, "no link wlan9"),
        ("macvlan", {"parent": "wlan9.10"}, InvalidRequest, "neither a link wlan9.10 nor wlan9"),
        ("macvlan", {"parent": "eth1"}, Conflict, "is a port of a bridge"),
        ("weave", {}, InvalidRequest, "is not one of bridge, macvlan, ipvlan"),
        ("overlay", {"vxlan_port": "80"}, InvalidRequest, "must be 1024 to 49151"),
        ("host", {}, InvalidRequest, "only one instance"),
        ("bridge", {"name": "eth0"}, Conflict, "is not a bridge"),
    ],
)
def test_refusals(driver, options, error, reason):
    with pytest.raises(error, match=reason):
        plan(driver, options=options)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"subnets": ("10.1.0.0/24", "10.2.0.0/24")}, "doesn't support multiple subnets"),
        ({"gateways": ("10.1.0.1",)}, "needs a --subnet"),
        ({"subnets": ("fd01::/64",)}, "add --ipv6"),
        ({"subnets": ("10.1.0.0/24",), "gateways": ("10.1.0.1", "10.1.0.2")}, "already"),
        ({"subnets": ("10.1.0.0/24",), "ip_ranges": ("10.1.0.0/25", "10.1.0.128/25")}, "already"),
        ({"subnets": ("10.1.0.0/24",), "gateways": ("10.2.0.1",)}, "doesn't contain this address"),
    ],
)
def test_refusals_of_addressing(more, reason):
    with pytest.raises(InvalidRequest, match=reason):
        plan("bridge", **more)


def test_no_matching_subnet_of_several():
    with pytest.raises(InvalidRequest, match="no matching subnet for gateway"):
        plan("macvlan", options={"parent": "eth0"}, subnets=("10.1.0.0/24", "10.2.0.0/24"), gateways=("10.3.0.1",))


def test_ipv6_on_a_host_without_it():
    with pytest.raises(InvalidRequest, match="switched off"):
        plan_network(NetworkRequest(name="n", ipv6=True), (), replace(AROUND, ipv6=False), "n" * 12)


def test_overlay_takes_a_vni_of_its_own_and_leaves_room_for_its_headers():
    first = plan("overlay")
    assert (first.bridge.vxlan.vni, first.bridge.vxlan.port, first.common.mtu, first.is_overlay) == (4096, 4789, 1400, True)
    second = plan("overlay", first, name="m", options={"vxlan_port": "4790"})
    assert (second.bridge.vxlan.vni, second.bridge.vxlan.port) == (4097, 4790)
    with pytest.raises(Conflict, match="in use by another overlay"):
        plan("overlay", first, name="m", options={"com.docker.network.driver.overlay.vxlanid_list": "4096"})
    assert not plan("bridge", first, name="m").is_overlay


def test_encrypted_overlay_has_a_port_of_its_own_and_more_headers():
    clear = plan("overlay")
    secret = plan("overlay", clear, name="m", options={"encrypted": ""})
    assert (secret.bridge.vxlan.encrypted, secret.bridge.vxlan.port, secret.common.mtu) == (True, 4790, 1360)
    with pytest.raises(Conflict, match="which is not encrypted"):
        plan("overlay", clear, name="m", options={"encrypted": "true", "vxlan_port": "4789"})
    with pytest.raises(Conflict, match="which is encrypted"):
        plan("overlay", secret, name="x", options={"vxlan_port": "4790"})
    assert not plan("overlay", options={"encrypted": "false"}).bridge.vxlan.encrypted


def test_names_are_taken_once_and_some_are_ours():
    first = plan("bridge")
    with pytest.raises(Conflict, match=r"^network n already exists; choose another name$"):
        plan("bridge", replace(first, driver_options=replace(first.bridge, bridge_name="br-of-first")))
    for name in PREDEFINED:
        with pytest.raises(Conflict, match=f"network {name}: operation is not permitted on predefined network names"):
            plan("bridge", name=name)
    assert plan("bridge", name="bridge", predefined=True).bridge.bridge_name == "berth0"


EVERYTHING_WRONG = {
    "name": "n!",
    "options": (
        ("mtu", "lots"), ("icc", "perhaps"), ("ttl", "-1"), ("colour", "red"), ("gateway_mode_ipv4", "isolated"), ("name", "to/o"),
        ("forward", "a=b"),
    ),
    "subnets": ("10.1.0.0/33", "10.9.0.0/16", "fd00::/64", "10.77.0.0/24"),
    "gateways": ("10.88.0.1", "gate"),
    "ip_ranges": ("10.9.0.0/8",),
    "auxiliary": (("one", "10.9"),),
    "routes": ("10.3.0.0/16", "10.4.0.0/16=fd00::1"),
    "ipam_options": (("o", "1"),),
    "problems": (("option forward", "b is no name server"),),
}  # fmt: skip
SAID = (
    "network name: 'n!'", "option mtu: 'lots'", "option icc: 'perhaps'", "option ttl: '-1'", "option colour: the bridge driver has no such",
    "option gateway_mode_ipv4: gateway mode 'isolated'", "option name: 'to/o'", "subnet: '10.1.0.0/33'", "subnet: fd00::/64 needs IPv6",
    "subnet: 10.77.0.0/24: bridge driver doesn't support multiple", "gateway: 'gate'", "ip-range 10.9.0.0/8: it should be 10.0.0.0/8",
    "aux-address: '10.9'", "route 10.3.0.0/16: it should be", "route 10.4.0.0/16=fd00::1: destination and via", "ipam-opt: the default",
    "option forward: b is no name server", "subnet 10.9.0.0/16: Pool overlaps with other one on this address space (10.9.0.0/17); choose another subnet",
)  # fmt: skip


def test_everything_that_is_wrong_is_said_at_once():
    old = bridge_network("old", pool("10.9.0.0/17", "10.9.0.1"))
    with pytest.raises(InvalidRequest) as refused:
        prepare(NetworkRequest(**EVERYTHING_WRONG), KnownNetworks([old]), AROUND, "n" * 12)
    text = str(refused.value)
    assert [expected for expected in SAID if expected not in text] == []
    # Each once, and nothing else: what follows from another mistake is not said.
    assert len(text.split("; invalid ")) + text.count("; subnet ") == len(SAID)


def test_a_driver_that_is_unknown_is_said_with_the_rest():
    request = NetworkRequest(name="n", driver="brigde", subnets=("10.1.0.0/33",), options=(("mtu", "x"), ("parent", "eth0")))
    with pytest.raises(InvalidRequest) as refused:
        prepare(request, KnownNetworks(), AROUND, "n" * 12, InvalidRequest("driver", "'brigde' is not one of them"))
    said = str(refused.value)
    assert [part.split(":")[0] for part in said.split("; ")] == ["invalid driver", "invalid option mtu", "invalid subnet"]


def test_conflicts_alone_stay_conflicts():
    taken = bridge_network("n", pool("10.9.0.0/24", "10.9.0.1"), identity="old")
    with pytest.raises(Conflict) as refused:
        prepare(NetworkRequest(name="n", subnets=("10.9.0.0/16",)), KnownNetworks([taken]), AROUND, "n" * 12)
    assert str(refused.value).startswith("network n: already exists; choose another name; subnet 10.9.0.0/16: Pool overlaps")


def test_what_belongs_to_a_wrong_subnet_is_not_said_too():
    request = NetworkRequest(name="n", subnets=("10.1.0.0/33",), gateways=("10.1.0.1",), routes=("10.3.0.0/16=10.1.0.9",))
    with pytest.raises(InvalidRequest, match=r"^invalid subnet: '10.1.0.0/33' is not a subnet like 10.10.0.0/16$"):
        prepare(request, KnownNetworks(), AROUND, "n" * 12)


def test_every_wrong_route_is_said():
    request = NetworkRequest(name="n", subnets=("10.1.0.0/24",), routes=("10.3.0.0/16=10.2.0.9", "10.1.0.0/25=10.1.0.9"))
    with pytest.raises(InvalidRequest) as refused:
        prepare(request, KnownNetworks(), AROUND, "n" * 12)
    assert "10.2.0.9 is not on the network" in str(refused.value)
    assert "the destination is on the network itself" in str(refused.value)


def test_a_host_has_a_bound_of_networks():
    many = [bridge_network(f"n{number}") for number in range(limits.NETWORKS)]
    with pytest.raises(Exhausted, match="host networks: at most 4096; remove one"):
        plan("bridge", *many)


def test_a_driver_that_is_a_plugin():
    assert [plugin_of(name) for name in ("bridge", "overlay", "host", "null", "weave", "plugin:bridge")] == [None] * 4 + ["weave", "bridge"]
    said = PluginOptions(plugin="bridge", no_gateway4=True)
    draft = prepare(NetworkRequest(name="n", driver="plugin:bridge", options=(("x", "y"),)), KnownNetworks(), AROUND, "n" * 12, said)
    assert (draft.network.driver, draft.network.driver_options, draft.network.options) == ("bridge", said, (("x", "y"),))
    source = PluginIpam(plugin="p", space="s")
    made = draft.with_pools([Pool(subnet=ip_network("10.9.0.0/24"))], source)
    assert (made.ipam, str(made.pools[0].subnet)) == (source, "10.9.0.0/24")


def test_routes_lead_over_neighbours_of_the_network():
    assert str(plan("bridge", subnets=("10.1.0.0/24",), routes=("10.2.0.0/16=10.1.0.9",)).routes[0].via) == "10.1.0.9"
    with pytest.raises(InvalidRequest, match="is not on the network"):
        plan("bridge", subnets=("10.1.0.0/24",), routes=("10.2.0.0/16=10.9.0.9",))
