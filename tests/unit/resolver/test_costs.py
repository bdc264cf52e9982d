"""What a query may cost, in counts that are the same on every machine. Times are for the benchmarks."""

import pytest

from benchmarks.micro import KINDS, costs

# It counts every frame, which takes long on a busy machine.
pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]

BOUNDS = {
    # kind: (frames of our code, memory blocks left behind, calls that receive and send), each for one query of a full batch
    "local, repeated": (0.2, 1, 0.05),
    # Its blocks are tuples that the interpreter keeps for the next ones.
    "local, repeated, one in each socket": (1.5, 2.5, 2.01),
    "local, new spelling": (5, 1, 0.3),
    "local, new octets": (21, 1, 0.3),
    "cached, repeated": (0.2, 1, 0.05),
    # Two frames and a block are for the copy that a restart answers from.
    "forwarded": (45, 16, 0.4),
}


@pytest.fixture(scope="module")
def measured():
    return costs()


@pytest.mark.parametrize("kind", KINDS)
def test_cost_of_a_query(measured, kind):
    cost = measured[kind]
    frames, blocks, calls = BOUNDS[kind]
    assert cost.frames <= frames
    assert cost.blocks <= blocks
    assert cost.calls <= calls
