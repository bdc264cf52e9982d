"""What is remembered of upstreams' answers, for how long, and who gives way."""

import sys
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver import limits
from resolver.engine.cache import Cache, CacheSettings, cache_key, flags_of, name_of, type_of
from resolver.engine.received import Received
from resolver.engine.upstream import Upstream, UpstreamSet
from resolver.wire.message import AD, CD
from resolver.wire.name import from_text

HERE, THERE = UpstreamSet(), UpstreamSet()


def question(name, *, do=False, cd=False, ad=False):
    return cache_key(from_text(name), from_text(name) + b"\0\1\0\1", (CD if cd else 0) | (AD if ad else 0), do=bool(do))


def received(size=40, *, lifetime=60, rcode=0, answers=1):
    return Received(rcode, False, (answers, 0, 0), bytes(size), (6,), lifetime, b"")


def cache(**settings):
    return Cache(CacheSettings(**settings))


def keep(where, name, now=0.0, *, route=HERE, answer=None, trusted=False, **more):
    return where.put(route, question(name), answer or received(**more), now, trusted=trusted)


def test_each_route_has_its_own_answers():
    made = cache()
    keep(made, "a.test")
    assert made.get(HERE, question("a.test"))
    assert made.get(THERE, question("a.test")) is None
    made.keep([THERE])
    assert made.get(HERE, question("a.test")) is None
    assert made.size == 0


def test_dnssec_flags_are_kept_apart():
    keys = {question("a.test", do=do, cd=cd, ad=ad) for do in (0, 1) for cd in (0, 1) for ad in (0, 1)}
    assert len(keys) == 8
    assert {name_of(key) for key in keys} == {from_text("a.test")}


def test_lifetimes_have_bounds():
    made = cache(least_ttl=10, most_ttl=100)
    assert keep(made, "short.test", lifetime=1).lifetime == 10
    assert keep(made, "long.test", lifetime=1000).lifetime == 100
    assert keep(cache(), "no.test", lifetime=100_000, rcode=3, answers=0).lifetime == limits.NEGATIVE_TTL
    assert keep(made, "never.test", lifetime=0) is None


def test_new_answer_takes_the_place_of_the_old_one():
    made = cache()
    first = keep(made, "a.test")
    made.get(HERE, question("a.test"))
    second = keep(made, "a.test", 10.0, size=80)
    assert made.get(HERE, question("a.test")) is second
    assert second.hits == 2
    assert made.size == second.size
    assert first.is_dead
    # What may not be kept says that the old one is wrong; a failure of the server says nothing.
    keep(made, "a.test", 11.0, lifetime=0, rcode=4)
    assert made.get(HERE, question("a.test"))
    keep(made, "a.test", 11.0, lifetime=0)
    assert made.get(HERE, question("a.test")) is None
    assert made.size == 0


def test_switched_off():
    made = cache(size=0)
    assert keep(made, "a.test") is None
    assert made.get(HERE, question("a.test")) is None


def test_scan_does_not_push_out_what_is_asked_again_and_again():
    made = cache(size=200_000)
    popular = [f"p{i}.test" for i in range(50)]
    for name in popular:
        keep(made, name)
    for _ in range(3):
        for name in popular:
            made.get(HERE, question(name))
    for number in range(5000):
        keep(made, f"scan{number}.test")
        assert made.size <= 200_000
    assert all(made.get(HERE, question(name)) for name in popular)


def test_what_comes_back_soon_is_recognised():
    made = cache(size=100_000)
    keep(made, "back.test")
    number = 0
    while made.get(HERE, question("back.test")):
        made.get(HERE, question("back.test")).frequency = 0
        keep(made, f"scan{number}.test")
        number += 1
    assert keep(made, "back.test").is_main


def test_the_route_that_holds_most_gives_way():
    made = cache(size=100_000)
    for number in range(20):
        keep(made, f"q{number}.test", route=THERE)
    for number in range(2000):
        name = f"flood{number}.test"
        keep(made, name)
        made.get(HERE, question(name))
        made.get(HERE, question(name))
    assert all(made.get(THERE, question(f"q{number}.test")) for number in range(20))


def test_one_answer_may_not_take_it_all():
    assert keep(cache(size=8000), "big.test", size=2000) is None


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 900), st.booleans(), st.booleans()), max_size=200))
def test_size_is_what_is_there_and_within_its_bound(steps):
    made = cache(size=16_000)
    for number, size, here, ask in steps:
        route = HERE if here else THERE
        if ask:
            made.get(route, question(f"n{number}.test"))
        else:
            keep(made, f"n{number}.test", route=route, size=size)
        assert made.size <= 16_000
        assert made.size == sum(entry.size for _, entry in made.entries())
    made.forget()
    assert made.size == 0


def test_size_counts_what_the_memory_really_takes():
    made = cache(size=4 << 20)
    made.put(HERE, question("first.test"), received(), 0.0, trusted=False)
    tracemalloc.start()
    for number in range(20_000):
        name = f"n{number}.example.test"
        answer = Received(0, False, (1, 0, 0), bytes(16) + number.to_bytes(4, "big"), (6 + number % 3,), 60, b"")
        made.put(HERE, question(name), answer, 0.0, trusted=False)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert taken <= made.size
    assert sys.getsizeof(made) < 1000


def test_names_and_what_is_below_them_are_forgotten():
    made = cache()
    for name in ("example.test", "www.example.test", "notexample.test", "test"):
        keep(made, name)
    assert made.forget(from_text("example.test")) == 2
    assert {name_of(entry.key) for _, entry in made.entries()} == {from_text("notexample.test"), from_text("test")}
    assert made.forget() == 2


def test_stale_answers_are_kept_for_their_time_and_never_negative():
    made = cache(serve_stale=100)
    good, gone = keep(made, "a.test"), keep(made, "b.test", rcode=3, answers=0)
    assert made.can_be_stale(good, 160)
    assert not made.can_be_stale(good, 161)
    assert not made.can_be_stale(gone, 61)
    assert not cache(serve_stale=0).can_be_stale(good, 61)


def test_failures_are_remembered_a_little_longer_from_the_second_time_on_and_never_hide_an_answer():
    made = cache()
    key = question("a.test")
    entry = keep(made, "a.test")
    now, delays = 0.0, []
    for _ in range(5):
        made.failed(HERE, key, "silent", now)
        end = now
        while made.failure(HERE, key, end):
            end += 0.25
        delays.append(end - now)
        now = end
    assert delays == [1, 2, 2, 2, 2]
    assert made.get(HERE, key) is entry
    made.put(HERE, key, received(), now, trusted=False)
    assert made.failure(HERE, key, now) is None
    # Long after, it begins anew.
    made.failed(HERE, key, "silent", now)
    made.failed(HERE, key, "silent", now + 100)
    assert made.failure(HERE, key, now + 101.5) is None


def test_failures_are_forgotten_for_sets_with_an_upstream_that_is_reached_otherwise():
    made = cache()
    moved, other = Upstream("10.0.0.53"), Upstream("10.0.0.54")
    with_both, with_other = UpstreamSet((other, moved)), UpstreamSet((other,))
    for upstreams in (with_both, with_other):
        made.failed(upstreams, question("a.test"), "silent", 0.0)
    made.forget_failures({moved})
    assert made.failure(with_both, question("a.test"), 0.1) is None
    assert made.failure(with_other, question("a.test"), 0.1) == "silent"


def test_failures_are_bounded(monkeypatch):
    monkeypatch.setattr(limits, "FAILURES", 8_000)
    made = cache()

    def remembered(names):
        return sum(made.failure(HERE, question(name), 0.5) is not None for name in names)

    short = [f"n{number}.test" for number in range(50)]
    for name in short:
        made.failed(HERE, question(name), "silent", 0.0)
    few = remembered(short)
    assert 10 < few < 50
    # It is octets that are bounded: of long names and reasons there are fewer.
    long = [f"{'x' * 60}.{'y' * 60}.{'z' * 60}.n{number}.test" for number in range(50)]
    for name in long:
        made.failed(HERE, question(name), "silent " * 60, 0.0)
    assert (0 < remembered(long) < few // 2, remembered(short)) == (True, 0)
    assert made.forget() == 0
    made.failed(HERE, question("n1.test"), "silent", 0.0)
    made.forget(from_text("n1.test"))
    assert remembered(["n1.test"]) == 0


@pytest.mark.parametrize(("hits", "left", "popular"), [(2, 5, True), (1, 5, False), (2, 7, False)])
def test_popular_answers_are_fetched_anew_in_their_last_tenth(hits, left, popular):
    entry = keep(cache(), "a.test")
    entry.hits = hits
    assert entry.is_popular(60 - left) is popular
    entry.refreshing = True
    assert not entry.is_popular(60 - left)


def test_entries_for_one_name_are_listed_with_their_flags():
    made = cache()
    for more in ({}, {"do": True}, {"cd": True, "ad": True}):
        made.put(HERE, question("a.test", **more), received(), 0.0, trusted=False)
    entries = made.known(HERE, from_text("a.test"), 1)
    assert sorted(flags_of(entry.key) for entry in entries) == ["", "CD AD", "DO"]
    assert {type_of(entry.key) for entry in entries} == {1}
    assert [entry.hits for entry in entries] == [0, 0, 0]
    assert made.known(HERE, from_text("a.test"), 28) == []
    assert made.known(THERE, from_text("a.test"), 1) == []


def test_failures_below_a_name_are_forgotten_with_it():
    made = cache()
    for name in ("a.test", "b.example"):
        made.failed(HERE, question(name), "silent", 0.0)
    assert made.forget(from_text("test")) == 0
    assert made.failure(HERE, question("a.test"), 0.5) is None
    assert made.failure(HERE, question("b.example"), 0.5) == "silent"


def test_answer_that_is_replaced_again_and_again_leaves_no_trace():
    made = cache()
    for number in range(500):
        keep(made, "a.test", float(number))
    (partition,) = made._partitions.values()
    assert len(partition.small) + len(partition.main) < 100
    assert len(list(made.entries())) == 1


def test_popular_entries_give_way_at_last_and_dead_ones_are_skipped(monkeypatch):
    monkeypatch.setattr(limits, "CACHE_GHOSTS", 8)
    made = cache(size=60_000)
    for number in range(400):
        name = f"p{number}.test"
        keep(made, name)
        for _ in range(3):
            made.get(HERE, question(name))
        for entry in [entry for _, entry in made.entries() if entry.is_main][::2]:
            made.get(HERE, entry.key)
        if number % 3 == 0:
            # It takes the place of one in a queue, which is dead from now on.
            keep(made, name)
        elif number % 7 == 0:
            made.forget(from_text(f"p{number - 30}.test"))
        assert made.size <= 60_000
    kept = [entry for _, entry in made.entries()]
    assert made.size == sum(entry.size for entry in kept)
    assert any(entry.is_main for entry in kept)
    (partition,) = made._partitions.values()
    assert len(partition.ghosts) <= 8
