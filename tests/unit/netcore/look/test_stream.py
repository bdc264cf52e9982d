"""What a client sent, in any order: it comes out in order, the first octets stay, and others in their place are a change."""

import random

import pytest

from netcore import limits
from netcore.look.stream import Changed, Stream

START = 0xFFFF_FFF0
"""The numbers wrap around behind the first 16 octets."""
TEXT = bytes(range(100))


def sent(stream, at, end, **more):
    return stream.take((START + at) & 0xFFFF_FFFF, TEXT[at:end], **more)


def test_pieces_come_out_in_order():
    stream = Stream(START)
    assert sent(stream, 10, 20) == b""
    assert sent(stream, 30, 40) == b""
    assert sent(stream, 0, 10) == TEXT[:20]
    assert sent(stream, 15, 35) == TEXT[20:40]
    assert bytes(stream.data) == TEXT[:40]
    assert stream.octets == 40


def test_any_order_and_any_overlap_gives_the_same():
    for seed in range(300):
        chance = random.Random(seed)
        stream, came = Stream(START), b""
        pieces = [(at, min(100, at + chance.randrange(1, 30))) for at in range(0, 100, chance.randrange(1, 20))]
        pieces += [tuple(sorted((chance.randrange(100), chance.randrange(101)))) for _ in range(10)]
        pieces += [(at, at + 1) for at in range(100)]
        chance.shuffle(pieces)
        for at, end in pieces:
            came += sent(stream, at, end)
        assert came == bytes(stream.data), seed
        # A piece that found no room would come again.
        for at in range(100):
            came += sent(stream, at, at + 1)
        assert came == TEXT, seed


@pytest.mark.parametrize("first", [(0, 20), (30, 50)])
@pytest.mark.parametrize(
    ("at", "end", "wrong"), [(0, 20, 0), (0, 20, 19), (10, 40, 15), (10, 40, 35), (30, 31, 30), (49, 60, 49), (0, 60, 31)]
)
def test_other_octets_in_the_same_place_are_a_change(first, at, end, wrong):
    stream = Stream(START)
    sent(stream, *first)
    octets = bytearray(TEXT[at:end])
    octets[wrong - at] ^= 1
    if first[0] <= wrong < first[1]:
        with pytest.raises(Changed):
            stream.take((START + at) & 0xFFFF_FFFF, bytes(octets))
    else:
        stream.take((START + at) & 0xFFFF_FFFF, bytes(octets))


def test_what_is_before_the_start_is_left_out():
    stream = Stream(START)
    assert stream.take(START - 1, b"x") == b""
    assert stream.take(START - 3, b"xyz" + TEXT[:5]) == TEXT[:5]
    assert stream.take(START - 300, b"old") == b""


def test_what_is_too_far_away_is_left_out():
    stream = Stream(0)
    assert stream.take(limits.FIRST_DATA, b"x") == b""
    assert stream.take(0x7FFF_FFFF, b"x") == b""
    assert stream.octets == 0
    stream.take(limits.FIRST_DATA - 1, b"xy")
    assert stream.octets == 1
    assert len(stream.take(0, bytes(limits.FIRST_DATA - 1))) == limits.FIRST_DATA
    assert stream.take(limits.FIRST_DATA, b"x") == b""


def test_pieces_behind_gaps_are_bounded():
    stream = Stream(0)
    for at in range(1, 1000, 2):
        stream.take(at, b"x")
    assert stream.octets == limits.FIRST_DATA_PIECES
    assert len(stream.take(0, bytes(1))) == 2


def test_the_end_is_known_wherever_it_comes():
    stream = Stream(START)
    sent(stream, 10, 20, is_last=True)
    assert not stream.is_complete
    sent(stream, 0, 10)
    assert stream.is_complete
    sent(stream, 20, 20, is_last=True)
    sent(stream, 0, 20)
    for at, end, is_last in ((15, 21, False), (0, 10, True), (20, 25, True)):
        with pytest.raises(Changed):
            sent(stream, at, end, is_last=is_last)
