"""Replies remembered as octets: found again, counted, forgotten, bounded."""

import tracemalloc

import dns.message
import pytest

from resolver import limits
from resolver.reply_cache import Reply, ReplyCache, ReplyMemory
from resolver.wire.name import from_text
from resolver.zone.published import NameChange

SUFFIX = from_text("berth.internal")


def query(name="web", identity=1, **more):
    return dns.message.make_query(name, "A", id=identity, **more).to_wire()


def tail(name="web", *, flags=b"\x81\x80", text=b"answer"):
    """A reply behind its ID: header, question, something."""
    return flags + bytes(8) + from_text(name) + b"\0\1\0\1" + text


def put(cache, name="web", *orders, **more):
    return cache.put(query(name, **more), len(from_text(name)), Reply(list(orders) or [tail(name)]))


def found(cache, name="web", *, tcp=True, **more):
    return cache.find(query(name, **more), tcp=tcp)


# --- one reply --------------------------------------------------------------------------------------------------------


def test_plain_reply_is_fixed():
    reply = Reply([tail()])
    assert (reply.fixed, reply.orders, reply.rcode) == (tail(), (), 0)
    assert [reply.take() for _ in range(3)] == [tail()] * 3
    assert reply.hits == 3


def test_orders_take_turns():
    reply = Reply([tail(text=b"1"), tail(text=b"2")])
    assert reply.fixed is None
    assert {reply.take() for _ in range(2)} == {tail(text=b"1"), tail(text=b"2")}
    assert reply.take() != reply.take()
    assert reply.hits == 4


def test_rcode_is_known():
    reply = Reply([tail(flags=b"\x81\x83")])
    assert (reply.fixed, reply.rcode, reply.take()) == (None, 3, tail(flags=b"\x81\x83"))


# --- put and find -----------------------------------------------------------------------------------------------------


def test_found_by_octets_whatever_the_id():
    cache = ReplyCache()
    put(cache)
    reply = cache.by_octets[query(identity=99)[2:]]
    assert reply.take() == tail()
    # The listener has looked for octets in lower case, but sends short replies only; over TCP nobody has looked.
    assert found(cache, identity=7, tcp=False) == b"\0\7" + tail()
    assert found(cache, identity=7) == b"\0\7" + tail()
    assert reply.hits == 3


def test_found_in_any_spelling_and_told_in_it():
    cache = ReplyCache()
    put(cache)
    made = found(cache, "wEb", tcp=False)
    assert made == b"\0\1" + tail()[:10] + b"\3wEb\0" + tail()[15:]
    assert cache.by_octets[query()[2:]].hits == 1
    # A remembered reply for one spelling only is none for others.
    assert found(cache, "wEc", tcp=False) is None


def test_orders_take_turns_in_other_spellings_too():
    cache = ReplyCache()
    put(cache, "web", tail(text=b"1"), tail(text=b"2"))
    assert {found(cache, "WEB", tcp=False)[-1:] for _ in range(2)} == {b"1", b"2"}


def test_truncated_reply_is_not_for_tcp():
    cache = ReplyCache()
    put(cache, "web", tail(flags=b"\x83\x80"))
    assert found(cache, "WEB") is None
    assert found(cache, "WEB", tcp=False) is not None


def test_put_takes_the_place_of_what_was_there():
    cache = ReplyCache()
    put(cache)
    size = cache.size
    put(cache, "web", tail(text=b"longer answer"))
    assert cache.size == size + len(b"longer answer") - len(b"answer")
    assert len(cache.by_octets) == 1


@pytest.mark.parametrize("octets", [b"", b"\0" * 12, b"\xff" * 40])
def test_any_octets_are_looked_for(octets):
    cache = ReplyCache()
    put(cache)
    assert cache.find(octets, tcp=True) is None


# --- forget -----------------------------------------------------------------------------------------------------------


def change(*texts, network="front"):
    return NameChange(frozenset(map(from_text, texts)), frozenset(from_text(f"{text}.{network}") for text in texts))


def test_names_that_change_are_forgotten_in_every_form():
    cache = ReplyCache()
    for name in ("web", "web.front", "web.front.berth.internal", "db", "web.back"):
        put(cache, name)
        put(cache, name, use_edns=0)
    cache.forget(change("web"), SUFFIX)
    assert {key[10:14] for key in cache.by_octets} == {b"\2db\0", b"\3web"}
    assert [found(cache, name) is None for name in ("web", "web.front", "web.front.berth.internal", "db", "web.back")] == [
        True, True, True, False, False
    ]  # fmt: skip
    assert cache.size == sum(limits.REPLY_OVERHEAD + len(key) + reply.size() for key, reply in cache.by_octets.items())


def test_caches_that_are_alike_share_what_is_derived_from_a_change():
    caches = [ReplyCache() for _ in range(3)]
    for cache in caches:
        put(cache)
    caches[2].put(query("x", use_edns=0), 3, Reply([tail("x")]))
    made, derived = change("web"), []
    original = made.derive

    def derive(key, make):
        return original(key, lambda: (derived.append(1), make())[1])

    class Spy:
        names, qualified = made.names, made.qualified

    Spy.derive = staticmethod(derive)
    for cache in caches:
        cache.forget(Spy, SUFFIX)
    # Two have the same shapes.
    assert len(derived) == 2
    assert [len(cache.by_octets) for cache in caches] == [0, 0, 1]


def test_shapes_are_bounded():
    cache = ReplyCache()
    for payload in range(512, 512 + 3 * limits.SHAPES_PER_CLIENT):
        put(cache, use_edns=0, payload=payload)
        assert len(cache.shapes) <= limits.SHAPES_PER_CLIENT
        assert cache.by_octets
    assert len(cache.by_octets) == len(cache.shapes)


def test_everything_is_forgotten_and_the_dict_stays():
    cache = ReplyCache()
    by_octets = cache.by_octets
    put(cache)
    cache.forget_all()
    assert (cache.by_octets, cache.size, cache.shapes) == ({}, 0, frozenset())
    put(cache)
    assert cache.by_octets is by_octets


# --- age --------------------------------------------------------------------------------------------------------------


def put_aging(cache, counted, name="web"):
    return cache.put_aging(query(name), len(from_text(name)), Reply([tail(name)]), counted.append)


def test_replies_age_and_tell_how_often_they_were_sent():
    cache, counted = ReplyCache(), []
    put(cache, "local")
    put_aging(cache, counted)
    put_aging(cache, counted, "unused")
    assert cache.is_aging
    for _ in range(3):
        found(cache)
    cache.age()
    assert counted == [3]
    assert list(cache.by_octets) == [query("local")[2:]]
    assert not cache.is_aging


def test_hits_are_not_lost_when_names_change_or_all_is_forgotten():
    for forget in (lambda cache: cache.forget(change("web"), SUFFIX), ReplyCache.forget_all):
        cache, counted = ReplyCache(), []
        put_aging(cache, counted)
        found(cache)
        forget(cache)
        assert not cache.by_octets
        cache.age()
        assert counted == [1]


def test_reply_that_took_the_place_of_an_aging_one_stays():
    cache, counted = ReplyCache(), []
    put_aging(cache, counted)
    put(cache, "web", tail(text=b"newer"))
    cache.age()
    assert found(cache).endswith(b"newer")


# --- memory -----------------------------------------------------------------------------------------------------------


def test_the_cache_that_holds_most_gives_way():
    memory = ReplyMemory(100_000)
    greedy, modest = ReplyCache(), ReplyCache()
    memory.take(modest, put(modest))
    most = 0
    for number in range(600):
        memory.take(greedy, put(greedy, f"n{number}"))
        most = max(most, greedy.size + modest.size)
    assert most <= 100_000 + 100_000 // limits.REPLIES_LOOKS + 1000
    assert most > 50_000
    assert found(modest)
    assert len(greedy.by_octets) < 300


def test_caches_that_are_gone_take_no_room():
    memory = ReplyMemory(10_000)
    for _ in range(100):
        cache = ReplyCache()
        for number in range(10):
            memory.take(cache, put(cache, f"n{number}"))
    assert len(cache.by_octets) == 10


@pytest.mark.parametrize("count", [1, 4])
def test_size_counts_what_the_memory_really_takes(count):
    cache = ReplyCache()
    names = [f"n{number}.example.test" for number in range(1000)]
    queries = [query(name) for name in names]
    tails = [[tail(name, text=b"%016d" % order) for order in range(count)] for name in names]
    tracemalloc.start()
    for octets, name, orders in zip(queries, names, tails, strict=True):
        # Copies: they are what takes memory.
        cache.put(bytes(bytearray(octets)), len(from_text(name)), Reply([bytes(bytearray(order)) for order in orders]))
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert taken <= cache.size
    assert cache.size < 2 * taken


def test_all_caches_that_have_replies_forget_them():
    memory, caches = ReplyMemory(1 << 20), [ReplyCache() for _ in range(3)]
    for cache in caches[:2]:
        memory.take(cache, cache.put(b"id" + bytes(10) + b"x", 1, Reply([bytes(20)])))
    assert [len(cache.by_octets) for cache in caches] == [1, 1, 0]
    memory.forget_all()
    assert [len(cache.by_octets) for cache in caches] == [0, 0, 0]
    # Afterwards nobody has any, so nobody is asked to.
    assert not [*memory._caches]
