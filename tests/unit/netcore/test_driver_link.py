"""What must exist inside a sandbox for a link, whatever driver made it."""

from dataclasses import replace
from ipaddress import ip_interface

from netcore.desired.objects import Address, Announcement, LinkUp, Sysctl
from netcore.drivers import link
from netcore.model import Endpoint
from tests.support.networks import bridge_network

NETWORK = bridge_network("a")
ENDPOINT = Endpoint(
    origin="api", network_id="a", sandbox_id="s", ifname="eth0", host_ifname="v", mac="02:42:00:00:00:02",
    ipv4=ip_interface("10.1.0.2/24"), ipv6=ip_interface("fd01::2/64"), link_local=(ip_interface("169.254.0.9/16"),),
)  # fmt: skip


def of(kind, objects):
    return [thing for thing in objects if isinstance(thing, kind)]


def values(endpoint):
    return {sysctl.path.removeprefix("net/"): sysctl.value for sysctl in of(Sysctl, link.inside(NETWORK, endpoint))}


def test_a_link_is_up_with_its_addresses_and_announces_them():
    objects = link.inside(NETWORK, ENDPOINT, port="v")
    assert of(LinkUp, objects) == [LinkUp(sandbox_id="s", ifname="eth0")]
    assert [str(address.interface) for address in of(Address, objects)] == ["10.1.0.2/24", "fd01::2/64", "169.254.0.9/16"]
    (announcement,) = of(Announcement, objects)
    assert (announcement.port, announcement.count, announcement.interval, len(announcement.addresses)) == ("v", 3, 1.0, 2)


def test_nothing_is_announced_that_has_no_neighbours():
    assert not of(Announcement, link.inside(NETWORK, ENDPOINT, announces=False))
    assert not of(Announcement, link.inside(NETWORK, replace(ENDPOINT, ipv4=None, ipv6=None)))
    silent = replace(NETWORK, common=replace(NETWORK.common, announcements=0))
    assert not of(Announcement, link.inside(silent, ENDPOINT))


def test_ipv6_is_off_on_a_link_without_an_address_of_it():
    without = replace(ENDPOINT, ipv6=None)
    assert values(without)["ipv6/conf/eth0/disable_ipv6"] == "1"
    assert values(ENDPOINT)["ipv6/conf/eth0/disable_ipv6"] == "0"
    assert values(replace(without, link_local=(ip_interface("fe80::9/64"),)))["ipv6/conf/eth0/accept_dad"] == "0"


def test_the_users_sysctls_come_in_place_of_ours():
    given = replace(ENDPOINT, sysctls=(("net/ipv4/conf/{ifname}/rp_filter", "1"), ("net/ipv4/conf/{ifname}/log_martians", "1")))
    assert (values(given)["ipv4/conf/eth0/rp_filter"], values(given)["ipv4/conf/eth0/log_martians"]) == ("1", "1")
    assert sum(sysctl.path.endswith("rp_filter") for sysctl in of(Sysctl, link.inside(NETWORK, given))) == 1


def test_only_behind_a_port_of_ours_may_ipv6_stay_on_where_it_can_not_be_switched_off():
    without = replace(ENDPOINT, ipv6=None)

    def dispensable(**more):
        return {sysctl.path for sysctl in of(Sysctl, link.inside(NETWORK, without, **more)) if sysctl.dispensable}

    assert dispensable(port="v") == {"net/ipv6/conf/eth0/disable_ipv6"}
    assert dispensable() == set()
