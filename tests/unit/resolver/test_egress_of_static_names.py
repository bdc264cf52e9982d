"""Static names under egress rules: aliases that lead outside, addresses that were written down, wildcards, names of other networks."""

import asyncio
from dataclasses import replace
from ipaddress import ip_address, ip_network

import dns.message
import dns.rcode
import dns.rrset
import pytest

from netcore.egress import read
from netcore.egress.layer import Layer
from netcore.egress.policy import Policy
from netcore.egress.surroundings import KnownNetwork, Surroundings
from netcore.look.opened_flows import number_of
from netcore.plan.egress import may_know_names
from resolver.daemon import alias_targets
from resolver.daemon.hidden_names import HiddenNames
from resolver.wire.name import from_text
from resolver.zone.published import PublishedZone
from resolver.zone.static_names import by_name
from resolver.zone.zone import Zone
from tests.support.networks import bridge_network, pool
from tests.unit.resolver.test_egress import World as Rules
from tests.unit.resolver.test_static_names import on_front, record


def confined(*records, rules):
    """A client on network front, with the kernel's part of its rules."""
    made = Rules(*rules)
    world = on_front(*records, policy=made.policy)
    made.states.target_of = lambda _identity, name: alias_targets.of(world.client, name)
    return world, made


def follow(world, made, *rules):
    """From now on the client has *rules*."""
    made.rules(*rules)
    world.client.show(replace(world.client.view, policy=made.policy))


ALIASES = [("out", "CNAME", "mid"), ("mid", "CNAME", "OK.test."), ("*.app", "CNAME", "ok.test.")]
"""They lead to a name that the fake upstreams answer with 192.0.2.1."""
OPEN = ["192.0.2.1 443", "192.0.2.1 80"]
BY_EACH = pytest.mark.parametrize("alias", ["out.", "out.front.berth.internal.", "x.app."])


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


@BY_EACH
async def test_what_an_alias_leads_to_is_open_before_the_answer_leaves(alias):
    world, made = confined(*ALIASES, rules=["ok.test", "network:front"])
    seen = []
    world.reply = lambda _peer, octets: seen.append((dns.message.from_wire(octets).rcode(), made.elements.named()))
    # Fresh, and another one that waits for the same answer.
    assert [reply(world, alias), reply(world, alias)] == [None, None]
    assert (len(world.pool.asked), made.elements.open) == (1, {})
    world.pool.answer()
    assert seen == [(0, OPEN), (0, OPEN)]
    # From the cache, with the opening closed meanwhile.
    made.rules("none")
    assert made.elements.open == {}
    follow(world, made, "ok.test", "network:front")
    assert reply(world, alias).answer[-1][0].address == "192.0.2.1"
    assert made.elements.named() == OPEN
    # After its time, on both clocks.
    made.elements.open.clear()
    made.now += 10_000
    world.now += 10_000
    assert reply(world, alias) is None
    world.pool.answer()
    assert seen[2:] == [(0, OPEN)]
    await world.service.close()


async def test_what_an_alias_leads_to_waits_until_it_can_be_opened():
    world, made = confined(*ALIASES, rules=["ok.test"])
    for _ in range(2):
        with made.states.rewriting():
            assert reply(world, "out.") is None
            if world.pool.asked:
                world.pool.answer()
            await asyncio.sleep(0)
            assert (world.replies, made.elements.open) == ([], {})
        while not world.replies:
            await asyncio.sleep(0)
        sent = world.replies.pop()
        assert (str(sent.question[0].name), sent.answer[-1][0].address) == ("out.", "192.0.2.1")
        assert made.elements.named() == OPEN
        # And again from the cache.
        made.elements.open.clear()
        made.now += 10_000
    await world.service.close()


async def test_what_can_not_be_opened_is_no_answer_of_an_alias():
    world, made = confined(*ALIASES, rules=["ok.test"])
    made.elements.fails = True
    assert reply(world, "out.") is None
    world.pool.answer()
    assert (world.replies[-1].rcode(), "could not be opened" in world.replies[-1].options[0].text) == (dns.rcode.SERVFAIL, True)
    await world.service.close()


async def test_rules_that_went_while_upstreams_were_asked_refuse():
    world, made = confined(*ALIASES, rules=["ok.test"])
    assert reply(world, "out.") is None
    follow(world, made, "other.test")
    world.pool.answer()
    sent = world.replies[-1]
    assert (str(sent.question[0].name), sent.rcode(), "ok.test would" in sent.options[0].text) == ("out.", dns.rcode.NXDOMAIN, True)
    assert made.elements.open == {}
    # And from the cache.
    assert reply(world, "out.").rcode() == dns.rcode.NXDOMAIN
    await world.service.close()


# --- the alias as the name of a server ------------------------------------------------------------------------------

ADDRESS = ip_address("192.0.2.1")


def allows(made, name, address=ADDRESS, port=80):
    return made.states.allows_first_data("s", name, address, port, goes_on=False)


async def test_an_alias_is_the_server_that_it_leads_to_if_rules_allow_both():
    world, made = confined(*ALIASES, rules=["ok.test", "network:front"])
    assert reply(world, "out.") is None
    world.pool.answer()
    assert allows(made, "ok.test").allowed
    verdict = allows(made, "out")
    assert (verdict.allowed, verdict.lacks) == (False, "out:80")
    follow(world, made, "ok.test", "network:front", "out", "*.front.berth.internal:80", "*.app:22")
    for name in ("out", "mid.front.berth.internal", "x.app.front.berth.internal"):
        assert allows(made, name).allowed, name
    # At ports of both, at addresses of the target, in forms that rules allow, while it leads there.
    for name, address, port in (
        ("mid", ADDRESS, 80), ("out", ADDRESS, 22), ("mid.front.berth.internal", ADDRESS, 443), ("x.app", ADDRESS, 80),
        ("x.app", ADDRESS, 22), ("out", ip_address("192.0.2.2"), 80), ("nobody.front.berth.internal", ADDRESS, 80),
    ):  # fmt: skip
        assert not allows(made, name, address, port).allowed, (name, port)
    world.zone.change_static(by_name([record("out", "CNAME", "other.test.")], 5))
    assert not allows(made, "out").allowed
    await world.service.close()


async def test_who_writes_aliases_makes_nothing_reachable_that_no_rule_names():
    """As a sandbox does that has a key for updates, or reads the one of somebody else."""
    world, made = confined(*ALIASES, rules=["ok.test", "out", "network:front"])
    assert reply(world, "out.") is None
    world.pool.answer()
    evil = [
        ("evil.test", "CNAME", "ok.test."),
        ("out", "CNAME", "evil.test."),
        ("*.evil.test", "CNAME", "out"),
        ("ok.test", "A", "192.0.2.66"),
    ]
    world.zone.change_static(by_name([record(*one) for one in evil], 5))
    for name in ("evil.test", "x.evil.test", "evil.test.front.berth.internal"):
        assert not allows(made, name).allowed
    assert reply(world, "ok.test.").answer[0][0].address == "192.0.2.66"
    assert made.elements.named() == OPEN
    assert not allows(made, "ok.test", ip_address("192.0.2.66")).allowed
    await world.service.close()


@pytest.mark.parametrize(
    ("rules", "goes_on"),
    [
        (["ok.test", "out", "x.test"], True),
        (["*.test", "out"], True),
        (["all", "deny:x.test"], True),
        (["out", "x.test"], False),
        (["ok.test"], False),
        (["ok.test:80", "out"], False),
        (["ok.test", "out", "deny:out"], False),
    ],
)
async def test_connections_by_an_alias_go_on_if_other_rules_allow_both_names(rules, goes_on):
    world, made = confined(*ALIASES, rules=["ok.test", "out", "network:front"])
    made.states.name_number = lambda _: number_of("out")
    assert reply(world, "out.") is None
    world.pool.answer()
    assert allows(made, "out", port=443).allowed
    follow(world, made, *rules)
    follow(world, made, *rules, "192.0.2.99")
    # None: nothing that a name has opened is left, so nothing of it goes on.
    assert [bool(kept) for _, _, kept in made.elements.kept] == [goes_on] * 2
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


def test_names_that_rules_keep_from_it_say_so_and_others_of_ours_do_not():
    made = Rules()
    zone = Zone("b", from_text("back"), 5).with_static(by_name([record("db", "A", "198.51.100.7")], 5))
    back = KnownNetwork(name="back", subnets=(), attached=False)
    made.rules("ok.test", "network:front", hidden=HiddenNames(from_text("berth.internal"), [(back, PublishedZone(zone))]))
    world = on_front(("out", "CNAME", "db.back.berth.internal."), ("gone", "CNAME", "x.back.berth.internal."), policy=made.policy)
    for name in ("db.", "db.back.", "db.back.berth.internal.", "out."):
        sent = reply(world, name)
        assert (sent.rcode(), sent.options[0].text.rpartition("; ")[2]) == (dns.rcode.NXDOMAIN, "network:back would"), name
    assert [lacks for _, _, _, lacks in made.refused] == ["network:back"] * 4
    made.refused.clear()
    for name in ("x.back.berth.internal.", "gone.", "nobody.front.berth.internal."):
        assert (reply(world, name).rcode(), reply(world, name).options) == (dns.rcode.NXDOMAIN, ()), name
    assert made.refused == []


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
    policy = Policy("job", [Layer(read.rules(rules), "sandbox job")], AROUND)
    assert may_know_names(policy, BACK) is found


def test_layers_of_rules_must_have_a_port_of_a_network_in_common():
    def found(*rules):
        return may_know_names(Policy("job", [Layer(read.rules([rule]), "x") for rule in rules], AROUND), BACK)

    assert found("network:back:80-90", "network:back:90")
    assert not found("network:back:80", "network:back:90")
    assert not found("network:back", "none")


AROUND = Surroundings(networks=(KnownNetwork(name="front", subnets=(ip_network("10.1.0.0/24"),), attached=True),))
BACK = bridge_network("back", pool("10.2.0.0/24"))
