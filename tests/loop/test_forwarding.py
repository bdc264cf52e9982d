"""Foreign names: the cache in use, equal questions, failing and lying upstreams, streams, rules of views."""

import asyncio
import socket
import ssl
import subprocess
import time
from ipaddress import ip_network

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from resolver import limits
from resolver.dns_client import Client
from resolver.engine.cache import CacheSettings
from resolver.engine.query_policy import Refusal
from resolver.engine.rebinding import OwnNetworks, Protected
from resolver.engine.upstream import Upstream, UpstreamSet
from resolver.engine.view import View
from resolver.transport.udp import UdpListener
from resolver.wire import name as names
from resolver.zone.zone import Record
from tests.support.served import Scripted, StreamServer, good
from tests.support.waiting import until


def answering(*, ttl=60, address="192.0.2.1", **more):
    """A reply with one address, to names outside the loop domain."""

    def reply(octets):
        made = dns.message.make_response(dns.message.from_wire(octets), recursion_available=True)
        made.answer.append(dns.rrset.from_text(made.question[0].name, ttl, "IN", more.get("rtype", "A"), address))
        return made.to_wire()

    return reply


def failing(rcode):
    def reply(octets):
        made = dns.message.make_response(dns.message.from_wire(octets))
        made.set_rcode(dns.rcode.from_text(rcode))
        return made.to_wire()

    return reply


def asked(upstream, name):
    """How often *upstream* was asked for *name*."""
    return sum(dns.message.from_wire(octets).question[0].name.to_text().lower() == f"{name}." for octets in upstream.queries)


LATE = ("NEXT_UPSTREAM", "HEDGE", "RESEND", "BUDGET", "DOWN")


@pytest.fixture
def patient(monkeypatch):
    """Nobody is asked once more because an answer is late: how busy the machine is does not count."""
    for name in LATE:
        monkeypatch.setattr(limits, name, 1000.0)


@pytest.mark.timed
async def test_an_answer_that_came_while_the_process_stood_still_is_no_failure(serve, patient, monkeypatch):
    monkeypatch.setattr(limits, "BUDGET", 2.0)

    def stand_still(octets):
        # Not for a probe for loops, which comes before.
        if b"\1a\4test" in octets.lower():
            time.sleep(2.5)

    # The answer is on its way then, and the time for it is over before it is read.
    served = await serve(Scripted(answering(), stand_still))
    assert (await served.ask("a.test")).rcode() == dns.rcode.NOERROR


# --- cache ----------------------------------------------------------------------------------------------------------


@pytest.mark.timed
async def test_answer_is_remembered_and_its_ttl_goes_down(serve):
    upstream = Scripted(answering(ttl=60))
    served = await serve(upstream)
    begun = asyncio.get_running_loop().time()
    assert (await served.ask("a.test")).answer[0].ttl == 60
    ttls = [(await served.ask("a.test")).answer[0].ttl for _ in range(3)]
    # Less by what has passed, and by two seconds at most for which remembered octets are told.
    assert all(57 - (asyncio.get_running_loop().time() - begun) <= ttl < 60 for ttl in ttls)
    asks = 3
    later = min(ttls)
    while later == min(ttls):
        await asyncio.sleep(0.1)
        later = (await served.ask("A.Test")).answer[0].ttl
        asks += 1
    assert asked(upstream, "a.test") == 1
    assert 57 - (asyncio.get_running_loop().time() - begun) <= later < min(ttls)
    # Those from remembered octets are counted when these are forgotten.
    await until(lambda: not served.client.replies.is_aging)
    assert served.service.counters["hits"] == asks


@pytest.mark.timed
async def test_repeated_cached_name_comes_from_rendered_octets_for_a_second(serve):
    upstream = Scripted(answering())
    served = await serve(upstream)
    for _ in range(5):
        await served.ask("a.test")
    assert len(served.client.replies.by_octets) == 1
    await until(lambda: not served.client.replies.is_aging)
    assert not served.client.replies.by_octets


@pytest.mark.timed
async def test_nothing_is_told_beyond_its_time(serve):
    upstream = Scripted(answering(ttl=1))
    served = await serve(upstream, cache=CacheSettings(serve_stale=0))
    loop = asyncio.get_running_loop()
    known_until = 0.0
    while asked(upstream, "a.test") < 3:
        before = loop.time()
        count = asked(upstream, "a.test")
        reply = await served.ask("a.test")
        if asked(upstream, "a.test") > count:
            known_until = loop.time() + 1
        # A client that keeps it for its TTL must not keep it longer than the upstream allowed.
        assert before + reply.answer[0].ttl <= known_until + 0.05


async def test_negative_answers_are_remembered(serve):
    def nxdomain(octets):
        made = dns.message.make_response(dns.message.from_wire(octets))
        made.set_rcode(3)
        made.authority.append(dns.rrset.from_text("test.", 300, "IN", "SOA", "ns.test. host.test. 1 2 3 4 60"))
        return made.to_wire()

    upstream = Scripted(nxdomain)
    served = await serve(upstream)
    replies = [await served.ask("no.test") for _ in range(4)]
    assert asked(upstream, "no.test") == 1
    assert {reply.rcode() for reply in replies} == {dns.rcode.NXDOMAIN}
    assert served.service.rcodes[3] == 4
    assert served.service.rcodes[0] == 0


@pytest.mark.timed
async def test_equal_questions_share_one(serve, patient):
    upstream = Scripted(lambda octets: None)
    served = await serve(upstream)
    waiting = [asyncio.ensure_future(served.ask(name, id=i)) for i, name in enumerate(("a.test", "A.test", "a.TEST"))]
    await until(lambda: served.service.counters["coalesced"] == 2)
    await until(lambda: asked(upstream, "a.test"))
    assert asked(upstream, "a.test") == 1
    upstream.replies[:] = [good]
    upstream.answer_all()
    replies = await asyncio.gather(*waiting)
    assert [reply.question[0].name.to_text() for reply in replies] == ["a.test.", "A.test.", "a.TEST."]
    assert served.service.counters["coalesced"] == 2
    assert served.client.in_flight == 0


@pytest.mark.timed
async def test_popular_answers_are_fetched_before_they_expire(serve):
    upstream = Scripted(answering(ttl=1000))
    served = await serve(upstream)
    await served.ask("a.test")
    entry = next(entry for _, entry in served.service.cache.entries() if names.to_text(entry.key[:-5]) == "a.test.")
    entry.hits, entry.expires = 5, entry.expires - 950
    await served.ask("a.test")
    await until(lambda: asked(upstream, "a.test") == 2)
    await until(lambda: not any(entry.refreshing for _, entry in served.service.cache.entries()))
    assert served.service.counters["prefetched"] == 1
    assert next(e for _, e in served.service.cache.entries() if e.key == entry.key).expires > entry.expires + 500


@pytest.mark.timed
async def test_stale_answer_when_all_upstreams_fail(serve, monkeypatch):
    monkeypatch.setattr(limits, "FAILURE_FIRST", 1000.0)
    upstream = Scripted(answering(ttl=1))
    served = await serve(upstream)
    await served.ask("a.test")
    upstream.replies[:] = [failing("SERVFAIL")]
    await until(lambda: all(entry.expires < served.pool._clock() for _, entry in served.service.cache.entries()))
    for _ in range(2):
        reply = await served.ask("a.test", use_edns=0)
        assert reply.rcode() == 0
        assert reply.answer[0].ttl == limits.STALE_TTL
        assert (reply.options[0].code, "SERVFAIL" in reply.options[0].text) == (3, True)
    # The failure is remembered: the upstream was asked once more only.
    assert asked(upstream, "a.test") == 2
    # A name never heard of gets the failure.
    assert (await served.ask("b.test")).rcode() == dns.rcode.SERVFAIL


async def test_client_subnets_and_questions_without_recursion_pass_by_the_cache(serve):
    upstream = Scripted(answering())
    served = await serve(upstream)
    for number in (1, 2):
        await served.ask("a.test", use_edns=0, options=[dns.edns.ECSOption(f"192.0.{number}.0", 24)])
    await served.ask("a.test", flags=0)
    assert asked(upstream, "a.test") == 3
    assert not [entry for _, entry in served.service.cache.entries() if b"\x01a\x04test" in entry.key]
    subnets = [dns.message.from_wire(octets).options for octets in upstream.queries if b"\x01a\x04test" in octets]
    assert [options[0].to_text() if options else "" for options in subnets] == ["ECS 192.0.1.0/24 scope/0", "ECS 192.0.2.0/24 scope/0", ""]


async def test_other_options_of_a_client_stay_with_it(serve):
    upstream = Scripted(answering())
    served = await serve(upstream)
    await served.ask("a.test", use_edns=0, payload=4096, options=[dns.edns.GenericOption(10, b"12345678")])
    sent = next(dns.message.from_wire(octets) for octets in upstream.queries if b"\x01a\x04test" in octets)
    assert (sent.options, sent.payload) == ((), limits.OUR_PAYLOAD)


async def test_flush_forgets_rendered_replies_too(serve):
    upstream = Scripted(answering())
    served = await serve(upstream)
    for _ in range(3):
        await served.ask("a.test")
    assert served.service.forget(names.from_text("test")) == 1
    await served.ask("a.test")
    assert asked(upstream, "a.test") == 2


async def test_local_name_that_appears_hides_the_cached_one(serve):
    upstream = Scripted(answering())
    served = await serve(upstream)
    for name in ("new", "new.net", "new.net.berth.internal") * 3:
        assert bool((await served.ask(name)).answer) is not name.endswith("internal")
    served.zone.change((), [Record(names.from_text("new"), bytes([10, 0, 0, 9]), "o2")])
    assert (await served.ask("new")).answer[0][0].address == "10.0.0.9"
    for name in ("new.net", "new.net.berth.internal"):
        assert (await served.ask(name)).answer[0][0].address == "10.0.0.9"
    served.zone.change([Record(names.from_text("new"), bytes([10, 0, 0, 9]), "o2")], ())
    assert (await served.ask("new")).answer[0][0].address == "192.0.2.1"


# --- upstreams --------------------------------------------------------------------------------------------------------


async def test_dead_first_upstream_costs_nothing_once_it_is_known(serve, monkeypatch):
    monkeypatch.setattr(limits, "DOWN", 1000.0)
    dead, alive = Scripted(), Scripted(good)
    served = await serve(dead, alive, Scripted())
    for number in range(5):
        assert (await served.ask(f"n{number}.test")).answer
    assert sum(asked(dead, f"n{number}.test") for number in range(5)) > 0
    # Once the next answer is there nobody is asked because another one is late.
    for name in LATE:
        monkeypatch.setattr(limits, name, 1000.0)
    assert (await served.ask("next.test")).answer
    for number in range(5, 30):
        assert (await served.ask(f"n{number}.test")).answer
    assert sum(asked(dead, f"n{number}.test") for number in range(5, 30)) == 0


async def test_upstream_without_edns_is_asked_without(serve):
    def formerr(octets):
        message = dns.message.from_wire(octets)
        return octets[:2] + b"\x80\x01" + bytes(8) if message.edns >= 0 else good(octets)

    upstream = Scripted(formerr)
    served = await serve(upstream)
    for name in ("a.test", "b.test"):
        assert (await served.ask(name, use_edns=0)).answer
    # The first name told; the second was asked rightly at once.
    assert (asked(upstream, "a.test"), asked(upstream, "b.test")) == (2, 1)


async def test_error_that_is_an_answer_is_passed_on(serve):
    served = await serve(Scripted(failing("NOTIMP")))
    assert (await served.ask("a.test")).rcode() == dns.rcode.NOTIMP


async def test_malformed_answer_is_a_failure(serve):
    served = await serve(Scripted(lambda octets: good(octets)[:-3]))
    reply = await served.ask("a.test", use_edns=0)
    assert reply.rcode() == dns.rcode.SERVFAIL
    assert "malformed" in reply.options[0].text


async def test_upstream_that_leads_back_to_us_is_left_out(serve, patient):
    # The first upstream is the resolver itself, as a forwarder on the host would make it.
    again, alive = OurOwn(), Scripted(good)
    served = await serve(again, alive)
    again.listen(served)
    # At once: nothing is late.
    reply = await served.ask("a.test")
    assert reply.answer[0][0].address == "192.0.2.1"
    states = {upstream.port: health.state(served.pool._clock()) for upstream, health in served.pool.health().items()}
    assert states == {again.upstream.port: "looping", alive.upstream.port: "ok"}
    count = served.client.queries
    for number in range(5):
        assert (await served.ask(f"b{number}.test")).answer
    assert served.client.queries == count + 5


class OurOwn:
    """An upstream whose queries come to the resolver that sends them."""

    def __init__(self):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.upstream = Upstream("127.0.0.1", self.sock.getsockname()[1])

    def listen(self, served):
        self.listener = UdpListener(served.poller, self.sock, served.service, served.client)

    async def stop(self):
        self.sock.close()


async def test_names_below_a_domain_go_to_its_own_upstreams(serve):
    common, corporate = Scripted(answering()), Scripted(answering(address="10.20.0.1"))
    served = await serve(common)
    await serve(corporate)
    view = served.client.view
    upstreams = UpstreamSet((corporate.upstream,), is_trusted=True)
    served.service.protect(Protected(OwnNetworks([ip_network("10.20.0.0/16")])))
    served.client.show(
        View(attached=view.attached, upstreams=view.upstreams, upstreams_by_domain={names.from_text("corp.example"): upstreams})
    )
    assert (await served.ask("intra.Corp.Example")).answer[0][0].address == "10.20.0.1"
    assert (await served.ask("corp.example")).answer[0][0].address == "10.20.0.1"
    assert (await served.ask("notcorp.example")).answer[0][0].address == "192.0.2.1"


@pytest.mark.parametrize("allowed", [False, True])
async def test_answers_that_point_into_our_networks_are_refused(serve, allowed):
    upstream = Scripted(answering(address="172.17.0.5"))
    served = await serve(upstream, allows_rebinding=allowed)
    served.service.protect(Protected(OwnNetworks([ip_network("172.17.0.0/16")])))
    for _ in range(2):
        reply = await served.ask("evil.test", use_edns=0)
        assert reply.rcode() == (dns.rcode.NOERROR if allowed else dns.rcode.REFUSED)
        if not allowed:
            assert reply.options[0].code == 15
    assert bool(served.service.counters["rebinding"]) is not allowed


async def test_network_that_comes_later_is_protected_from_what_is_remembered(serve):
    served = await serve(Scripted(answering(address="172.17.0.5")))
    assert (await served.ask("evil.test")).answer
    served.service.protect(Protected(OwnNetworks([ip_network("172.17.0.0/16")])))
    served.client.replies.forget_all()
    assert (await served.ask("evil.test")).rcode() == dns.rcode.REFUSED


async def test_each_sandbox_has_its_share(serve, monkeypatch):
    monkeypatch.setattr(limits, "IN_FLIGHT", 20)
    upstream = Scripted()
    served = await serve(upstream)
    greedy, modest = served.client, Client(served.client.view)

    class Sink:
        def reply(self, peer, octets):
            pass

    def ask(client, name):
        return served.service.on_query(client, dns.message.make_query(name, "A").to_wire(), Sink(), b"", tcp=False)

    for number in range(50):
        ask(greedy, f"g{number}.test")
    assert greedy.in_flight == 10
    assert ask(modest, "m.test") is None
    assert served.service.counters["limited"] == 40


# --- streams ----------------------------------------------------------------------------------------------------------


async def test_questions_share_one_connection(serve):
    upstream = await StreamServer(good).start()
    served = await serve(upstream)
    replies = await asyncio.gather(*(served.ask(f"n{number}.test") for number in range(20)))
    assert all(reply.answer for reply in replies)
    assert upstream.connections == 1


async def test_connection_that_closes_is_opened_again(serve):
    upstream = await StreamServer(good, close_after=2).start()
    served = await serve(upstream)
    for number in range(6):
        assert (await served.ask(f"n{number}.test")).answer
    assert upstream.connections > 1


async def test_truncated_answer_is_fetched_over_tcp(serve):
    def truncated(octets):
        made = dns.message.make_response(dns.message.from_wire(octets))
        made.flags |= dns.flags.TC
        return made.to_wire()

    stream = await StreamServer(good).start("udp")
    await serve(stream)
    served = await serve(Scripted(truncated, port=stream.upstream.port))
    assert (await served.ask("a.test")).answer
    assert stream.connections == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A server's certificate for dns.example and its key, self-signed."""
    where = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=dns.example", "-addext",
         "subjectAltName=DNS:dns.example,IP:127.0.0.1", "-keyout", str(where / "key"), "-out", str(where / "cert")],
        check=True, capture_output=True,
    )  # fmt: skip
    return where


async def over_tls(serve, certificate, name, *, ca=True):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "cert", certificate / "key")
    upstream = await StreamServer(good, context).start("tls", name)
    served = await serve(upstream, tls_ca=str(certificate / "cert") if ca else "")
    reply = await served.ask("a.test", use_edns=0)
    second = await served.ask("b.test", use_edns=0)
    return upstream, reply, second


@pytest.mark.parametrize("name", ["dns.example", ""])
async def test_tls_upstream_is_asked_over_one_connection_with_padding(serve, certificate, name):
    upstream, reply, second = await over_tls(serve, certificate, name)
    assert reply.answer
    assert second.answer
    assert upstream.connections == 1
    assert all(len(octets) % 128 == 0 for octets in upstream.queries if dns.message.from_wire(octets).edns >= 0)


async def test_certificate_of_another_name_is_not_trusted(serve, certificate):
    upstream, reply, _ = await over_tls(serve, certificate, "other.example")
    assert reply.rcode() == dns.rcode.SERVFAIL
    assert "certificate is not trusted" in reply.options[0].text
    assert not upstream.queries


async def test_unknown_authority_is_not_trusted(serve, certificate):
    upstream, reply, _ = await over_tls(serve, certificate, "dns.example", ca=False)
    assert reply.rcode() == dns.rcode.SERVFAIL
    assert not upstream.queries


# --- policy -----------------------------------------------------------------------------------------------------------


class Rules:
    """Refuses names below bad.test; notes what was opened before a reply left."""

    def __init__(self):
        self.opened, self.gate, self.seen, self.waiting = [], None, 0, 0

    def verdict(self, qname, qtype):
        self.seen += 1
        return Refusal(3, "not for you") if qname.endswith(names.from_text("bad.test")) else None

    def shown(self, query, received):
        return received

    def open(self, query, received):
        if query.qname == names.from_text("broken.test"):
            raise RuntimeError("no set")
        self.opened.append(names.to_text(query.qname))
        return self.wait() if self.gate is not None else None

    async def wait(self):
        self.waiting += 1
        await self.gate.wait()


async def test_policy_refuses_before_anything_is_asked(serve):
    upstream = Scripted(good)
    served = await serve(upstream, policy=Rules())
    reply = await served.ask("x.bad.test", use_edns=0)
    assert (reply.rcode(), reply.options[0].text) == (dns.rcode.NXDOMAIN, "not for you")
    assert not upstream.queries


async def test_a_policy_costs_repeated_questions_nothing(serve):
    rules = Rules()
    served = await serve(Scripted(good), policy=rules)
    assert (await served.ask()).answer
    seen = rules.seen
    for _ in range(5):
        assert (await served.ask()).answer
    # Once more for the cache, if a second has passed in between.
    assert len(rules.opened) <= 3
    assert rules.seen <= seen + 2


@pytest.mark.timed
async def test_an_answer_is_open_before_it_leaves_also_from_the_cache(serve):
    upstream, rules = Scripted(good), Rules()
    served = await serve(upstream, policy=rules)
    rules.gate = asyncio.Event()
    asking = asyncio.ensure_future(served.ask("a.test"))
    await until(lambda: rules.waiting == 1)
    assert not asking.done()
    rules.gate.set()
    assert (await asking).answer
    assert (await served.ask("a.test")).answer
    assert rules.opened == ["a.test.", "a.test."]
    assert asked(upstream, "a.test") == 1
    assert (await served.ask("broken.test")).rcode() == dns.rcode.SERVFAIL
    assert (await served.ask("web")).answer


async def test_tls_connection_that_is_silent_or_comes_from_an_old_address_is_replaced(serve, certificate, monkeypatch):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "cert", certificate / "key")
    silent = 0
    upstream = await StreamServer(lambda octets: None if upstream.connections == silent else good(octets), context).start(
        "tls", "dns.example"
    )
    served = await serve(upstream, tls_ca=str(certificate / "cert"))
    served.source = "127.0.0.2"
    assert (await served.ask("a.test")).answer
    # From another address: the query that waits is sent again at once.
    for name in ("NEXT_UPSTREAM", "RESEND", "BUDGET"):
        monkeypatch.setattr(limits, name, 1000.0)
    silent = 1
    waiting = asyncio.create_task(served.ask("b.test", timeout=20))
    await until(lambda: any(b"\x01b\x04test" in octets for octets in upstream.queries))
    served.source = "127.0.0.3"
    await served.service.look_at_paths(None)
    assert (await waiting).answer
    assert upstream.connections == 2
    # From the same address, but nothing comes back.
    monkeypatch.setattr(limits, "RESEND", 0.1)
    silent = 2
    assert (await served.ask("c.test", timeout=20)).answer
    assert upstream.connections == 3
