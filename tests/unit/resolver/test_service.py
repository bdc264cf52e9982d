"""The stages of a query, without sockets: what each does, in which order, and what a trace says of them."""

import asyncio
from ipaddress import ip_address, ip_network

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from resolver import limits
from resolver.dns_client import Client
from resolver.engine.cache import Cache, CacheSettings
from resolver.engine.exchange import Done, GiveUp
from resolver.engine.explain import Trace, explain, source
from resolver.engine.loop_probes import LoopProbes
from resolver.engine.query_policy import Refusal
from resolver.engine.rebinding import OwnNetworks, Protected
from resolver.engine.upstream import Upstream, UpstreamSet
from resolver.engine.upstream_health import UpstreamHealth
from resolver.engine.view import AttachedZone, View
from resolver.service import DnsService
from resolver.wire.name import from_text
from resolver.zone.build import records
from resolver.zone.published import PublishedZone
from resolver.zone.zone import Zone

OUTSIDE = UpstreamSet((Upstream("192.0.2.53"),))
HEALTH = UpstreamHealth(Upstream("192.0.2.53"))


class Pool:
    """Upstreams that answer when they are told to."""

    def __init__(self):
        self.probes = LoopProbes()
        self.asked, self.loops, self.kept = [], [], None

    def forward(self, upstreams, message, question, results, now):
        self.asked.append((b"\0\0" + message, results))

    def on_loop_query(self, qname):
        self.loops.append(qname)

    def keep(self, used):
        self.kept = list(used)

    def answer(self, address="192.0.2.1", *, ttl=60, now=0.0, **more):
        """Answer all that was asked."""
        asked, self.asked = self.asked, []
        for octets, results in asked:
            made = dns.message.make_response(dns.message.from_wire(octets), recursion_available=True)
            made.answer.append(dns.rrset.from_text(made.question[0].name, ttl, "IN", "A", *address.split()))
            results.on_result(Done(HEALTH, made.to_wire()[: more.get("end")]), now)

    def fail(self, reason="192.0.2.53 did not answer", *, asked=True, now=0.0):
        waiting, self.asked = self.asked, []
        for _, results in waiting:
            results.on_result(GiveUp(reason, asked), now)


class World:
    """A service with a client on network front. *now*: its clock; *replies*: what was sent later."""

    def __init__(self, **view):
        self.now, self.replies, self.pool = 0.0, [], Pool()
        self.service = DnsService(self.pool, Cache(CacheSettings()), lambda: self.now)
        zone = Zone("n", from_text("front"), 5).with_changes(
            (),
            (
                *records(endpoint="a", network="front", endpoint_names=["web"], addresses=[ip_address("10.1.0.2")]),
                *records(endpoint="b", network="front", endpoint_names=["two"], addresses=map(ip_address, ("10.1.0.3", "10.1.0.4"))),
            ),
        )
        self.zone = PublishedZone(zone)
        self.view = View(attached=(AttachedZone(self.zone),), **{"upstreams": OUTSIDE, **view})
        self.client = self.another()

    def another(self):
        client = Client(self.view)
        self.zone.watchers.add(client)
        return client

    def reply(self, peer, octets):
        self.replies.append(dns.message.from_wire(octets))

    def ask(self, name, qtype="A", *, client=None, tcp=False, trace=None, **more):
        query = dns.message.make_query(name, qtype, **more)
        octets = self.service.on_query(client or self.client, query.to_wire(), self, b"peer", tcp=tcp, trace=trace)
        return None if octets is None else dns.message.from_wire(octets)

    def explain(self, name, qtype="A"):
        """The lines and the source of an explained query, which upstreams answer if they are asked."""
        trace = Trace()
        if self.ask(name, qtype, tcp=True, trace=trace) is None:
            self.pool.answer()
        return explain(trace), source(trace)


@pytest.fixture
async def world():
    made = World()
    yield made
    await made.service.close()


def address(reply):
    return reply.answer[0][0].address


# --- stages -----------------------------------------------------------------------------------------------------------


async def test_local_name_is_answered_and_remembered(world):
    assert address(world.ask("web")) == "10.1.0.2"
    assert len(world.client.replies.by_octets) == 1
    assert (world.client.queries, world.service.rcodes[0]) == (1, 1)
    # In another spelling, and over TCP, the remembered octets serve.
    for again in (world.ask("WEB"), world.ask("web", tcp=True)):
        assert address(again) == "10.1.0.2"
    assert world.ask("wEb").question[0].name.to_text() == "wEb."
    assert next(iter(world.client.replies.by_octets.values())).hits == 3
    assert world.service.rcodes[0] == 4


async def test_first_query_in_another_spelling_is_remembered_in_lower_case(world):
    assert world.ask("WeB").question[0].name.to_text() == "WeB."
    assert b"\3web\0" in next(iter(world.client.replies.by_octets))


async def test_every_address_takes_its_turn(world):
    world.ask("two")
    assert {address(world.ask("TWO")) for _ in range(2)} == {"10.1.0.3", "10.1.0.4"}


async def test_odd_options_are_answered_and_not_remembered(world):
    option = dns.edns.GenericOption(10, b"12345678")
    assert world.ask("web", use_edns=0, options=[option]).answer
    assert not world.client.replies.by_octets


async def test_what_is_no_query_is_dropped_or_refused(world):
    assert world.service.on_query(world.client, b"junk", world, b"", tcp=False) is None
    assert world.service.counters["dropped"] == 1
    assert world.ask("web", rdclass="CH").rcode() == dns.rcode.REFUSED
    assert world.service.rcodes[5] == 1


async def test_listeners_count_what_they_sent(world):
    world.service.count_sent(10, (3, 3, 2))
    assert world.service.rcodes == {0: 7, 2: 1, 3: 2}


async def test_loop_probe_that_comes_back_is_handed_on(world):
    world.ask("abc._loop")
    assert world.pool.loops == [from_text("abc._loop")]


async def test_external_name_is_forwarded_cached_and_repeated_from_octets(world):
    assert world.ask("a.test") is None
    world.pool.answer()
    assert address(world.replies[0]) == "192.0.2.1"
    world.now = 1.0
    assert world.ask("a.test").answer[0].ttl == 58
    assert len(world.client.replies.by_octets) == 1
    assert world.ask("A.test").answer[0].ttl == 58
    assert not world.pool.asked
    assert [world.service.counters[key] for key in ("misses", "forwarded", "hits")] == [1, 1, 1]
    assert world.service.forget(from_text("test")) == 1
    # The hits of remembered octets are counted when these are forgotten.
    assert world.service.counters["hits"] == 2
    assert world.ask("a.test") is None


async def test_addresses_from_the_cache_take_turns(world):
    world.ask("a.test")
    world.pool.answer("192.0.2.1 192.0.2.2")
    assert {address(world.ask(name)) for name in ("a.test", "A.test", "a.Test")} == {"192.0.2.1", "192.0.2.2"}


async def test_answer_in_its_last_second_is_not_repeated_from_octets(world):
    world.ask("a.test")
    world.pool.answer(ttl=2)
    world.now = 1.5
    assert world.ask("a.test").answer[0].ttl == 0
    assert not world.client.replies.by_octets


async def test_popular_answer_is_fetched_again(world):
    world.ask("a.test")
    world.pool.answer()
    world.now = 57
    for _ in range(limits.PREFETCH_HITS + 1):
        world.client.replies.forget_all()
        assert world.ask("a.test").answer
    assert (len(world.pool.asked), world.service.counters["prefetched"]) == (1, 1)
    world.pool.answer(now=57)
    assert len(world.replies) == 1
    world.now = 100
    assert world.ask("a.test").answer


async def test_equal_queries_go_out_once(world):
    other = world.another()
    world.ask("a.test")
    world.ask("A.test", client=other)
    assert len(world.pool.asked) == 1
    assert (world.client.in_flight, other.in_flight) == (1, 1)
    world.pool.answer()
    assert [reply.question[0].name.to_text() for reply in world.replies] == ["a.test.", "A.test."]
    assert (world.client.in_flight, other.in_flight, world.service.counters["coalesced"]) == (0, 0, 1)


async def test_queries_for_one_client_are_sent_as_they_are_and_not_cached(world):
    for more in ({"flags": 0}, {"use_edns": 0, "options": [dns.edns.ECSOption("192.0.2.0", 24)]}):
        world.ask("a.test", **more)
        world.ask("a.test", **more)
        assert len(world.pool.asked) == 2
        world.pool.answer()
    assert not list(world.service.cache.entries())
    world.ask("a.test", flags=0)
    world.pool.fail()
    assert world.ask("a.test") is None


async def test_failure_is_told_remembered_and_replaced_by_an_expired_answer(world):
    world.ask("a.test")
    world.pool.answer(ttl=1)
    world.now = 5
    world.ask("a.test", use_edns=0)
    world.pool.fail(now=5)
    assert (world.replies[-1].answer[0].ttl, world.replies[-1].options[0].code) == (limits.STALE_TTL, 3)
    # The failure is remembered: nobody is asked again at once.
    assert world.ask("a.test").answer[0].ttl == limits.STALE_TTL
    assert not world.pool.asked
    assert world.service.counters["stale"] == 2
    world.ask("b.test", use_edns=0)
    world.pool.fail("192.0.2.53 did not answer", now=5)
    assert (world.replies[-1].rcode(), world.replies[-1].options[0].text) == (dns.rcode.SERVFAIL, "192.0.2.53 did not answer")
    world.ask("c.test")
    world.pool.fail(asked=False, now=5)
    # It was not asked, so nothing is known of it.
    assert world.ask("c.test") is None


async def test_malformed_answer_is_a_failure(world):
    world.ask("a.test", use_edns=0)
    world.pool.answer(end=-13)
    assert world.replies[0].rcode() == dns.rcode.SERVFAIL
    assert "malformed" in world.replies[0].options[0].text


async def test_share_of_a_client(world, monkeypatch):
    monkeypatch.setattr(limits, "IN_FLIGHT_PER_CLIENT", 2)
    replies = [world.ask(f"n{number}.test", use_edns=0) for number in range(3)]
    assert replies[:2] == [None, None]
    assert (replies[2].rcode(), replies[2].options[0].text) == (dns.rcode.SERVFAIL, "too many queries are being forwarded")
    refused = world.ask("n.test", flags=0)
    assert refused.rcode() == dns.rcode.SERVFAIL
    assert world.service.counters["limited"] == 2


async def test_without_upstreams_external_names_are_refused_with_the_reason():
    world = World(upstreams=UpstreamSet((), "it is internal"))
    reply = world.ask("a.test", use_edns=0)
    assert (reply.rcode(), reply.options[0].code, reply.options[0].text) == (dns.rcode.SERVFAIL, 18, "it is internal")
    assert world.service.counters["prohibited"] == 1


@pytest.mark.parametrize("allowed", [False, True])
async def test_answers_that_point_into_our_networks(allowed):
    world = World(allows_rebinding=allowed)
    world.service.protect(Protected(OwnNetworks([ip_network("10.1.0.0/16")])))
    for _ in range(2):
        world.ask("evil.test")
        world.pool.answer("10.1.0.9")
    if allowed:
        assert len(world.replies) == 1
        assert address(world.replies[0]) == "10.1.0.9"
    else:
        # It is cached for those who may hear it, and asked again for those who may not.
        assert [reply.rcode() for reply in world.replies] == [dns.rcode.REFUSED] * 2
        world.ask("evil.test")
        world.pool.fail()
        assert world.replies[-1].rcode() == dns.rcode.SERVFAIL
    await world.service.close()


@pytest.mark.parametrize(
    ("server", "trusted"),
    [(Upstream("10.1.0.53"), True), (Upstream("127.0.0.1", sandbox_id="s"), True), (Upstream("127.0.0.1"), False)],
)
async def test_servers_of_ours_may_point_to_us(world, server, trusted):
    world.service.protect(Protected(OwnNetworks([ip_network("10.1.0.0/16")])))
    world.ask("intra.test")
    (octets, results), world.pool.asked = world.pool.asked[0], []
    made = dns.message.make_response(dns.message.from_wire(octets))
    made.answer.append(dns.rrset.from_text("intra.test.", 60, "IN", "A", "10.1.0.9"))
    results.on_result(Done(UpstreamHealth(server), made.to_wire()), 0.0)
    assert (world.replies[0].rcode() == dns.rcode.NOERROR) is trusted


async def test_what_nobody_uses_is_dropped(world):
    world.ask("a.test")
    world.pool.answer()
    world.service.keep(iter([UpstreamSet()]))
    assert not list(world.service.cache.entries())
    assert len(world.pool.kept) == 1


# --- policy -----------------------------------------------------------------------------------------------------------


class Rules:
    """Refuses names below bad.test; what is below slow.test waits at a gate before it is open, what is below broken.test never is."""

    def __init__(self):
        self.gate, self.opened, self.refuses = asyncio.Event(), [], "bad.test"

    def verdict(self, qname, qtype):
        return Refusal(3, "not for you") if qname.endswith(from_text(self.refuses)) else None

    def shown(self, query, received):
        return received

    def open(self, query, received):
        self.opened.append(query.qname)
        if query.qname.endswith(from_text("broken.test")):
            raise RuntimeError("no set")
        return self.wait(query.qname) if query.qname.endswith(from_text("slow.test")) else None

    async def wait(self, qname):
        await self.gate.wait()
        if qname.startswith(b"\6broken"):
            raise RuntimeError("no set")


async def until_replied(world, count):
    while len(world.replies) < count:
        await asyncio.sleep(0)


async def test_what_the_policy_refuses_is_asked_of_nobody():
    world = World(policy=Rules())
    reply = world.ask("x.bad.test", use_edns=0)
    assert (reply.rcode(), reply.options[0].code, reply.options[0].text) == (dns.rcode.NXDOMAIN, 15, "not for you")
    assert (reply.authority[0].rdtype, reply.authority[0].ttl, reply.authority[0][0].minimum) == (dns.rdatatype.SOA, 1, 1)
    assert not world.pool.asked
    assert world.service.counters["refused"] == 1
    assert not world.client.replies.by_octets
    assert not world.ask("x.bad.test").options


async def test_names_of_networks_are_not_the_policys():
    world = World(policy=(rules := Rules()))
    rules.refuses = "."
    assert world.ask("web").answer
    assert not rules.opened
    assert len(world.client.replies.by_octets) == 1


async def test_an_answer_is_open_before_it_leaves():
    world = World(policy=(rules := Rules()))
    assert world.ask("a.slow.test") is None
    world.pool.answer()
    assert not world.replies
    rules.gate.set()
    await until_replied(world, 1)
    assert address(world.replies[0]) == "192.0.2.1"
    # From the cache too, and it is not remembered as long as it was not seen to be open at once.
    assert world.ask("a.slow.test") is None
    await until_replied(world, 2)
    assert rules.opened == [from_text("a.slow.test")] * 2
    assert not world.client.replies.by_octets
    await world.service.close()


async def test_an_answer_that_is_open_at_once_is_remembered_like_any_other():
    world = World(policy=(rules := Rules()))
    world.ask("a.test")
    world.pool.answer()
    assert len(world.replies) == 1
    assert world.ask("a.test").answer
    assert len(world.client.replies.by_octets) == 1
    assert world.ask("a.test").answer
    assert rules.opened == [from_text("a.test")] * 2


@pytest.mark.parametrize("name", ["a.broken.test", "broken.slow.test"])
async def test_what_can_not_be_opened_is_not_answered(name):
    world = World(policy=(rules := Rules()))
    rules.gate.set()
    for asked in (1, 2):
        reply = world.ask(name, use_edns=0)
        if asked == 1:
            world.pool.answer()
        if reply is None:
            await until_replied(world, asked)
            reply = world.replies[-1]
        else:
            world.replies.append(reply)
        assert (reply.rcode(), "no set" in reply.options[0].text, reply.answer) == (dns.rcode.SERVFAIL, True, [])
    assert not world.client.replies.by_octets
    await world.service.close()


async def test_rules_that_changed_meanwhile_hold_for_what_comes_back():
    world = World(policy=(rules := Rules()))
    world.ask("a.test", use_edns=0)
    rules.refuses = "a.test"
    world.pool.answer()
    assert (world.replies[0].rcode(), world.replies[0].answer) == (dns.rcode.NXDOMAIN, [])
    assert not rules.opened


async def test_an_expired_answer_is_open_too_before_it_is_served():
    world = World(policy=(rules := Rules()))
    for name in ("a.test", "a.slow.test"):
        world.ask(name)
        world.pool.answer()
    rules.gate.set()
    await until_replied(world, 2)
    world.now = 400
    for name, served in (("a.test", True), ("a.slow.test", False)):
        world.ask(name, use_edns=0)
        world.pool.fail()
        assert bool(world.replies[-1].answer) is served
    rules.refuses = "a.test"
    assert world.ask("a.test").rcode() == dns.rcode.NXDOMAIN
    await world.service.close()


async def test_close_ends_what_is_waited_for():
    world = World(policy=Rules())
    world.ask("a.slow.test")
    world.pool.answer()
    await asyncio.sleep(0)
    await world.service.close()
    assert not world.replies


# --- explained --------------------------------------------------------------------------------------------------------


async def test_network_that_answers_is_not_said_to_lack_the_name(world):
    for name in ("web.front", "web.front.berth.internal", "web"):
        lines, where = world.explain(name)
        assert lines == ["network front: web. is 10.1.0.2", "answered from network front with TTL 5"]
        assert where == "network front"


async def test_name_that_does_not_exist_and_type_that_it_lacks_are_told_apart(world):
    lines, _ = world.explain("nobody.front.berth.internal")
    assert lines == [
        "network front: has no name nobody. among its 6 records",
        "answered from our own domain berth.internal.: NXDOMAIN, the name does not exist",
    ]
    lines, _ = world.explain("web", "TXT")
    assert lines[-1] == "answered from network front: NODATA, the name has no record of this type"


async def test_remembered_reply_does_not_hide_the_reasons(world):
    world.ask("web")
    assert world.explain("web")[0][-1] == "answered from network front with TTL 5"
    assert world.client.queries == 2


async def test_forwarded_then_cached_then_failed_name(world):
    lines, where = world.explain("a.test")
    assert lines == [
        "network front: has no name a.test. among its 6 records",
        "not ours: forwarded to 192.0.2.53",
        "192.0.2.53 answered",
    ]
    assert where == "upstream"
    assert world.explain("a.test")[0][-1] == "not ours: answered from the cache (upstreams: 192.0.2.53)"
    world.now = 100
    trace = Trace()
    world.ask("a.test", tcp=True, trace=trace)
    world.pool.fail(now=100)
    assert explain(trace)[1:] == [
        "not ours: forwarded to 192.0.2.53",
        "no answer: 192.0.2.53 did not answer",
        "answered with what the cache still had, although it has expired",
    ]
    # The failure is remembered.
    assert world.explain("a.test")[0][1:] == [
        "not ours, and not forwarded to 192.0.2.53",
        "no answer: 192.0.2.53 did not answer",
        "answered with what the cache still had, although it has expired",
    ]


async def test_coalesced_limited_and_refused_at_once(world, monkeypatch):
    world.ask("a.test")
    trace = Trace()
    world.ask("a.test", trace=trace)
    assert explain(trace)[-1] == "not ours: an equal query had been forwarded to 192.0.2.53"
    monkeypatch.setattr(limits, "IN_FLIGHT_PER_CLIENT", 1)
    assert world.explain("b.test")[0][1:] == [
        "not ours, and not forwarded to 192.0.2.53",
        "no answer: too many queries are being forwarded",
    ]
    world.pool.fail("all nameservers failed a moment ago", asked=False)
    assert explain(trace)[-1] == "no answer: all nameservers failed a moment ago"
    trace = Trace()
    world.ask("c.test", trace=trace)
    world.pool.fail("all nameservers failed a moment ago", asked=False)
    assert explain(trace)[1:] == [
        "not ours, and not forwarded to 192.0.2.53",
        "no answer: all nameservers failed a moment ago",
    ]


async def test_blocked_answer_is_explained(world):
    world.service.protect(Protected(OwnNetworks([ip_network("192.0.2.0/28")])))
    assert world.explain("a.test")[0][-1] == "the answer points into a network of this host, and was replaced by REFUSED"


async def test_a_policy_is_explained():
    world = World(policy=Rules())
    assert world.explain("x.bad.test") == (["refused by the sandbox's policy: not for you"], "policy")
    lines, _ = world.explain("a.slow.test")
    assert lines[-1] == "the response waited until the firewall had been opened for it"
    await asyncio.sleep(0)
    await world.service.close()


async def test_internal_sandbox_is_explained():
    world = World(upstreams=UpstreamSet((), "it is internal"))
    lines, where = world.explain("a.test")
    assert (lines[-1], where) == ("not ours, and not forwarded: it is internal", "policy")


async def test_what_screening_refused_is_explained(world):
    trace = Trace()
    world.ask("web", rdclass="CH", trace=trace)
    assert (explain(trace), source(trace)) == (["the query was refused before anything was looked at"], "policy")
