"""Which connections must be forgotten, of all that steps do."""

from ipaddress import ip_address, ip_interface

import pytest

from netcore.desired.diff import Step, diff
from netcore.desired.firewall import DNAT, DNAT_ANY, OPEN, PORTS, SOURCE, TARGET6
from netcore.desired.flows import FlowEnds, Flows, PortMove, addresses_brought, is_astray, led_from, led_to, stale_flows
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


ONE, TWO = (FOUR, 8080), (ip_address("10.0.0.3"), 8081)


def led(target, port=80):
    """The element by which *port* of any address of the host leads to *target*."""
    return Element(set=DNAT_ANY[4], fields=("tcp", port), data=target)


def move(before, after):
    return PortMove(4, "tcp", None, 80, before, after)


@pytest.mark.parametrize(("before", "after"), [(None, ONE), (ONE, TWO), (ONE, None)])
def test_ports_are_looked_at_when_they_are_published_moved_or_unpublished(before, after):
    step = Step(led(before) if before else None, led(after) if after else None)
    assert stale_flows([step]) == Flows(ports=frozenset({move(before, after)}))


def test_a_port_that_is_put_right_may_have_led_nowhere():
    assert stale_flows([Step(led(ONE), led(ONE))]) == Flows(ports=frozenset({move(None, ONE)}))


def test_a_port_that_led_to_an_address_that_went_takes_no_look_of_its_own():
    gone = bound(SOURCE[4], FOUR)
    assert stale_flows(diff([led(ONE), gone], ())) == Flows(addresses=frozenset({FOUR}))
    # It leads elsewhere from now on, or what it leads to stays.
    assert stale_flows([Step(gone, None), Step(led(ONE), led(TWO))]).ports == {move(ONE, TWO)}
    assert stale_flows([Step(gone, None), Step(led(TWO), None)]).ports == {move(TWO, None)}


HOST_ADDRESS, SERVER = ip_address("192.0.2.1"), ip_address("198.51.100.7")


def flow(answers, destination=HOST_ADDRESS, port=80):
    return FlowEnds(4, "tcp", (destination, port), answers or (destination, port))


@pytest.mark.parametrize(
    ("before", "after", "astray"),
    [
        # Published: what went to the host itself goes; what leads there already began since.
        (None, ONE, [flow(None)]),
        # Moved: what leads to the target before goes too.
        (ONE, TWO, [flow(None), flow(ONE)]),
        (TWO, None, [flow(TWO)]),
    ],
)
def test_what_a_port_that_moved_led_astray(before, after, astray):
    flows = [
        flow(None), flow(ONE), flow(TWO), flow(None, port=81),
        # Of others, to a server of theirs; translated by another program.
        flow(None, SERVER), flow((SERVER, 8080)),
    ]  # fmt: skip
    assert [one for one in flows if is_astray(one, move(before, after), HOST_ADDRESS.__eq__)] == astray


@pytest.mark.parametrize("after", [TWO, None])
def test_who_asked_for_the_target_itself_was_not_led_there(after):
    target = (FOUR, 80)
    assert is_astray(flow(target), move(target, after), HOST_ADDRESS.__eq__)
    assert not is_astray(flow(target, FOUR), move(target, after), lambda _: True)


def test_a_port_of_one_address_of_the_host_leads_no_other_astray():
    of_one = move(None, ONE)._replace(address=HOST_ADDRESS)
    other = ip_address("192.0.2.2")
    assert is_astray(flow(None), of_one, lambda _: True)
    assert not is_astray(flow(None, other), of_one, lambda _: True)


def test_flows_of_a_port_that_leads_back_are_right_again():
    def leads_back(now, earlier):
        return led_from(earlier) in led_to([now])

    assert leads_back(move(None, ONE), move(ONE, None))
    assert leads_back(move(TWO, ONE), move(ONE, TWO))
    assert not leads_back(move(None, TWO), move(ONE, None))
    assert not leads_back(move(TWO, None), move(None, TWO))
    assert not leads_back(move(None, ONE)._replace(port=81), move(ONE, None))


def test_what_is_relayed_never_went_past_the_port():
    own = ip_address("::1")
    published = PortMove(6, "tcp", None, 80, None, (SIX, 80))
    relayed = FlowEnds(6, "tcp", (own, 80), (own, 80))
    assert not is_astray(relayed, published, lambda _: True)
    assert is_astray(relayed._replace(destination=(SIX, 80), answers=(SIX, 80)), published._replace(after=ONE), lambda _: True)


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
    expected = {PortMove(6, "udp", ip_address("fd00::1"), 53, None, (SIX, 53)), PortMove(6, "tcp", None, 80, None, (SIX, 80))}
    assert stale_flows(steps).ports == expected


def test_other_objects_lead_no_flow_astray():
    others = [LINK, Element(set=PORTS, fields=("veth1",)), Element(set=OPEN[4], fields=(FOUR, "tcp", 80)), bound(SOURCE[6], SIX)]
    assert not stale_flows([*diff(others, ()), *diff((), others)])
