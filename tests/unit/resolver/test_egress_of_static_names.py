"""Static names under egress rules: aliases that lead outside, addresses that were written down, wildcards, names of other networks."""

from ipaddress import ip_network

import dns.message
import dns.rcode
import dns.rrset
import pytest

from netcore.egress import read
from netcore.egress.policy import KnownNetwork, Layer, Policy, Surroundings
from netcore.plan.egress import may_know_names
from tests.support.networks import bridge_network, pool
from tests.unit.resolver.test_egress import World as Rules
from tests.unit.resolver.test_static_names import on_front


def confined(*records, rules):
    """A client on network front, with the kernel's part of its rules."""
    made = Rules(*rules)
    return on_front(*records, policy=made.policy), made


def reply(world, name, rtype="A"):
    octets = world.service.on_query(world.client, dns.message.make_query(name, rtype, use_edns=0).to_wire(), world, b"", tcp=False)
    return None if octets is None else dns.message.from_wire(octets)


async def test_an_alias_to_what_no_rule_allows_is_asked_of_nobody():
    world, made = confined(("out", "CNAME", "bad.test."), rules=["ok.test", "network:front"])
    for _ in range(2):
        sent = reply(world, "out.")
        assert sent is not None
        assert sent.rcode() == dns.rcode.NXDOMAIN
        assert "bad.test" in sent.options[0].text
    assert [(name, lacks) for _, name, _, lacks in made.refused] == [("bad.test", "bad.test")] * 2
    assert made.elements.open == {}
    await world.service.close()


def test_a_static_address_opens_nothing_even_if_a_rule_allows_its_name():
    world, made = confined(("ok.test", "A", "198.51.100.7"), ("any", "A", "169.254.169.254"), rules=["ok.test", "any", "*.test"])
    assert reply(world, "ok.test.").answer[0][0].address == "198.51.100.7"
    assert reply(world, "any.").answer[0][0].address == "169.254.169.254"
    assert made.elements.open == {}


def test_wildcards_open_nothing_and_lead_to_what_is_judged():
    world, made = confined(("*.app", "A", "198.51.100.7"), ("*.out", "CNAME", "bad.test."), rules=["ok.test"])
    assert reply(world, "x.app.").answer[0][0].address == "198.51.100.7"
    assert reply(world, "x.out.").rcode() == dns.rcode.NXDOMAIN
    assert made.elements.open == {}


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        (["network:back"], True),
        (["all"], True),
        (["none"], False),
        (["network:front"], False),
        (["back"], False),
        (["all", "deny:network:back"], False),
    ],
)
def test_names_of_another_network_need_a_rule_for_it(rules, found):
    around = Surroundings(networks=(KnownNetwork(name="front", subnets=(ip_network("10.1.0.0/24"),), attached=True),))
    policy = Policy("job", [Layer(read.rules(rules), "sandbox job")], around)
    assert may_know_names(policy, bridge_network("back", pool("10.2.0.0/24"))) is found
