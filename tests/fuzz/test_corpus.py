"""What fuzzing found worth keeping, and as much again made on the spot."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.decoders import CORPUS, DECODERS, check, seeds

SEEDS = seeds()


def test_corpus_holds():
    lines = CORPUS.read_text().splitlines()
    assert len(lines) > 100
    for line in lines:
        check(base64.b64decode(line))


@pytest.mark.parametrize("number", range(len(DECODERS)))
def test_good_messages_and_texts(number):
    for octets in SEEDS:
        DECODERS[number](octets[1:])


@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=8), st.integers(0, 300))
def test_damaged_messages(octets, changes, end):
    damaged = bytearray(octets)
    for at, value in changes:
        if 0 < at < len(damaged):
            damaged[at] = value
    check(bytes(damaged[: max(1, end)]))
    check(bytes(damaged))
