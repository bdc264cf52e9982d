"""No question and no answer of a stranger costs more than a stated number of byte codes, whoever wrote it. Times are for the benchmark."""

import pytest

from benchmarks.hostile import KINDS, World, measure
from resolver import limits

pytestmark = pytest.mark.timeout(300)
QUESTION, ANSWER = 12_000, 120_000
"""Byte codes of the dearest kinds; `python -m benchmarks.hostile` says what they take: 0.3 ms and 1.4 ms at most (2026-11-26)."""
LARGE = {
    # kinds with more: a response of up to 64 KB over TCP
    "local, 1,950 services, over TCP": 30_000,
    "cached, 512 different records, over TCP": 40_000,
}


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.mark.parametrize("kind", KINDS)
async def test_cost_of_what_a_stranger_sends(world, kind):
    cost = measure(kind, world)
    assert cost.steps <= LARGE.get(kind, ANSWER if kind.startswith("answer") else QUESTION)
    assert cost.reply <= (65_535 if "TCP" in kind else limits.UDP_RESPONSE)
    await world.service.close()
