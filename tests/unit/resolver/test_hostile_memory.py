"""What a stranger sends takes a bounded number of octets, however long it is and however often it comes."""

import struct
import tracemalloc

import dns.edns
import dns.message
import dns.rcode
import pytest

from benchmarks.hostile import addresses, different
from resolver import limits
from resolver.engine.cache import Cache, CacheSettings, cache_key
from resolver.engine.exchange import Done
from resolver.engine.received import take_apart
from resolver.engine.request import screen
from resolver.engine.upstream import UpstreamSet
from resolver.reply_cache import Reply, ReplyCache
from resolver.wire.name import from_text
from tests.unit.resolver.test_service import HEALTH, World

LONG = 60_000


@pytest.fixture
async def world():
    made = World()
    yield made
    await made.service.close()


def send(world, octets, *, tcp=False):
    return world.service.on_query(world.client, octets, world, b"peer", tcp=tcp)


def query(name, **more):
    return dns.message.make_query(name, "A", id=7, **more).to_wire(max_size=65_535)


@pytest.mark.parametrize("edns", [{}, {"use_edns": 0}, {"use_edns": 0, "options": [dns.edns.NSIDOption(b"")]}])
@pytest.mark.parametrize("tcp", [False, True])
async def test_octets_behind_the_last_record_are_a_format_error(world, edns, tcp):
    assert screen(query("web", **edns)).qname == from_text("web")
    for behind in (b"\0", b"x" * LONG):
        reply = dns.message.from_wire(send(world, query("web", **edns) + behind, tcp=tcp))
        assert (reply.rcode(), reply.id) == (dns.rcode.FORMERR, 7)
    assert not world.client.replies.by_octets


async def test_long_queries_are_answered_and_not_remembered(world):
    plain = query("web")
    for number in range(100):
        record = b"\0\0\x10\0\1\0\0\0\0" + struct.pack("!HI", LONG, number) + bytes(LONG - 4)
        for counts in (b"\0\1\0\0\0\0", b"\0\0\0\1\0\0", b"\0\0\0\0\0\1"):
            assert dns.message.from_wire(send(world, plain[:6] + counts + plain[12:] + record)).answer
    assert not world.client.replies.by_octets
    assert not world.client.replies.shapes


def test_remembered_replies_of_one_client_are_bounded_in_octets():
    replies = ReplyCache()
    for number in range(3 * limits.REPLIES_PER_CLIENT // LONG):
        replies.put(b"id" + bytes(10) + b"%d" % number, 4, Reply([bytes(LONG)]))
        assert replies.size <= limits.REPLIES_PER_CLIENT
    assert 0 < len(replies.by_octets) <= limits.REPLIES_PER_CLIENT // LONG


async def test_long_reply_that_is_remembered_is_not_made_again(world, monkeypatch):
    names = "".join(f"10.1.{number >> 8}.{number & 255} " for number in range(60))
    octets = query("big.test", use_edns=0, payload=1232)
    send(world, octets)
    world.pool.answer(names)
    first = send(world, octets)
    assert len(first) > 512
    made = []
    monkeypatch.setattr("resolver.engine.received.render", lambda *arguments, **more: made.append(1))
    assert len(send(world, octets)) == len(first)
    assert not made
    assert len(world.client.replies._aging) == 1


async def test_query_that_waits_keeps_its_question_only(world):
    for number, flags in enumerate((0x0100, 0x0000)):
        for name in (f"a{number}.test", f"b{number}.test"):
            wire = query(name, use_edns=0, flags=flags, options=[dns.edns.GenericOption(65_001, bytes(LONG))])
            assert send(world, wire) is None
    for octets, forwarded in world.pool.asked:
        assert len(octets) < 100
        (asked,) = forwarded.waiting
        assert len(asked.octets) + len(asked.query.edns.options) <= limits.WAITING_OCTETS
    world.pool.answer()
    assert [reply.answer[0][0].address for reply in world.replies] == ["192.0.2.1"] * 4
    assert [reply.edns for reply in world.replies] == [0] * 4


@pytest.mark.parametrize(("octets", "sent"), [(b"\0\1\x18\0\xc0\0\2", True), (b"\0\2\x40\0" + bytes(8), True), (bytes(LONG), False)])
async def test_subnet_of_a_client_is_passed_on_if_it_can_be_one(world, octets, sent):
    send(world, query("a.test", use_edns=0, options=[dns.edns.GenericOption(65_001, b"x"), dns.edns.GenericOption(8, octets)]))
    asked = dns.message.from_wire(world.pool.asked[0][0])
    assert [int(option.otype) for option in asked.options] == ([8] if sent else [])


async def test_extended_errors_of_an_upstream_are_bounded_and_counted(world):
    world.ask("a.test")
    (octets, results), world.pool.asked = world.pool.asked[0], []
    made = dns.message.make_response(dns.message.from_wire(octets))
    made.answer.append(dns.rrset.from_text("a.test.", 60, "IN", "A", "192.0.2.1"))
    made.use_edns(0, options=[dns.edns.EDEOption(0, "x" * 200) for _ in range(300)])
    results.on_result(Done(HEALTH, made.to_wire(max_size=65_535)), 0.0)
    ((_, entry),) = world.service.cache.entries()
    assert 200 <= len(entry.received.errors) <= limits.EXTENDED_ERRORS
    assert entry.size > len(entry.received.errors) + limits.CACHE_OVERHEAD


def test_answers_that_were_replaced_take_no_octets():
    cache, upstreams = Cache(CacheSettings()), UpstreamSet()
    message = query("a.test")
    wire = message[:2] + b"\x81\x80\0\1\x0b\xb8\0\0\0\0" + message[12:] + addresses(3000)
    received = take_apart(wire, len(message))
    entries = []
    for _ in range(50):
        for name in ("a.test", "b.test"):
            entries.append(
                cache.put(upstreams, cache_key(from_text(name), from_text(name) + b"\0\1\0\1", 0, do=False), received, 0.0, trusted=False)
            )
    assert sum(len(entry.received.body) for entry in entries) == 2 * len(received.body)


@pytest.mark.parametrize("records", [addresses(1), addresses(3900), different(512)])
def test_size_of_an_answer_is_what_it_takes(records):
    message = query("a.test")
    count = {len(addresses(1)): 1, len(addresses(3900)): 3900}.get(len(records), 512)
    wire = message[:2] + b"\x81\x80\0\1" + struct.pack("!3H", count, 0, 0) + message[12:] + records
    tracemalloc.start()
    try:
        kept = [take_apart(wire, len(message)) for _ in range(50)]
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken / 50 <= kept[0].size() + limits.CACHE_OVERHEAD
