"""Which connections must be forgotten, of all that steps do."""

from ipaddress import ip_address, ip_interface

import pytest

from netcore.desired.diff import Step, diff
from netcore.desired.firewall import DNAT, DNAT_ANY, OPEN, PORTS, SOURCE, TARGET6
from netcore.desired.flows import Flows, addresses_brought, stale_flows
from netcore.desired.objects import HOST, Address, Element, LinkUp

FOUR, SIX = ip_address("10.0.0.2"), ip_address("fd00::2")
MAC = "02:42:0a:00:00:02"
LINK = LinkUp(sandbox_id="s", ifname="eth0")


def bound(firewall_set, address):
    return Element(set=firewall_set, fields=("veth1", MAC, address))


def test_addresses_that_went_are_forgotten():
    elements = [bound(SOURCE[4], FOUR), bound(TARGET6, SIX)]
    assert stale_flows(diff(elements, ())) == Flows(addresses=frozenset({FOUR, SIX}))


def test_addresses_that_came_have_no_flows_yet():
    assert not stale_flows(diff((), [bound(SOURCE[4], FOUR), bound(TARGET6, SIX)]))


@pytest.mark.parametrize("address", ["0.0.0.0", "169.254.7.7", "fe80::1", "::"])
def test_addresses_that_many_have_are_not_forgotten(address):
    own = ip_address(address)
    assert not stale_flows([Step(bound(SOURCE[4] if own.version == 4 else TARGET6, own), None)])


def test_ports_are_forgotten_when_they_are_published_moved_or_unpublished():
    one, two = (Element(set=DNAT_ANY[4], fields=("tcp", 80), data=(FOUR, port)) for port in (8080, 8081))
    expected = Flows(ports=frozenset({(4, "tcp", 80)}))
    assert stale_flows([Step(None, one)]) == stale_flows([Step(one, two)]) == stale_flows([Step(one, None)]) == expected


def test_a_port_that_led_to_an_address_that_went_takes_no_look_of_its_own():
    gone, published = bound(SOURCE[4], FOUR), Element(set=DNAT_ANY[4], fields=("tcp", 80), data=(FOUR, 8080))
    assert stale_flows(diff([published, gone], ())) == Flows(addresses=frozenset({FOUR}))
    # It leads elsewhere from now on, or what it leads to stays.
    other = Element(set=DNAT_ANY[4], fields=("tcp", 80), data=(ip_address("10.0.0.3"), 8080))
    assert stale_flows([Step(gone, None), Step(published, other)]).ports == {(4, "tcp", 80)}
    assert stale_flows([Step(gone, None), Step(other, None)]).ports == {(4, "tcp", 80)}


def test_addresses_that_are_brought():
    steps = [*diff((), [bound(SOURCE[4], FOUR), LINK]), Step(bound(TARGET6, SIX), None)]
    assert addresses_brought(steps) == {FOUR}
    assert addresses_brought([Step(bound(SOURCE[4], FOUR), bound(SOURCE[4], FOUR))]) == {FOUR}
    gateway = Address(sandbox_id=HOST, ifname="br0", interface=ip_interface("10.0.0.2/24"))
    assert addresses_brought([Step(None, gateway)]) == {FOUR}
    assert not addresses_brought([Step(gateway, None)])


def test_ports_of_one_host_address_and_of_ipv6():
    steps = [
        Step(None, Element(set=DNAT[6], fields=("udp", ip_address("fd00::1"), 53), data=(SIX, 53))),
        Step(None, Element(set=DNAT_ANY[6], fields=("tcp", 80), data=(SIX, 80))),
    ]
    assert stale_flows(steps).ports == {(6, "udp", 53), (6, "tcp", 80)}


def test_other_objects_lead_no_flow_astray():
    others = [LINK, Element(set=PORTS, fields=("veth1",)), Element(set=OPEN[4], fields=(FOUR, "tcp", 80)), bound(SOURCE[6], SIX)]
    assert not stale_flows([*diff(others, ()), *diff((), others)])
